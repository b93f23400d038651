package audit

import (
	"errors"
	"fmt"
	"time"
)

// Fault is what is wrong with a chain at one place.
type Fault string

// The faults.
const (
	Changed    Fault = "changed"      // the bytes are not those that were written
	Missing    Fault = "missing"      // entries that were there are not
	OutOfOrder Fault = "out_of_order" // entries stand in other places than they were written
	Twice      Fault = "twice"        // an entry is there again
	CutOff     Fault = "cut_off"      // the chain ends before its head, or before the anchor
	AnchorGone Fault = "anchor_gone"  // what it should go back to is not in it any more
	NoBegin    Fault = "no_beginning" // the first are missing, and no entry says that they were dropped
	Rewritten  Fault = "rewritten"    // the chain is another one than that of the anchor
	Forged     Fault = "forged"       // the head is not signed by whom it should be
	UnknownKey Fault = "unknown_key"  // nor can that be known
	NoHead     Fault = "no_head"      // there is nothing to hold the end against
	Unsigned   Fault = "unsigned"     // nobody has signed the head
)

// means says what each fault is a sign of.
var means = map[Fault]string{
	Changed:    "somebody has edited it, or the store has damaged it; what it says can't be relied on",
	Missing:    "somebody has removed them, or the store has lost them",
	OutOfOrder: "somebody has moved them; what they say is as it was written",
	Twice:      "somebody has copied it; nothing is lost by that",
	CutOff:     "the newest entries were removed, or the store fell back to an older state",
	AnchorGone: "whether these follow from it can't be seen: all before may have been written anew; if it is older than the retention allow that, and anchor the next check to this export",
	NoBegin:    "the oldest entries were removed by other means than retention",
	Rewritten:  "the chain was written anew from some entry on; the earlier export is the one to go by",
	Forged:     "whoever wrote this head does not have the signing key",
	UnknownKey: "give the key set of that time, as it was kept with the export; or export again, with /.well-known/jwks.json of the gateway as it is now",
	NoHead:     "the newest entries may have been removed with it, and any of the others changed; or the file was not copied to its end",
	Unsigned:   "whoever could write this could have written all of it anew; the gateway signs the end of its record, and not that of an export with --until",
}

// maxProblems bounds a Report.
const maxProblems = 20

// Problem is one fault, and where it is.
type Problem struct {
	Seq   uint64 `json:"seq"`            // of the entry; of the first of those that are missing
	To    uint64 `json:"to,omitempty"`   // the last of those that are missing
	Line  int    `json:"line,omitempty"` // where it is in what was checked, from 1
	Fault Fault  `json:"fault"`
	What  string `json:"what"`  // for people
	Means string `json:"means"` // of what it is a sign
}

// Anchor is an entry that somebody has remembered from an earlier export.
type Anchor struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

// CheckOptions are what a chain is held against. Without Anchor and KeySet it can't be
// seen that all were written anew.
type CheckOptions struct {
	Head   *Head   // where it has to end; nil: it is not there, and that is a fault
	Anchor *Anchor // what has to be in it
	// AnchorMayBeGone: it may have been dropped, as older than the retention.
	AnchorMayBeGone bool
	KeySet          []byte // JWK set, by a key of which Head has to be signed; nil: that is not looked at
	Whole           bool   // it is all that is kept: what is missing at the beginning has to be told of
	Part            *Part  // what was exported; nil: that is not known
}

// Report is what Check found.
type Report struct {
	OK       bool      `json:"ok"`
	Entries  int       `json:"entries"`
	First    uint64    `json:"first,omitempty"` // seq
	Last     uint64    `json:"last,omitempty"`
	From     time.Time `json:"from,omitzero"` // when the first and the last happened
	To       time.Time `json:"to,omitzero"`
	Head     *Head     `json:"head,omitempty"`
	Part     *Part     `json:"part,omitempty"`     // what was exported, as the export says
	SignedAt time.Time `json:"signed_at,omitzero"` // zero: the head's signature was not checked, or is not good
	SignedBy string    `json:"signed_by,omitempty"`
	Anchored bool      `json:"anchored"` // the anchor was found, and is as it was
	Problems []Problem `json:"problems"` // as they come; empty: none
	Notes    []string  `json:"notes"`    // what could not be checked
}

