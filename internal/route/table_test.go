package route

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"keyway/internal/threat"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func mustTable(t testing.TB, routes ...Route) *Table {
	t.Helper()
	tab, err := NewTable(routes)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func TestMatch(t *testing.T) {
	tab := mustTable(t,
		Route{ID: "notes", Path: "/api/notes", Methods: []string{"GET", "POST"}},
		Route{ID: "note", Path: "/api/notes/{id}", Methods: []string{"GET"}},
		Route{ID: "note-delete", Path: "/api/notes/{note}", Methods: []string{"DELETE"}},
		Route{ID: "files", Path: "/files/{owner}/*", UpstreamPath: "/v1/{owner}/tree/{path}"},
		Route{ID: "café", Path: "/café"},
		Route{ID: "home", Path: "/", PreservePath: true},
	)
	for _, c := range []struct {
		method, path string
		outcome      Outcome
		id           string
		upstream     string
		params       map[string]string
		allow        string
	}{
		{"GET", "/api/notes", Found, "notes", "/api/notes", nil, ""},
		{"HEAD", "/api/notes", Found, "notes", "/api/notes", nil, ""},
		{"PUT", "/api/notes", MethodNotAllowed, "", "", nil, "GET, HEAD, POST"},
		{"BREW", "/api/notes", MethodNotAllowed, "", "", nil, "GET, HEAD, POST"},
		{"get", "/api/notes", MethodNotAllowed, "", "", nil, "GET, HEAD, POST"},
		{"TRACE", "/", MethodNotAllowed, "", "", nil, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"},
		{"GET", "/api/notes/", NotFound, "", "", nil, ""},
		{"GET", "/api/Notes", NotFound, "", "", nil, ""},
		{"GET", "/api/notes/a%20b", Found, "note", "/api/notes/a%20b", map[string]string{"id": "a b"}, ""},
		{"DELETE", "/api/notes/7", Found, "note-delete", "/api/notes/7", map[string]string{"note": "7"}, ""},
		{"PUT", "/api/notes/7", MethodNotAllowed, "", "", nil, "GET, HEAD, DELETE"},
		{"GET", "/api/%6eotes", Found, "notes", "/api/%6eotes", nil, ""}, // the same resource, sent on as it came
		{"GET", "/files/ada/a/b%20c/", Found, "files", "/v1/ada/tree/a/b%20c/", map[string]string{"owner": "ada"}, ""},
		{"GET", "/files/ada/", Found, "files", "/v1/ada/tree/", map[string]string{"owner": "ada"}, ""},
		{"GET", "/files/ada", NotFound, "", "", nil, ""},
		{"GET", "/files//x", Refused, "", "", nil, ""},
		{"GET", "/caf%c3%a9", Found, "café", "/caf%c3%a9", nil, ""},
		{"GET", "/", Found, "home", "/", nil, ""},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			m, outcome := tab.Match(c.method, c.path)
			if outcome != c.outcome {
				t.Fatalf("outcome %v (%v), want %v", outcome, m.Err, c.outcome)
			}
			if got := m.Allow(); outcome == MethodNotAllowed && got != c.allow {
				t.Errorf("Allow: %q, want %q", got, c.allow)
			}
			if outcome != Found {
				if m.Route != nil {
					t.Errorf("a route without a match: %v", m.Route)
				}
				return
			}
			if m.Route.ID != c.id || m.UpstreamPath() != c.upstream {
				t.Errorf("route %s to %s, want %s to %s", m.Route.ID, m.UpstreamPath(), c.id, c.upstream)
			}
			if d := cmp.Diff(c.params, m.Params()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRoutesThatCouldBothMatchAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		routes []Route
		want   []string // nil: accepted
	}{
		"same": {[]Route{{ID: "a", Path: "/x", Source: "routes.yaml:3:5"}, {ID: "b", Path: "/x", Source: "routes.yaml:9:5"}},
			[]string{"a (routes.yaml:3:5)", "b (routes.yaml:9:5)", "GET /x"}},
		"special and general": {[]Route{{ID: "a", Path: "/api/*"}, {ID: "b", Path: "/api/notes", Methods: []string{"POST"}}},
			[]string{"POST /api/notes"}},
		"other methods":     {[]Route{{Path: "/x", Methods: []string{"GET"}}, {Path: "/x", Methods: []string{"POST"}}}, nil},
		"GET has HEAD":      {[]Route{{Path: "/x", Methods: []string{"GET"}}, {Path: "/x", Methods: []string{"HEAD"}}}, []string{"HEAD /x"}},
		"apart":             {[]Route{{Path: "/a/*"}, {Path: "/b/*"}}, nil},
		"three, two pairs":  {[]Route{{ID: "a", Path: "/a"}, {ID: "b", Path: "/{p}"}, {ID: "c", Path: "/c"}}, []string{"a ()", "c ()", "GET /a", "GET /c"}},
		"bad pattern":       {[]Route{{ID: "p", Path: "x", Source: "f:1:1"}}, []string{"route p (f:1:1): path:"}},
		"bad method":        {[]Route{{Path: "/x", Methods: []string{"CONNECT"}}}, []string{`"CONNECT" can't be routed`}},
		"both path keys":    {[]Route{{Path: "/x", PreservePath: true, UpstreamPath: "/y"}}, []string{"one of the two"}},
		"template, no star": {[]Route{{Path: "/x", UpstreamPath: "/y/{path}"}}, []string{"has no *"}},
		"template, no such": {[]Route{{Path: "/x/{id}", UpstreamPath: "/y/{nr}"}}, []string{"{nr}", "{id}"}},
		"template, part":    {[]Route{{Path: "/x/{id}", UpstreamPath: "/y/n-{id}"}}, []string{"whole segment"}},
		"template, middle":  {[]Route{{Path: "/x/*", UpstreamPath: "/{path}/y"}}, []string{"end"}},
		"template, dots":    {[]Route{{Path: "/x/*", UpstreamPath: "/../{path}"}}, []string{"dot segment"}},
		"template, query":   {[]Route{{Path: "/x/*", UpstreamPath: "/y?a={path}"}}, []string{"whole segment"}},
		"template, rel":     {[]Route{{Path: "/x", UpstreamPath: "y"}}, []string{"starts with a slash"}},
	} {
		t.Run(name, func(t *testing.T) {
			tab, err := NewTable(c.routes)
			if c.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || tab != nil {
				t.Fatalf("accepted")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q lacks %q", err, w)
				}
			}
		})
	}
}

func TestCaseNeverMovesARequestToAnotherRoute(t *testing.T) {
	threat.Covers(t, 38)
	_, err := NewTable([]Route{
		{ID: "public", Path: "/Files/*", Auth: AuthNone, Source: "routes.yaml:2:3"},
		{ID: "private", Path: "/files/{id}", Auth: AuthSession, Source: "routes.yaml:7:3"},
	})
	var c *Conflict
	if !errors.As(err, &c) || !c.CaseOnly || !strings.Contains(err.Error(), "letter case") {
		t.Fatalf("got %v, want a conflict by letter case", err)
	}
}

func TestPublicRuleDoesNotWidenByCase(t *testing.T) {
	threat.Covers(t, 38)
	tab := mustTable(t, Route{ID: "public", Path: "/public/*", Auth: AuthNone}, Route{ID: "api", Path: "/api/{x}", Auth: AuthSession})
	for _, path := range []string{"/PUBLIC/x", "/Public/x", "/API/x", "/public", "/%50ublic/x"} {
		if m, outcome := tab.Match("GET", path); outcome != NotFound {
			t.Errorf("%s: %v %v, want not found", path, outcome, m.Route)
		}
	}
}

// The property behind both: whatever the table, a path and its lower-case form
// never reach two different routes.
func TestCaseProperty(t *testing.T) {
	threat.Covers(t, 38)
	rapid.Check(t, func(t *rapid.T) {
		var routes []Route
		for i := range rapid.IntRange(1, 5).Draw(t, "n") {
			routes = append(routes, Route{ID: string(rune('a' + i)), Path: smallPattern(t, "p").String()})
		}
		tab, err := NewTable(routes)
		if err != nil {
			return
		}
		for _, path := range smallPaths {
			a, _ := tab.Match("GET", path)
			b, _ := tab.Match("GET", strings.ToLower(path))
			if a.Route != nil && b.Route != nil && a.Route != b.Route {
				t.Fatalf("%s is %s, in lower case %s", path, a.Route, b.Route)
			}
		}
	})
}

// A table matches exactly what its patterns match, one by one, and accepts
// exactly the sets in which no path is matched twice (case aside).
func TestTableAgreesWithBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var routes []Route
		var pats []Pattern
		for i := range rapid.IntRange(1, 5).Draw(t, "n") {
			p := smallPattern(t, "p")
			pats = append(pats, p)
			routes = append(routes, Route{ID: string(rune('a' + i)), Path: p.String(), Methods: rapid.SampledFrom([][]string{{"GET"}, {"POST"}, nil}).Draw(t, "m")})
		}
		twice := false
		want := make(map[string]*Route)
		for _, path := range smallPaths {
			for _, method := range []string{"GET", "POST"} {
				for i := range pats {
					if !matches(pats[i], path) || len(routes[i].Methods) == 1 && routes[i].Methods[0] != method {
						continue
					}
					twice = twice || want[method+path] != nil
					want[method+path] = &routes[i]
				}
			}
		}
		tab, err := NewTable(routes)
		if err != nil {
			for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
				if c := (*Conflict)(nil); !errors.As(e, &c) || !c.CaseOnly && !twice {
					t.Fatalf("refused without cause: %v", e)
				}
			}
			return
		}
		if twice {
			t.Fatalf("accepted, though a path matches twice")
		}
		for _, path := range smallPaths {
			for _, method := range []string{"GET", "POST"} {
				m, outcome := tab.Match(method, path)
				w := want[method+path]
				if (w != nil) != (outcome == Found) || w != nil && (w.ID != m.Route.ID || m.UpstreamPath() != path) {
					t.Fatalf("%s %s: %v %v, want %v", method, path, outcome, m.Route, w)
				}
			}
		}
	})
}

