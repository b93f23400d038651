// Package fromrun makes pages of the documentation from the stream of a whole test run
// (`go test -json`), and says where a page is not what the run has shown.
package fromrun

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// Page is one that is made from a run.
type Page struct {
	Stream string // file with the stream of the run
	File   string // the page
	Target string // of the Makefile: what makes the page
	// Render reads the stream, and returns the page.
	Render func(stream io.Reader) ([]byte, error)
}

// Make writes the page. With check it writes nothing, and fails if the page says
// something else than the run.
func (p Page) Make(check bool) error {
	stream, err := os.Open(p.Stream)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("no %s: the table is made from a test run, so run `make unit` first", p.Stream)
	} else if err != nil {
		return err
	}
	defer stream.Close()
	want, err := p.Render(stream)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Stream, err)
	}
	if !check {
		return os.WriteFile(p.File, want, 0o644)
	}
	have, err := os.ReadFile(p.File)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if !bytes.Equal(have, want) {
		return fmt.Errorf("%s is not what the last test run shows, first at line %d; run `make %s` and commit it", p.File, firstDifference(have, want), p.Target)
	}
	return nil
}

// firstDifference is the number of the first line that differs.
func firstDifference(have, want []byte) int {
	h, w := bytes.Split(have, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range min(len(h), len(w)) {
		if !bytes.Equal(h[i], w[i]) {
			return i + 1
		}
	}
	return min(len(h), len(w)) + 1
}