// Check holds a chain, as it is kept, against itself and against o, and names what
// is wrong and where. It is pure.
func Check(lines [][]byte, o CheckOptions) Report {
	c := checker{o: o, lines: lines, report: Report{Entries: len(lines), Head: o.Head, Problems: []Problem{}, Notes: []string{}}}
	c.links()
	c.part()
	c.begin()
	c.end()
	c.anchor()
	c.signature()
	c.report.OK = len(c.report.Problems) == 0
	return c.report
}

type checker struct {
	o        CheckOptions
	lines    [][]byte
	entries  []Entry // by line; Seq 0: it can't be read
	hashes   []string
	at       map[uint64]int // where an entry stands first
	ends     string         // hash of the last entry
	attested uint64         // up to here, and not including it, entries say that they were dropped
	beheaded bool           // that the first are missing has been told
	report   Report
}

func (c *checker) fault(seq, to uint64, line int, fault Fault, format string, args ...any) {
	if len(c.report.Problems) < maxProblems {
		c.report.Problems = append(c.report.Problems, Problem{seq, to, line, fault, fmt.Sprintf(format, args...), means[fault]})
	}
}

func (c *checker) note(format string, args ...any) {
	c.report.Notes = append(c.report.Notes, fmt.Sprintf(format, args...))
}

// links looks at what is between entries.
func (c *checker) links() {
	c.entries, c.hashes, c.at = make([]Entry, len(c.lines)), make([]string, len(c.lines)), map[uint64]int{}
	unreadable := make([]error, len(c.lines))
	for i, line := range c.lines {
		c.hashes[i] = HashLine(line)
		c.entries[i], unreadable[i] = Parse(line)
		c.noteTimes(c.entries[i])
		if seq := c.entries[i].Seq; seq > 0 && c.line(seq) < 0 {
			c.at[seq] = i
		}
	}
	expected, before := uint64(0), "" // of the next line: its number, and its prev
	if len(c.entries) > 1 && c.entries[1].Seq > 0 && c.entries[0].Seq == c.entries[1].Seq+1 {
		expected = c.entries[1].Seq
	}
	placed := map[uint64]bool{} // is where it should be
	blamed := false             // the line before has been found to be changed
	for i := range c.lines {
		e, n := c.entries[i], i+1
		switch {
		case unreadable[i] != nil:
			seq := expected
			if seq == 0 {
				seq = c.ofFirst()
			}
			c.fault(seq, 0, n, Changed, "entry %d can't be read: %v", seq, unreadable[i])
			expected, before, blamed = seq+1, c.hashes[i], true
			continue
		case expected == 0: // the first one; there is nothing before it
		case e.Seq == expected && e.Prev == before:
		case e.Prev == before: // it follows from the one before, under another number
			c.fault(expected, 0, n, Changed, "entry %d was changed: it says that it is entry %d", expected, e.Seq)
			expected, before, blamed = expected+1, c.hashes[i], true
			continue
		case placed[e.Seq]:
			c.fault(e.Seq, 0, n, Twice, "entry %d is there twice", e.Seq)
			continue
		case e.Seq != expected && c.line(expected) >= 0:
			c.fault(e.Seq, 0, n, OutOfOrder, "entry %d stands where entry %d should be, which is at line %d", e.Seq, expected, c.line(expected)+1)
			before, blamed = c.hashes[c.line(expected)], false // as if it were here
			expected++
			continue
		case e.Seq < expected:
			c.fault(e.Seq, 0, n, OutOfOrder, "entry %d stands where entry %d should be", e.Seq, expected)
			continue // what comes next is expected still
		case e.Seq > expected:
			c.fault(expected, e.Seq-1, n, Missing, "%s missing before entry %d", span(expected, e.Seq-1), e.Seq)
		case blamed: // of the one before, which has been told of
		case c.stands(i):
			c.fault(e.Seq-1, 0, n-1, Changed, "entry %d was changed: entry %d was written after another one", e.Seq-1, e.Seq)
		case i == len(c.lines)-1 && c.o.Head == nil:
			c.fault(e.Seq, 0, n, Changed, "entry %d does not follow from entry %d: one of them was changed", e.Seq, e.Seq-1)
		default:
			c.fault(e.Seq, 0, n, Changed, "entry %d was changed: it does not follow from entry %d", e.Seq, e.Seq-1)
			expected, before, blamed = e.Seq+1, c.hashes[i], true
			continue
		}
		placed[e.Seq] = true
		expected, before, blamed = e.Seq+1, c.hashes[i], false
	}
	c.ends = before
	if last := len(c.lines) - 1; last >= 0 {
		c.report.First, c.report.Last = c.entries[0].Seq, expected-1
		if last > 0 && c.entries[1].Seq > 0 {
			c.report.First = min(c.report.First, c.entries[1].Seq)
		}
		if c.report.First == 0 {
			c.report.First = c.ofFirst()
		}
	}
}