func TestJoinSendsWhatWasDecided(t *testing.T) {
	threat.Covers(t, 38)
	for _, c := range []struct{ base, path, want string }{
		{"http://up:8080", "/a/b%20c", "http://up:8080/a/b%20c?q=%3b"},
		{"http://up:8080/", "/a/%7Eb", "http://up:8080/a/%7Eb?q=%3b"},
		{"https://up/v1", "/", "https://up/v1/?q=%3b"},
		{"https://up/v%201/", "/x:y", "https://up/v%201/x:y?q=%3b"},
	} {
		base, err := url.Parse(c.base)
		if err != nil {
			t.Fatal(err)
		}
		if got := Join(base, c.path, "q=%3b").String(); got != c.want {
			t.Errorf("%s + %s = %s, want %s", c.base, c.path, got, c.want)
		}
		if base.String() != c.base {
			t.Errorf("base changed to %s", base)
		}
	}
}

// FuzzMatch: whatever is sent, what reaches the upstream is canonical, and
// carries the request's bytes.
func FuzzMatch(f *testing.F) {
	for _, s := range []string{"/api/x", "/files/a/b/c", "/files/%2e%2e/x", "/u/%41/p"} {
		f.Add(s)
	}
	tab := mustTable(f, Route{Path: "/api/*"}, Route{Path: "/files/{o}/*", UpstreamPath: "/v1/{o}/{path}"}, Route{Path: "/u/{id}/p", UpstreamPath: "/{id}"})
	f.Fuzz(func(t *testing.T, path string) {
		m, outcome := tab.Match("GET", path)
		if outcome != Found {
			return
		}
		up := m.UpstreamPath()
		if err := Canonical(up); err != nil {
			t.Fatalf("%q goes upstream as %q: %v", path, up, err)
		}
		if !strings.HasSuffix(path, m.Rest()) || !strings.HasSuffix(up, m.Rest()) {
			t.Fatalf("%q: rest %q, upstream %q", path, m.Rest(), up)
		}
	})
}

