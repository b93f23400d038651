package route

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Miss is a route that a request does not take, and the first reason why.
type Miss struct {
	Route  *Route
	Reason string
}

// Nearest lists up to limit routes that come closest to a request which none
// matches, best first. It is for people who ask why, not for requests.
func (t *Table) Nearest(method, escapedPath string, limit int) []Miss {
	if canonical(escapedPath) != nil || limit <= 0 {
		return nil
	}
	segs := strings.Split(escapedPath[1:], "/")
	for i := range segs {
		segs[i], _ = decode(segs[i])
	}
	type scored struct {
		Miss
		score float64
	}
	var all []scored
	for _, e := range t.entries {
		reason, score := e.miss(segs)
		if reason == "" && e.methods&methodBit(method) == 0 {
			reason, score = fmt.Sprintf("it has the path, but answers %s, not %s", e.methods, method), 2
		}
		if reason != "" {
			all = append(all, scored{Miss{&e.Route, reason}, score})
		}
	}
	slices.SortStableFunc(all, func(a, b scored) int { return cmp.Compare(b.score, a.score) })
	var out []Miss
	for _, s := range all[:min(limit, len(all))] {
		if s.score > 0 {
			out = append(out, s.Miss)
		}
	}
	return out
}

// miss says where decoded segments part from the pattern, and how far, from 0
// (nothing in common) to 1; an empty reason means that they match.
func (e *entry) miss(segs []string) (reason string, score float64) {
	p := e.pattern
	total := float64(max(len(p.segs), len(segs)) + 1)
	for i, s := range p.segs {
		at := float64(i) / total
		if i >= len(segs) {
			return fmt.Sprintf("the path ends before its %q", s.show()), at
		}
		switch {
		case s.param && segs[i] != "":
		case s.param:
			return fmt.Sprintf("its %s needs a value, and the path ends in a slash", s.show()), at
		case s.text == segs[i]:
		case strings.EqualFold(s.text, segs[i]):
			return fmt.Sprintf("letter case counts: it has %q where the path has %q", s.show(), segs[i]), at + 0.9/total
		default:
			return fmt.Sprintf("it has %q where the path has %q", s.show(), segs[i]), at + similar(s.text, segs[i])/total
		}
	}
	n := len(p.segs)
	switch {
	case p.star && len(segs) > n, !p.star && len(segs) == n:
		return "", 1
	case p.star:
		return "its * comes after a slash, which the path does not have", float64(n) / total
	case segs[n] == "" && len(segs) == n+1:
		return "the path ends in a slash, and it does not", float64(n)/total + 0.9/total
	}
	return "the path goes on after its end", float64(n) / total
}

func (s segment) show() string {
	if s.param {
		return "{" + s.text + "}"
	}
	return s.text
}

// similar is the share of bytes that two strings have in common at both ends,
// halved so that a typo never outweighs a whole segment.
func similar(a, b string) float64 {
	n := max(len(a), len(b))
	if n == 0 {
		return 0
	}
	pre := 0
	for pre < min(len(a), len(b)) && a[pre] == b[pre] {
		pre++
	}
	suf := 0
	for suf < min(len(a), len(b))-pre && a[len(a)-1-suf] == b[len(b)-1-suf] {
		suf++
	}
	return float64(pre+suf) / float64(n) / 2
}
