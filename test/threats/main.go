// Command threats makes docs/reference/threats.md: each case of the threat list
// with the tests that cover it, and whether it holds.
//
// A test covers a case by calling threat.Covers, which logs "threat N". The
// command reads the stream of a whole test run (out/test.json, kept by `make
// test`), so a case is held only if its tests have really run and passed.
//
//	go run ./test/threats          writes the file
//	go run ./test/threats -check   fails if the file says something else
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
	list := flag.String("cases", "test/threats/cases.tsv", "the cases")
	file := flag.String("file", "docs/reference/threats.md", "the table")
	flag.Parse()
	if err := run(*stream, *list, *file, *check); err != nil {
		fmt.Fprintln(os.Stderr, "threats:", err)
		os.Exit(1)
	}
}

func run(stream, list, file string, check bool) error {
	lf, err := os.Open(list)
	if err != nil {
		return err
	}
	defer lf.Close()
	cases, err := readCases(lf)
	if err != nil {
		return fmt.Errorf("%s: %w", list, err)
	}
	sf, err := os.Open(stream)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("no %s: the table is made from a test run, so run `make unit` first", stream)
	} else if err != nil {
		return err
	}
	defer sf.Close()
	covered, err := readRun(sf)
	if err != nil {
		return fmt.Errorf("%s: %w", stream, err)
	}
	if err := covered.known(cases); err != nil {
		return err
	}
	want := render(cases, covered)
	if !check {
		return os.WriteFile(file, want, 0o644)
	}
	have, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if line, ok := firstDifference(have, want); !ok {
		return fmt.Errorf("%s is not what the last test run shows, first at line %d; run `make threats` and commit it", file, line)
	}
	return nil
}

// firstDifference answers with the number of the first line that differs.
func firstDifference(have, want []byte) (int, bool) {
	if bytes.Equal(have, want) {
		return 0, true
	}
	h, w := bytes.Split(have, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range min(len(h), len(w)) {
		if !bytes.Equal(h[i], w[i]) {
			return i + 1, false
		}
	}
	return min(len(h), len(w)) + 1, false
}
