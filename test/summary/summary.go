package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output
	Test       string
	Output     string
	Elapsed    float64
}

type key struct{ pkg, test string }

type summary struct {
	out    *bufio.Writer
	output map[key]*strings.Builder
	// failedIn holds the failed tests of each package that has not ended.
	failedIn                       map[string][]string
	passed, failed, packages, idle int
	skipped                        []string // with reasons
}

func newSummary(out *bufio.Writer) *summary {
	return &summary{out: out, output: map[key]*strings.Builder{}, failedIn: map[string][]string{}}
}

func (s *summary) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil {
				s.out.WriteString(line) // not of the stream: show it as it is
			} else {
				s.take(e)
			}
			s.out.Flush()
		}
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (s *summary) take(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		s.out.WriteString(e.Output)
	case "output":
		b := s.output[k]
		if b == nil {
			b = &strings.Builder{}
			s.output[k] = b
		}
		b.WriteString(e.Output)
	case "pass", "fail", "skip":
		if e.Test != "" {
			s.test(e, k)
		} else {
			s.pkg(e)
		}
	}
}

func (s *summary) test(e event, k key) {
	switch e.Action {
	case "pass":
		s.passed++
		delete(s.output, k)
	case "fail":
		s.failed++
		s.failedIn[e.Package] = append(s.failedIn[e.Package], e.Test)
	case "skip":
		s.skipped = append(s.skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, s.reason(k)))
		delete(s.output, k)
	}
}

func (s *summary) pkg(e event) {
	failedTests := s.failedIn[e.Package]
	switch e.Action {
	case "skip":
		s.idle++ // no test files
	case "pass":
		s.packages++
		fmt.Fprintf(s.out, "ok    %-40s %6.1fs\n", e.Package, e.Elapsed)
	case "fail":
		s.packages++
		fmt.Fprintf(s.out, "FAIL  %-40s %6.1fs\n", e.Package, e.Elapsed)
		slices.Sort(failedTests) // a parent before its subtests
		for _, test := range failedTests {
			fmt.Fprintf(s.out, "\n--- %s %s\n%s", e.Package, test, s.text(key{e.Package, test}))
		}
		if len(failedTests) == 0 {
			// It did not build, or it ended before a test could be blamed.
			s.failed++
			for k := range s.output {
				if k.pkg == e.Package && k.test != "" {
					fmt.Fprintf(s.out, "\n--- %s %s had not ended\n%s", k.pkg, k.test, s.text(k))
				}
			}
		}
		// What the package said outside of its tests: a panic, a data race, a
		// goroutine that leaked.
		fmt.Fprintf(s.out, "\n%s\n", s.text(key{e.Package, ""}))
	}
	for k := range s.output {
		if k.pkg == e.Package {
			delete(s.output, k)
		}
	}
	delete(s.failedIn, e.Package)
}

// finish prints the counts, and answers whether all is well.
func (s *summary) finish(noSkips bool, runErr error) bool {
	slices.Sort(s.skipped)
	for _, line := range s.skipped {
		fmt.Fprintf(s.out, "left out: %s\n", line)
	}
	ok := s.failed == 0 && runErr == nil
	switch {
	case s.passed+s.failed == 0:
		ok = false
		fmt.Fprintln(s.out, "no test has run")
	case runErr != nil && s.failed == 0:
		fmt.Fprintf(s.out, "go test ended with %v, and no test to blame; see above\n", runErr)
	}
	if noSkips && len(s.skipped) > 0 {
		ok = false
		fmt.Fprintln(s.out, "tests were left out where every part is required (KEYWAY_REQUIRE_PARTS=1)")
	}
	fmt.Fprintf(s.out, "%d packages with tests, %d without\n", s.packages, s.idle)
	fmt.Fprintf(s.out, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, len(s.skipped))
	s.out.Flush()
	return ok
}

func (s *summary) text(k key) string {
	if b := s.output[k]; b != nil {
		return b.String()
	}
	return ""
}

// reason is what the test logged on skipping: the line before "--- SKIP".
func (s *summary) reason(k key) string {
	for line := range strings.Lines(s.text(k)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			return line
		}
	}
	return "no reason given"
}