// ofFirst is the number of a first line that can't be read.
func (c *checker) ofFirst() uint64 {
	if len(c.entries) > 1 && c.entries[1].Seq > 1 {
		return c.entries[1].Seq - 1
	}
	return max(1, SeqOf(c.lines[0]))
}

// line is where the entry with this number stands; -1: nowhere.
func (c *checker) line(seq uint64) int {
	if i, ok := c.at[seq]; ok {
		return i
	}
	return -1
}

// stands reports whether what follows on line i was written after it, as it is.
func (c *checker) stands(i int) bool {
	if i+1 < len(c.entries) {
		return c.entries[i+1].Prev == c.hashes[i]
	}
	return c.o.Head != nil && c.o.Head.Hash == c.hashes[i]
}

func (c *checker) noteTimes(e Entry) {
	if e.Seq == 0 {
		return
	}
	if c.report.From.IsZero() {
		c.report.From = e.At
	}
	c.report.To = e.At
	if dropped, ok := droppedBefore(e.Type, e.Data); ok {
		c.attested = max(c.attested, dropped)
	}
}

func (c *checker) begin() {
	if !c.o.Whole || c.report.First <= 1 || c.beheaded {
		return
	}
	if c.attested < c.report.First {
		from := max(1, c.attested)
		c.fault(from, c.report.First-1, 1, NoBegin, "%s missing at the beginning, and no entry says that they were dropped", span(from, c.report.First-1))
	}
}

func (c *checker) end() {
	head := c.o.Head
	switch {
	case head == nil:
		c.fault(c.report.Last, 0, len(c.lines)+1, NoHead, "the end is not there: expected the head of the record in the last line, where each export has it")
	case c.nothing(): // where the record ended then is beyond it
	case head.Seq > c.report.Last:
		from := c.report.Last + 1
		if c.o.Part != nil {
			from = max(from, min(c.o.Part.First, head.Seq))
		}
		c.fault(from, head.Seq, 0, CutOff, "%s missing at the end: the head is of entry %d", span(from, head.Seq), head.Seq)
	case head.Seq < c.report.Last:
		c.fault(head.Seq+1, c.report.Last, 0, Changed, "%s beyond the head, which is of entry %d", span(head.Seq+1, c.report.Last), head.Seq)
	case len(c.lines) > 0 && head.Hash != c.ends && !c.named(head.Seq):
		c.fault(head.Seq, 0, len(c.lines), Changed, "entry %d, the last one, was changed: the head is of another one", head.Seq)
	}
}

