package main

import (
	"bufio"
	"encoding/json"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// id names a test as go test does: a package and Test/subtest.
type id struct{ pkg, test string }

// outcome is what a run of one lie has shown.
type outcome struct {
	did   string
	ended string // pass, fail, skip; "": it did not end
}

// shown is what a whole test run has.
type shown struct {
	runs    map[string]outcome        // by the name of the run
	threats map[int]map[string]string // how each test that covers it ended, by its package and name without subtests
}

const (
	conformancePackage = "test/conformance"
	module             = "keyway/"
)

var logged = regexp.MustCompile(`^\s+[^\s:]+\.go:\d+: (?:threat (\d+)|conformance (\{.*\}))\n$`)

func readRun(r io.Reader) (shown, error) {
	s := shown{runs: map[string]outcome{}, threats: map[int]map[string]string{}}
	names, covers, ended := map[id]outcome{}, map[id][]int{}, map[id]string{}
	runOf := map[id]string{}
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		var e struct{ Action, Package, Test, Output string }
		if len(line) > 0 && json.Unmarshal(line, &e) == nil && e.Test != "" {
			k := id{strings.TrimPrefix(e.Package, module), e.Test}
			switch e.Action {
			case "output":
				m := logged.FindStringSubmatch(e.Output)
				switch {
				case m == nil:
				case m[1] != "":
					n, _ := strconv.Atoi(m[1])
					covers[k] = append(covers[k], n)
				case k.pkg == conformancePackage:
					var said struct{ Run, Did string }
					if json.Unmarshal([]byte(m[2]), &said) == nil {
						runOf[k], names[k] = said.Run, outcome{did: said.Did}
					}
				}
			case "pass", "fail", "skip":
				ended[k] = e.Action
			}
		}
		if err == io.EOF {
			break
		} else if err != nil {
			return s, err
		}
	}
	for k, run := range runOf {
		s.runs[run] = outcome{names[k].did, ended[k]}
	}
	for k, numbers := range covers {
		if k.pkg == conformancePackage {
			continue // its runs speak for themselves
		}
		parent, _, _ := strings.Cut(k.test, "/")
		name := k.pkg + "." + parent
		for _, n := range numbers {
			if s.threats[n] == nil {
				s.threats[n] = map[string]string{}
			}
			if s.threats[n][name] != "fail" { // one that fails decides
				s.threats[n][name] = ended[k]
			}
		}
	}
	return s, nil
}

// The states of a line.
const (
	passes  = "passes"
	fails   = "fails"
	isOpen  = "open"
	notOurs = "does not apply"
)

func (o outcome) state(ran bool) string {
	switch {
	case ran && o.ended == "pass":
		return passes
	case ran && o.ended != "skip":
		return fails
	}
	return isOpen
}

// covered is the state of a module that the tests of a threat stand for.
func (s shown) covered(n int) string {
	state := isOpen
	for _, ended := range s.threats[n] {
		switch ended {
		case "pass":
			state = passes
		case "skip":
		default:
			return fails
		}
	}
	return state
}
