package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

const intro = `# Threats

What must not happen, and the tests that show that it does not. The cases are those that gateways of this
kind have got wrong, or that a specification demands. P0 holds before anything is called done; P1 is next.

A case is *held* when every test that covers it has passed, *failing* when one has not, and *open* when there
is none. This file is made from a test run (` + "`make test`, then `make threats`" + `), not by hand.

A number behind a test is how many of its subtests cover the case. *source* is where the case comes from: ASVS is OWASP's
Application Security Verification Standard 5.0; FAPI2 and FAPI2 MS are the Security Profile and Message Signing of FAPI 2.0; OIDF is the
OpenID Foundation's conformance suite; BBA is OAuth 2.0 for Browser-Based Applications; a name with a number is an issue of that project; *ours*
is nobody else's.

`

func render(cases []threatCase, c coverage) []byte {
	var b bytes.Buffer
	b.WriteString(intro)

	type count struct{ held, p0Held, p0, all int }
	var areas []string
	counts, total := map[string]*count{}, &count{}
	for _, tc := range cases {
		if counts[tc.Area] == nil {
			counts[tc.Area] = &count{}
			areas = append(areas, tc.Area)
		}
		for _, n := range []*count{counts[tc.Area], total} {
			n.all++
			held, p0 := c.state(tc.Number) == "held", tc.Priority == "P0"
			if held {
				n.held++
			}
			if p0 {
				n.p0++
			}
			if held && p0 {
				n.p0Held++
			}
		}
	}
	b.WriteString("| area | held | of which P0 |\n| --- | --- | --- |\n")
	for _, area := range areas {
		n := counts[area]
		fmt.Fprintf(&b, "| %s | %d of %d | %d of %d |\n", area, n.held, n.all, n.p0Held, n.p0)
	}
	fmt.Fprintf(&b, "| all | %d of %d | %d of %d |\n", total.held, total.all, total.p0Held, total.p0)

	for i, tc := range cases {
		if i == 0 || tc.Area != cases[i-1].Area {
			fmt.Fprintf(&b, "\n## %s\n\n| case | P | name | stimulus | must happen | state | tests | source |\n"+
				"| --- | --- | --- | --- | --- | --- | --- | --- |\n", tc.Area)
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s | %s | %s | %s |\n", tc.Number, tc.Priority, cell(tc.Name),
			cell(tc.Stimulus), cell(tc.Outcome), c.state(tc.Number), strings.Join(testNames(c[tc.Number]), "<br>"), cell(tc.Source))
	}
	return b.Bytes()
}

// testNames lists the tests, sorted. Several subtests of one test are one entry
// with their number, so that a table of fifty inputs takes one line.
func testNames(tests map[id]string) []string {
	subtests := map[string]int{}
	single := map[string]string{}
	for k := range tests {
		parent, _, _ := strings.Cut(k.test, "/")
		parent = k.pkg + "." + parent
		subtests[parent]++
		single[parent] = k.pkg + "." + k.test
	}
	names := make([]string, 0, len(subtests))
	for parent, n := range subtests {
		if n == 1 {
			names = append(names, "`"+cell(single[parent])+"`")
		} else {
			names = append(names, fmt.Sprintf("`%s` (%d)", cell(parent), n))
		}
	}
	slices.Sort(names)
	return names
}

// cell makes text fit for a cell of a table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(s)
}