// named reports whether something is known to be wrong with an entry.
func (c *checker) named(seq uint64) bool {
	for _, p := range c.report.Problems {
		if p.Seq == seq {
			return true
		}
	}
	return false
}

func (c *checker) anchor() {
	a := c.o.Anchor
	if a == nil || a.Seq == 0 {
		return
	}
	wrong := func(line int) {
		c.fault(a.Seq, 0, line, Rewritten, "entry %d is not the one that was exported earlier", a.Seq)
	}
	switch head := c.o.Head; {
	case c.nothing() && head != nil && a.Seq == head.Seq:
		if c.report.Anchored = a.Hash == head.Hash; !c.report.Anchored {
			wrong(0)
		}
	case c.nothing():
		c.note("no entry is here to hold entry %d of the earlier export against", a.Seq)
	case a.Seq > c.report.Last && c.o.Part != nil && !c.o.Part.Until.IsZero():
		c.note("entry %d of the earlier export is after this part: whether it follows from these can't be seen", a.Seq)
	case a.Seq > c.report.Last:
		if !c.cutOff() {
			c.fault(c.report.Last+1, a.Seq, 0, CutOff, "%s missing at the end: entry %d was there in an earlier export", span(c.report.Last+1, a.Seq), a.Seq)
		}
	case a.Seq+1 == c.report.First:
		if c.report.Anchored = c.entries[0].Prev == a.Hash; !c.report.Anchored {
			wrong(1)
		}
	case a.Seq < c.report.First && c.o.AnchorMayBeGone:
		c.note("entry %d of the earlier export is not among these any more: whether these follow from it can't be seen", a.Seq)
	case a.Seq < c.report.First:
		c.fault(a.Seq, 0, 0, AnchorGone, "entry %d of the earlier export is not among these any more, which begin with entry %d", a.Seq, c.report.First)
	default:
		for i, e := range c.entries {
			if e.Seq != a.Seq {
				continue
			}
			if c.report.Anchored = c.hashes[i] == a.Hash; !c.report.Anchored && !c.named(a.Seq) {
				wrong(i + 1)
			}
			return
		}
	}
}

func (c *checker) cutOff() bool {
	for _, p := range c.report.Problems {
		if p.Fault == CutOff {
			return true
		}
	}
	return false
}

func (c *checker) signature() {
	head := c.o.Head
	switch {
	case head == nil || head.Seq == 0 && c.o.KeySet == nil:
	case c.o.KeySet == nil:
		since := "that the whole chain was written anew would not show"
		if c.report.Anchored {
			since = fmt.Sprintf("that all after entry %d was written anew would not show", c.o.Anchor.Seq)
		}
		c.note("no key set to check the head's signature with: %s; give the gateway's, as in --jwks https://app.example/.well-known/jwks.json", since)
	case head.Signature == "":
		c.fault(head.Seq, 0, 0, Unsigned, "the head is not signed: nobody says that the record ended with entry %d", head.Seq)
	default:
		at, err := VerifyHead(*head, c.o.KeySet)
		if unknown, ok := errors.AsType[*UnknownKeyError](err); ok {
			c.fault(head.Seq, 0, 0, UnknownKey, "the head of entry %d is %v", head.Seq, unknown)
		} else if noSet, ok := errors.AsType[*KeySetError](err); ok { // that is no word on who signed
			c.fault(head.Seq, 0, 0, UnknownKey, "the head of entry %d can't be held against the key set: %v", head.Seq, noSet)
		} else if err != nil {
			c.fault(head.Seq, 0, 0, Forged, "the head of entry %d: %v", head.Seq, err)
		} else {
			c.report.SignedAt, c.report.SignedBy = at, KeyIDOf(*head)
		}
	}
}

// span names entries.
func span(from, to uint64) string {
	if from == to {
		return fmt.Sprintf("entry %d is", from)
	}
	return fmt.Sprintf("entries %d to %d are", from, to)
}
