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
	"flag"
	"fmt"
	"io"
	"os"

	"keyway/test/fromrun"
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
	return fromrun.Page{Stream: stream, File: file, Target: "conformance", Render: func(r io.Reader) ([]byte, error) {
		shown, err := readRun(r)
		if err != nil {
			return nil, err
		}
		return render(shown), nil
	}}.Make(check)
}
