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
	"flag"
	"fmt"
	"io"
	"os"

	"keyway/test/fromrun"
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
	return fromrun.Page{Stream: stream, File: file, Target: "threats", Render: func(r io.Reader) ([]byte, error) {
		covered, err := readRun(r)
		if err != nil {
			return nil, err
		}
		if err := covered.known(cases); err != nil {
			return nil, err
		}
		return render(cases, covered), nil
	}}.Make(check)
}
