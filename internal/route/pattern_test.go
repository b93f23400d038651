package route

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPatternsThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":          "starts with a slash",
		"api":       "starts with a slash",
		"/a//b":     "empty segment",
		"/a*":       "stands alone",
		"/*/a":      "stands alone",
		"/a/{id":    "whole segment",
		"/a/x{id}":  "whole segment",
		"/a/{}":     "not a parameter",
		"/a/{i d}":  "not a parameter",
		"/a/{1}":    "not a parameter",
		"/a/{path}": "something else",
		"/{a}/{a}":  "twice",
		"/a/..":     "no request can match",
		"/a/%2e%2e": "no request can match",
		"/a/b;c":    "no request can match",
		"/a/%2f":    "no request can match",
		"/a/%":      "percent-escape",
		strings.Repeat("/{a}", 1) + strings.Repeat("/x", 64): "at most 64 segments",
		"/" + strings.Repeat("x", 1024):                      "at most 1024 bytes",
		"/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}":               "at most 8 parameters",
	} {
		if _, err := ParsePattern(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParsePattern(%.40q) = %v, want an error with %q", text, err, want)
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b, example string // empty: none
	}{
		{"/a", "/a", "/a"},
		{"/a", "/b", ""},
		{"/a", "/a/", ""},
		{"/a", "/a/*", ""},
		{"/a/", "/a/*", "/a/"},
		{"/a/{x}", "/a/", ""},
		{"/a/{x}", "/a/b", "/a/b"},
		{"/a/{x}", "/{y}/b", "/a/b"},
		{"/a/{x}/c", "/a/b/*", "/a/b/c"},
		{"/a/*", "/a/b/*", "/a/b/x"},
		{"/*", "/", "/"},
		{"/*", "/a/b", "/a/b"},
		{"/{x}/*", "/a", ""},
		{"/{x}/*", "/", ""},
		{"/caf%C3%A9", "/café", "/caf%C3%A9"},
		{"/A", "/a", ""},
	} {
		a, b := mustPattern(t, c.a), mustPattern(t, c.b)
		for _, pair := range [][2]Pattern{{a, b}, {b, a}} {
			got, ok := pair[0].Overlap(pair[1], false)
			if got != c.example || ok != (c.example != "") {
				t.Errorf("%s and %s: %q, %v, want %q", pair[0], pair[1], got, ok, c.example)
			}
		}
	}
}

func mustPattern(t interface{ Fatalf(string, ...any) }, text string) Pattern {
	p, err := ParsePattern(text)
	if err != nil {
		t.Fatalf("ParsePattern(%q): %v", text, err)
	}
	return p
}

// matches is the plainest possible matcher, to compare against.
func matches(p Pattern, path string) bool {
	segs := strings.Split(path[1:], "/")
	if p.star && len(segs) <= len(p.segs) || !p.star && len(segs) != len(p.segs) {
		return false
	}
	for i, s := range p.segs {
		if s.param && segs[i] == "" || !s.param && s.text != segs[i] {
			return false
		}
	}
	return true
}

// smallPaths are all canonical paths of up to four segments over a tiny
// alphabet; a witness of any overlap of smallPattern is among them.
var smallPaths = func() []string {
	var all []string
	var grow func(prefix string, n int)
	grow = func(prefix string, n int) {
		all = append(all, prefix+"/")
		if n == 0 {
			return
		}
		for _, s := range []string{"a", "b", "A", "x"} {
			all = append(all, prefix+"/"+s)
			grow(prefix+"/"+s, n-1)
		}
	}
	grow("", 4)
	return all
}()

func smallPattern(t *rapid.T, label string) Pattern {
	segs := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "A", "?"}), 0, 3).Draw(t, label)
	var b strings.Builder
	for i, s := range segs {
		if s == "?" {
			s = "{p" + string(rune('0'+i)) + "}"
		}
		b.WriteString("/" + s)
	}
	b.WriteString(rapid.SampledFrom([]string{"", "/", "/*"}).Draw(t, label+" end"))
	if b.Len() == 0 {
		b.WriteByte('/')
	}
	return mustPattern(t, b.String())
}

func TestOverlapAgreesWithBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := smallPattern(t, "p"), smallPattern(t, "q")
		both := ""
		for _, path := range smallPaths {
			if matches(p, path) && matches(q, path) {
				both = path
				break
			}
		}
		example, overlap := p.Overlap(q, false)
		if overlap != (both != "") {
			t.Fatalf("%s and %s: Overlap says %v (%q), brute force %q", p, q, overlap, example, both)
		}
		if overlap && (!matches(p, example) || !matches(q, example) || Canonical(example) != nil) {
			t.Fatalf("%s and %s: %q is no example", p, q, example)
		}
		// Ignoring case can only add overlaps.
		if _, fold := p.Overlap(q, true); overlap && !fold {
			t.Fatalf("%s and %s overlap only when case counts", p, q)
		}
	})
}

// FuzzParsePattern: a pattern that parses can be matched by some request, and
// overlaps itself.
func FuzzParsePattern(f *testing.F) {
	for _, s := range []string{"/", "/a/{b}/*", "/a*", "/{path}", "/%2e", "/é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePattern(text)
		if err != nil {
			return
		}
		example, ok := p.Overlap(p, false)
		if !ok {
			t.Fatalf("%q does not overlap itself", text)
		}
		if err := Canonical(example); err != nil {
			t.Fatalf("%q: example %q: %v", text, example, err)
		}
		tab, err := NewTable([]Route{{Path: text}})
		if err != nil {
			t.Fatal(err)
		}
		if _, outcome := tab.Match("GET", example); outcome != Found {
			t.Fatalf("%q does not match its example %q: %v", text, example, outcome)
		}
		tab.Nearest("GET", example+"/y", 3)
	})
}
