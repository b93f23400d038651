package audit

import (
	"bytes"
	"fmt"
	"time"

	"keyway/internal/jwks"
)

// Part is which part of a chain an export has.
type Part struct {
	Since time.Time `json:"since,omitzero"` // zero: from the first that is kept on
	Until time.Time `json:"until,omitzero"` // zero: up to the end
	First uint64    `json:"first,omitempty"`
	Last  uint64    `json:"last,omitempty"` // 0, as First: no entry is in it
}

// All reports whether it is all that was kept.
func (p Part) All() bool { return p.Since.IsZero() && p.Until.IsZero() }

// says names a part for people.
func (p Part) says() string {
	var since, until string
	if !p.Since.IsZero() {
		since = " since " + p.Since.UTC().Format(time.RFC3339)
	}
	if !p.Until.IsZero() {
		until = " until " + p.Until.UTC().Format(time.RFC3339)
	}
	return since + until
}

// End is the last line of an export. Only Head's own members are signed.
type End struct {
	Head *Head `json:"head"`
	Part
}

// NoExportError says that something is not what an export is.
type NoExportError struct{ Found string }

func (e *NoExportError) Error() string {
	return fmt.Sprintf("expected an export of the record, an entry a line and its head in the last one; found %s", e.Found)
}

var beginsEnd = []byte(`{"head":`)

// ReadExport takes an export apart; content must not change afterwards. An end that
// is not there, or can't be read, is nil. What has neither an entry nor an end is a
// *NoExportError: an export is never empty.
func ReadExport(content []byte) (lines [][]byte, end *End, err error) {
	if content = bytes.TrimRight(content, "\n"); len(content) == 0 {
		return nil, nil, &NoExportError{"nothing: it is empty"}
	}
	lines = bytes.Split(content, []byte("\n"))
	last := len(lines) - 1
	if bytes.HasPrefix(lines[last], beginsEnd) {
		var e End
		if jwks.DecodeObject(lines[last], &e) != nil || e.Head == nil {
			return lines[:last], nil, nil
		}
		return lines[:last], &e, nil
	}
	for _, line := range lines {
		if SeqOf(line) > 0 {
			return lines, nil, nil
		}
	}
	return nil, nil, &NoExportError{"something that has neither"}
}

// part holds what is there against what the export says that it has.
func (c *checker) part() {
	p, head := c.o.Part, c.o.Head
	if p == nil {
		return
	}
	c.report.Part = p
	if !p.All() {
		c.note("only what happened%s was exported, as the last line says, and nobody signs that: what is before or after it is not seen here", p.says())
	}
	r := c.report
	switch {
	case p.First == 0 && len(c.lines) > 0:
		c.fault(r.First, r.Last, 0, Changed, "%s here, and the last line says that none was exported", span(r.First, r.Last))
	case p.First == 0 && !p.All():
		c.note("no entry was exported: nothing had happened in that time")
	case p.First == 0:
	case head != nil && head.Seq != p.Last:
		c.fault(p.Last, 0, len(c.lines)+1, Changed, "the last line was changed: it says that entry %d is the last one, and its head is of entry %d", p.Last, head.Seq)
	case len(c.lines) == 0: // which its head tells
	case r.First > p.First:
		c.beheaded = true
		c.fault(p.First, r.First-1, 1, Missing, "%s missing at the beginning: the export began with entry %d", span(p.First, r.First-1), p.First)
	case r.First < p.First:
		c.fault(r.First, p.First-1, 1, Changed, "%s here, and the export began with entry %d", span(r.First, p.First-1), p.First)
	}
}

// nothing reports whether it is a part in which no entry is.
func (c *checker) nothing() bool {
	p := c.o.Part
	return p != nil && !p.All() && p.First == 0 && len(c.lines) == 0
}
