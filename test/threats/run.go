package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// id names a test as go test does: a package and Test/subtest.
type id struct{ pkg, test string }

// coverage is what a run has shown: for each case, its tests and how each ended
// ("pass", "fail", "skip", or "" for one that did not end).
type coverage map[int]map[id]string

// covers is how testing prints the log line of threat.Covers.
var covers = regexp.MustCompile(`^\s+[^\s:]+\.go:\d+: threat (\d+)\n$`)

func readRun(r io.Reader) (coverage, error) {
	byTest := map[id][]int{}
	ended := map[id]string{}
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		var e struct{ Action, Package, Test, Output string }
		if len(line) > 0 && json.Unmarshal(line, &e) == nil && e.Test != "" {
			k := id{strings.TrimPrefix(e.Package, "keyway/"), e.Test}
			switch e.Action {
			case "output":
				if m := covers.FindStringSubmatch(e.Output); m != nil {
					n, _ := strconv.Atoi(m[1])
					byTest[k] = append(byTest[k], n)
				}
			case "pass", "fail", "skip":
				ended[k] = e.Action
			}
		}
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
	}
	c := coverage{}
	for k, numbers := range byTest {
		for _, n := range numbers {
			if c[n] == nil {
				c[n] = map[id]string{}
			}
			c[n][k] = ended[k]
		}
	}
	return c, nil
}

// known fails if a test names a case that is not on the list.
func (c coverage) known(cases []threatCase) error {
	for n, tests := range c {
		if n < 1 || n > len(cases) {
			for k := range tests {
				return fmt.Errorf("%s.%s covers threat %d, but the list ends at %d", k.pkg, k.test, n, len(cases))
			}
		}
	}
	return nil
}

// state of a case: held if every test that covers it passed; failing if one did
// not; open if there is none, or none that was not left out.
func (c coverage) state(n int) string {
	state := "open"
	for _, ended := range c[n] {
		switch ended {
		case "pass":
			state = "held"
		case "skip":
		default:
			return "failing"
		}
	}
	return state
}