func TestMappingOfHEADIsThatOfGET(t *testing.T) {
	r := Route{AuthzMap: map[string]Mapping{"GET": {Action: "read"}}}
	if m, ok := r.Mapping("HEAD"); !ok || m.Action != "read" {
		t.Errorf("HEAD: %v, %v", m, ok)
	}
	if _, ok := r.Mapping("POST"); ok {
		t.Error("POST has a mapping")
	}
}

func TestNearest(t *testing.T) {
	tab := mustTable(t,
		Route{ID: "notes", Path: "/api/notes", Methods: []string{"GET"}},
		Route{ID: "note", Path: "/api/notes/{id}"},
		Route{ID: "files", Path: "/files/*"},
	)
	for _, c := range []struct{ method, path, id, reason string }{
		{"POST", "/api/notes", "notes", "answers GET, HEAD, not POST"},
		{"GET", "/api/note", "notes", `"notes" where the path has "note"`},
		{"GET", "/api/Notes", "notes", "letter case"},
		{"GET", "/api/notes/", "notes", "ends in a slash"},
		{"GET", "/api/notes/1/x", "note", "goes on"},
		{"GET", "/files", "files", "after a slash"},
		{"GET", "/api", "notes", "ends before"},
	} {
		got := tab.Nearest(c.method, c.path, 2)
		if len(got) == 0 || got[0].Route.ID != c.id || !strings.Contains(got[0].Reason, c.reason) {
			t.Errorf("%s %s: %+v, want %s: %s", c.method, c.path, got, c.id, c.reason)
		}
	}
}

func TestMatchingAllocatesNothing(t *testing.T) {
	tab := bigTable(t)
	for _, path := range []string{"/svc7/items/42/parts/9", "/svc7/files/a/b/c", "/nowhere", "/svc7/../x"} {
		if n := testing.AllocsPerRun(100, func() {
			m, _ := tab.Match("GET", path)
			_ = m.Rest()
		}); n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}

func bigTable(t testing.TB) *Table {
	var routes []Route
	for i := range 100 {
		s := "/svc" + string(rune('0'+i/10)) + string(rune('0'+i%10))
		if i < 10 {
			s = "/svc" + string(rune('0'+i))
		}
		routes = append(routes, Route{Path: s + "/items"}, Route{Path: s + "/items/{id}"}, Route{Path: s + "/items/{id}/parts/{part}"}, Route{Path: s + "/files/*"})
	}
	return mustTable(t, routes...)
}

func BenchmarkMatch(b *testing.B) {
	tab := bigTable(b)
	for name, path := range map[string]string{
		"literal": "/svc7/items", "params": "/svc7/items/42/parts/9", "wildcard": "/svc7/files/a/b/c/d",
		"escaped": "/svc7/items/a%20b/parts/9", "missing": "/svc7/item", "refused": "/svc7/items/%2e%2e/x",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tab.Match("GET", path)
			}
		})
	}
}
