package route

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func mustURL(t interface{ Fatal(...any) }, text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestReach(t *testing.T) {
	for _, c := range []struct {
		path, upstream, base string
		exact                bool
		reached, not         string // paths at the server
	}{
		{"/a", "", "https://h", true, "/a", "/a/"},
		{"/a/*", "", "https://h/v1/", true, "/v1/a/", "/v1/a"},
		{"/pub/*", "/{path}", "https://h", true, "/", ""},
		{"/pub/*", "/{path}", "https://h/v1", true, "/v1/admin/x", "/admin/x"},
		{"/n/{id}", "/notes/{id}/text", "https://h/v%201", true, "/v%201/notes/7/text", "/v%201/notes/text"},
		{"/n/{a}/{b}", "/{b}/{a}", "https://h", true, "/x/y", "/x"},
		{"/n/{a}", "/{a}/{a}", "https://h", false, "/x/x", "/x"},
		{"/n", "/", "https://h/v1", true, "/v1/", "/v1"},
	} {
		r := Route{Path: c.path, UpstreamPath: c.upstream}
		p, exact, err := r.Reach(mustURL(t, c.base))
		if err != nil || exact != c.exact {
			t.Errorf("%s to %s: exact %v, %v", c.path, c.upstream, exact, err)
		}
		for path, want := range map[string]bool{c.reached: true, c.not: false} {
			q, err := ParsePattern(path)
			if path == "" {
				continue
			} else if err != nil {
				t.Fatal(err)
			}
			if _, got := p.Overlap(q, false); got != want {
				t.Errorf("%s to %s at %s reaches %s: %v, want %v", c.path, c.upstream, c.base, path, got, want)
			}
		}
	}
	for _, r := range []Route{{Path: "no"}, {Path: "/a", UpstreamPath: "/{b}"}} {
		if _, _, err := r.Reach(mustURL(t, "https://h")); err == nil {
			t.Errorf("%+v is accepted", r)
		}
	}
}

// Whatever a request asks an upstream for is in the route's reach.
func TestEveryRequestIsWithinReach(t *testing.T) {
	seg := rapid.SampledFrom([]string{"a", "b", "A", "%20", "a%2B"})
	base := rapid.SampledFrom([]string{"https://h", "https://h/", "https://h/v1", "https://h/a/b/"})
	templates := []struct{ path, upstream string }{
		{"/x/{p}/*", "/{path}"}, {"/x/{p}/*", "/a/{p}/{path}"}, {"/x/{p}/*", "/{p}/{p}/b"}, {"/x/{p}/*", ""}, {"/x/{p}/*", "/a"}, {"/x/{p}/*", "/"},
	}
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.SampledFrom(templates).Draw(t, "route")
		u := mustURL(t, base.Draw(t, "base"))
		r := Route{Path: c.path, UpstreamPath: c.upstream}
		tab, err := NewTable([]Route{r})
		if err != nil {
			t.Fatal(err)
		}
		rest := strings.Join(rapid.SliceOfN(seg, 0, 3).Draw(t, "rest"), "/")
		m, outcome := tab.Match("GET", "/x/"+seg.Draw(t, "p")+"/"+rest)
		if outcome != Found {
			t.Fatal(outcome)
		}
		reach, _, err := r.Reach(u)
		if err != nil {
			t.Fatal(err)
		}
		asked := Join(u, m.UpstreamPath(), "").EscapedPath()
		one, err := ParsePattern(asked)
		if err != nil {
			t.Fatal(err)
		}
		if _, in := reach.Overlap(one, false); !in {
			t.Fatalf("%s to %s asks for %s, which is out of reach", c.path, c.upstream, asked)
		}
	})
}

func TestWithinAgreesWithBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := smallPattern(t, "p"), smallPattern(t, "q")
		only := ""
		for _, path := range smallPaths {
			if matches(p, path) && !matches(q, path) {
				only = path
			}
		}
		if got := p.Within(q, false); got != (only == "") {
			t.Fatalf("%s within %s: %v, but for %q", p, q, got, only)
		}
		if p.Within(q, false) && !p.Within(q, true) {
			t.Fatalf("%s within %s, but not where letter case does not count", p, q)
		}
	})
	for text, want := range map[string]bool{"/": true, "/a/b": true, "/a/": true, "/{x}": false, "/a/*": false} {
		if got := mustPattern(t, text).Fixed(); got != want {
			t.Errorf("%s is fixed: %v", text, got)
		}
	}
}
