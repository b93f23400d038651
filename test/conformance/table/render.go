package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"keyway/internal/demo/idp/lies"
)

const intro = `# Conformance

What the gateway makes of a provider that lies. A demo IdP with a switch for each lie signs users in through a
whole gateway, which answers as listed here. The modules are those of the OpenID Foundation's conformance plans for
relying parties, by the names that its suite has for them, done again by their descriptions; the suite itself was not run,
and no certificate is claimed. Below the plans are the lies that no plan has.

In the FAPI plans the client authenticates by a signed assertion and pushes its requests, and its access tokens are bound to a
key (DPoP, RFC 9449), at a provider that issues this client no others; the API counts a call with a proof beside the token only. Nonces for proofs, signed requests and signed
responses are in the tests of threats 10, 21 and 64, at a provider that demands them all.

A line *passes* when it was run and what must happen did, *fails* when it did not, and is *open* when no test
has shown either. This file is made from a test run (` + "`make test`, then `make conformance`" + `), not by hand. The codes are
those of [errors](errors.md); the numbers of threats those of [threats](threats.md).

`

const columns = "| --- | --- | --- | --- | --- |\n"

func render(s shown) []byte {
	var body bytes.Buffer
	var summary bytes.Buffer
	all := map[string]int{}
	inPlan := map[string]bool{}
	for _, p := range lies.Plans() {
		fmt.Fprintf(&body, "\n## %s\n\nPlan `%s`.\n\n| module | the provider | must happen | we did | state |\n%s", p.Title, p.Name, columns)
		count := map[string]int{}
		for _, m := range p.Modules {
			state := s.module(&body, p, m)
			for _, l := range m.Lies {
				inPlan[l] = true
			}
			count[state]++
			all[state]++
		}
		summaryLine(&summary, p.Title, count)
	}
	summaryLine(&summary, "all plans", all)

	beyond := map[string]int{}
	fmt.Fprint(&body, "\n## Lies that no plan has\n")
	for _, kind := range []lies.Kind{lies.Start, lies.SignIn, lies.Refresh, lies.Logout, lies.Backchannel} {
		fmt.Fprintf(&body, "\n### Told at %s\n\n| lie | the provider | must happen | we did | state |\n%s", kind, columns)
		for _, l := range lies.All() {
			if l.Kind != kind || inPlan[l.ID] {
				continue
			}
			beyond[s.line(&body, "`"+l.ID+"`", l, lies.Once(l))]++
		}
	}
	summaryLine(&summary, "lies that no plan has", beyond)

	fmt.Fprint(&body, "\n## Plans that do not apply\n\n| plans | why |\n| --- | --- |\n")
	others := lies.NotOurs()
	for _, name := range slices.Sorted(maps.Keys(others)) {
		fmt.Fprintf(&body, "| %s | %s |\n", cell(name), cell(others[name]))
	}
	return slices.Concat([]byte(intro), []byte("| plan | passes | fails | open | does not apply |\n"+columns), summary.Bytes(), body.Bytes())
}

func summaryLine(b *bytes.Buffer, title string, count map[string]int) {
	fmt.Fprintf(b, "| %s | %d | %d | %d | %d |\n", cell(title), count[passes], count[fails], count[isOpen], count[notOurs])
}

// module writes the lines of one, and returns its state: the worst of its lies'.
func (s shown) module(b *bytes.Buffer, p lies.Plan, m lies.Module) string {
	name := "`" + m.Name + "`"
	switch {
	case m.Why != "":
		fmt.Fprintf(b, "| %s |  | %s |  | %s |\n", name, cell(m.Why), notOurs)
		return notOurs
	case m.Threat > 0:
		state := s.covered(m.Threat)
		fmt.Fprintf(b, "| %s |  | threat %d | the tests that [threats](threats.md) names for it | %s |\n", name, m.Threat, state)
		return state
	}
	worst := passes
	for _, id := range m.Lies {
		l, _ := lies.Named(id)
		state := s.line(b, name, l, p.Of(m, id))
		if state == fails || state == isOpen && worst == passes {
			worst = state
		}
	}
	return worst
}

func (s shown) line(b *bytes.Buffer, name string, l lies.Lie, run lies.Run) string {
	o, ran := s.runs[run.Name()]
	state := o.state(ran)
	fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", name, cell(l.Says), cell(l.Must), cell(o.did), state)
	return state
}

// cell makes text fit for a cell of a table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(s)
}
