package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// paint colours words for people, on a terminal only.
type paint bool

// painter follows https://no-color.org.
func painter(s *streams) paint {
	env := lookup(s.environ)
	no, _ := env("NO_COLOR")
	term, _ := env("TERM")
	return paint(no == "" && term != "dumb" && isTerminal(s.stdout))
}

// isTerminal goes by the file's kind; the null device is of the same kind.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// The colours, as ECMA-48 numbers.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (p paint) in(colour, text string) string {
	if !p || colour == "" || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// cell is a text and its colour.
type cell struct{ text, colour string }

// table is rows of aligned cells, each with notes below it.
type table struct {
	paint paint
	rows  [][]cell
	notes map[int][]cell // by row
}

func newTable(p paint, head ...string) *table {
	t := &table{paint: p, notes: map[int][]cell{}}
	row := make([]cell, len(head))
	for i, h := range head {
		row[i] = cell{h, dim}
	}
	t.rows = append(t.rows, row)
	return t
}

func (t *table) row(cells ...cell) {
	for i := range cells {
		cells[i].text = printable(cells[i].text)
	}
	t.rows = append(t.rows, cells)
}

// note adds a line below the last row.
func (t *table) note(colour, format string, args ...any) {
	at := len(t.rows) - 1
	t.notes[at] = append(t.notes[at], cell{printable(fmt.Sprintf(format, args...)), colour})
}

func (t *table) write(w io.Writer) {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	indent := ""
	if len(widths) > 0 {
		indent = strings.Repeat(" ", widths[0]+2)
	}
	for n, row := range t.rows {
		var line strings.Builder
		for i, c := range row {
			line.WriteString(t.paint.in(c.colour, c.text))
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
		for _, note := range t.notes[n] {
			fmt.Fprintln(w, indent+t.paint.in(note.colour, note.text))
		}
	}
}

// span is a duration as people say it, in one unit.
func span(d time.Duration) string {
	switch d = d.Abs(); {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d d", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

// took is a duration that was waited for.
func took(d time.Duration) string {
	if d < 100*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return span(d)
}

// relative is a time as seen from now.
func relative(t, now time.Time) string {
	switch d := t.Sub(now); {
	case d >= time.Second:
		return "in " + span(d)
	case d <= -time.Second:
		return span(d) + " ago"
	}
	return "now"
}

// short cuts the thumbprints of signing keys; any other id is shown whole.
func short(id string) string {
	if len(id) > 20 {
		return id[:12] + "…"
	}
	return id
}
