package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// threatCase is one line of cases.tsv.
type threatCase struct {
	Number                                  int
	Priority, Area, Name, Stimulus, Outcome string
	Source                                  string
}

const header = "number\tpriority\tarea\tname\tstimulus\toutcome\tsource"

// readCases reads the list, which is in the order of its numbers, without gaps.
func readCases(r io.Reader) ([]threatCase, error) {
	lines := bufio.NewScanner(r)
	if !lines.Scan() || lines.Text() != header {
		return nil, fmt.Errorf("line 1: expected the columns %q, found %q", header, lines.Text())
	}
	var cases []threatCase
	for n := 2; lines.Scan(); n++ {
		f := strings.Split(lines.Text(), "\t")
		if len(f) != 7 {
			return nil, fmt.Errorf("line %d: expected 7 columns, found %d", n, len(f))
		}
		number, err := strconv.Atoi(f[0])
		if err != nil || number != len(cases)+1 {
			return nil, fmt.Errorf("line %d: expected case %d, found %q", n, len(cases)+1, f[0])
		}
		cases = append(cases, threatCase{number, f[1], f[2], f[3], f[4], f[5], f[6]})
	}
	return cases, lines.Err()
}
