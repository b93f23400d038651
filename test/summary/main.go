// Command summary runs `go test -json`, keeps its whole stream in a file, and
// shows what a person wants to see of it: a line for each package, the full
// output of what failed, each test that was left out, and the counts.
//
//	go run ./test/summary -json out/test.json -- go test -race -json ./...
//
// It fails if a test fails, if go test fails for another reason, if no test has
// run, and, with KEYWAY_REQUIRE_PARTS=1, if one was left out.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	keep := flag.String("json", "", "file that keeps the stream")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: summary [-json FILE] -- go test -json PACKAGES")
		os.Exit(2)
	}
	ok, err := run(*keep, flag.Args(), os.Getenv("KEYWAY_REQUIRE_PARTS") == "1")
	if err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

func run(keep string, command []string, noSkips bool) (bool, error) {
	kept := io.Discard
	if keep != "" {
		if err := os.MkdirAll(filepath.Dir(keep), 0o755); err != nil {
			return false, err
		}
		f, err := os.Create(keep)
		if err != nil {
			return false, err
		}
		defer f.Close()
		kept = f
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	stream, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	s := newSummary(out)
	if err := s.read(io.TeeReader(stream, kept)); err != nil {
		return false, err
	}
	failed := cmd.Wait()
	return s.finish(noSkips, failed), nil
}
