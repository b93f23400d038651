// Command table makes docs/reference/conformance.md: each module of the
// conformance plans for relying parties, each lie of the demo IdP, and what the
// gateway made of it.
//
// It reads the stream of a whole test run (out/test.json, kept by `make test`):
// package test/conformance logs a line for each lie that it has had told. Modules
// that other tests stand for are found by the threat that those name.
//
//	go run ./test/conformance/table          writes the file
//	go run ./test/conformance/table -check   fails if the file says something else
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() {
	check := flag.Bool("check", false, "compare with the file instead of writing it")
	stream := flag.String("json", "out/test.json", "stream of the test run")
	file := flag.String("file", "docs/reference/conformance.md", "the table")
	flag.Parse()
	if err := run(*stream, *file, *check); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(stream, file string, check bool) error {
	sf, err := os.Open(stream)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("no %s: the table is made from a test run, so run `make unit` first", stream)
	} else if err != nil {
		return err
	}
	defer sf.Close()
	shown, err := readRun(sf)
	if err != nil {
		return fmt.Errorf("%s: %w", stream, err)
	}
	want := render(shown)
	if !check {
		return os.WriteFile(file, want, 0o644)
	}
	have, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if !bytes.Equal(have, want) {
		return fmt.Errorf("%s is not what the last test run shows, first at line %d; run `make conformance` and commit it", file, firstDifference(have, want))
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
