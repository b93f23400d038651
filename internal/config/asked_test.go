package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keyway/internal/route"
)

var askedEnv = []string{"OIDC_ISSUER=https://id.example.com", "AUTH_CLIENT_ID=keyway", "BFF_DEFAULT_HOST=app.example.com"}

func loadAsked(t *testing.T, routes, pdp string) *Config {
	t.Helper()
	cfg, err := LoadFiles("c", map[string][]byte{
		RoutesFile: []byte("services:\n  s: {base_url: \"https://s.internal\"}\nroutes:\n" + routes),
		PDPFile:    []byte(pdp),
		IdPsFile:   []byte("idps:\n  - {name: corp, issuer: \"https://corp.example.com\", audience: api}\n  - {name: id, provider: oidc, issuer: \"https://id.example.com\", audience: api, claims_mapping: {roles: [{source: roles}]}}\n"),
	}, askedEnv)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func asked(t *testing.T, cfg *Config, id, method string) string {
	t.Helper()
	for _, r := range cfg.Routes.Routes() {
		if r.ID != id {
			continue
		}
		a, ok := cfg.Asked(r, method)
		if !ok {
			return "nothing"
		}
		if a.Ask == nil || a.Ask.Resource() != a.Mapping.Resource || a.Ask.Action() != a.Mapping.Action {
			t.Errorf("%s %s: %+v is not ready", method, id, a)
		}
		m := a.Mapping
		return strings.TrimSpace(fmt.Sprintf("%s: %s %s %s %v %s", a.From, m.Action, m.Resource, m.IDFrom, m.Props, a.Source))
	}
	return "no such route"
}

func TestWhatIsAsked(t *testing.T) {
	const routes = `  - id: note
    path: /api/notes/{nr}
    target_service: s
    authz: pdp
    authz_map:
      GET: {resource: note, action: read, id_from: "{nr}"}
      POST: {resource: note, action: comment, id_from: "?id", props: {draft: "?draft", text: $.a.b}}
  - {id: files, path: "/files/{owner}/*", target_service: s, authz: pdp}
  - {id: open, path: /open, target_service: s}
  - {id: kind, path: /kinds/$now, target_service: s, methods: [GET], authz: pdp}
`
	const pdp = `policies: ./policies
endpoint_map:
  /api/notes/{id}:
    GET: {resource: other, action: read}
    HEAD: {resource: other, action: peek}
    DELETE: {resource: note, action: delete, id_from: "{id}", props: {by: web}}
  /{area}/{who}/*:
    GET: {resource: file, action: list, props: {area: "{area}", owner: "{who}"}}
  /kinds/{kind}:
    GET: {resource: kind, action: read, id_from: "{kind}"}
  /open:
    GET: {resource: open, action: read}
  /nowhere:
    GET: {resource: nowhere, action: read}
`
	plain, derived := loadAsked(t, routes, pdp), loadAsked(t, routes, pdp+"derived_defaults: true\n")
	for _, c := range []struct{ id, method, want, derived string }{
		{"note", "GET", "authz_map: read note {nr} map[] c/routes.yaml:9:7", ""},
		{"note", "HEAD", "authz_map: read note {nr} map[] c/routes.yaml:9:7", ""}, // as GET, whatever the older form says
		{"note", "POST", "authz_map: comment note ?id map[draft:?draft text:$.a.b] c/routes.yaml:10:7", ""},
		{"note", "DELETE", "endpoint_map: delete note {nr} map[by:web] c/pdp.yaml:6:5", ""},
		{"note", "PUT", "nothing", "derived: update notes {nr} map[]"},
		{"note", "OPTIONS", "nothing", "nothing"},
		{"files", "GET", "endpoint_map: list file  map[area:=files owner:{owner}] c/pdp.yaml:8:5", ""},
		{"files", "HEAD", "endpoint_map: list file  map[area:=files owner:{owner}] c/pdp.yaml:8:5", ""},
		{"files", "PUT", "nothing", "derived: update files {owner} map[]"},
		{"open", "GET", "nothing", "nothing"},
		{"kind", "GET", "endpoint_map: read kind =$now map[] c/pdp.yaml:10:5", ""},
	} {
		if got := asked(t, plain, c.id, c.method); got != c.want {
			t.Errorf("%s %s: got %s, want %s", c.method, c.id, got, c.want)
		}
		if c.derived == "" {
			c.derived = c.want
		}
		if got := asked(t, derived, c.id, c.method); got != c.derived {
			t.Errorf("%s %s with derived_defaults: got %s, want %s", c.method, c.id, got, c.derived)
		}
	}
	var notes []string
	for _, n := range plain.Notes {
		if strings.Contains(n.File, PDPFile) || strings.Contains(n.Key, "authz_map") {
			notes = append(notes, n.Error())
		}
	}
	want := []string{
		"c/routes.yaml:9:7: routes[0].authz_map: route note has no mapping for PUT, PATCH, OPTIONS: always 403; a mapping in authz_map, methods without them, or derived_defaults in pdp.yaml",
		"c/routes.yaml:11:5: routes[1].authz_map: route files has no mapping for POST, PUT, PATCH, DELETE, OPTIONS: always 403; a mapping in authz_map, methods without them, or derived_defaults in pdp.yaml",
		"c/pdp.yaml:4:5: endpoint_map./api/notes/{id}.GET: never asked: the route's own authz_map counts (c/routes.yaml:9:7); remove it",
		"c/pdp.yaml:5:5: endpoint_map./api/notes/{id}.HEAD: never asked: the route's own authz_map counts (c/routes.yaml:9:7); remove it",
		"c/pdp.yaml:12:5: endpoint_map./open.GET: never asked: the route has authz: none; authz: pdp on the route, or remove it",
		"c/pdp.yaml:14:5: endpoint_map./nowhere.GET: never asked: no route with authz: pdp has this path and method; correct it, or remove it",
	}
	if d := cmp.Diff(want, notes); d != "" {
		t.Error(d)
	}
}

func TestCover(t *testing.T) {
	for _, c := range []struct {
		entry, path string
		want        Coverage
		names       string
	}{
		{"/a", "/a", CoversAll, "map[]"},
		{"/a", "/A", CoversNone, "map[]"},
		{"/a/{x}", "/a/{y}", CoversAll, "map[x:{y}]"},
		{"/a/{x}", "/a/b", CoversAll, "map[x:=b]"},
		{"/a/b", "/a/{y}", CoversSome, "map[]"},
		{"/a/{x}", "/a/", CoversNone, "map[]"},
		{"/a/{x}", "/a/*", CoversSome, "map[]"},
		{"/a/*", "/a/{x}", CoversAll, "map[]"},
		{"/a/*", "/a/", CoversAll, "map[]"},
		{"/a/*", "/a", CoversNone, "map[]"},
		{"/a/*", "/a/*", CoversAll, "map[]"},
		{"/a/*", "/a/b/*", CoversAll, "map[]"},
		{"/a/b/*", "/a/*", CoversSome, "map[]"},
		{"/*", "/a/b", CoversAll, "map[]"},
		{"/a%20b/{x}", "/a b/%7By%7D", CoversAll, "map[x:={y}]"},
		{"/a%20b", "/a b", CoversAll, "map[]"},
		{"nowhere", "/a", CoversNone, "map[]"},
		{"/a", "nowhere", CoversNone, "map[]"},
	} {
		names, got := Cover(c.entry, c.path)
		if got != c.want || got == CoversAll && fmt.Sprint(names) != c.names {
			t.Errorf("%s at %s: got %v %v", c.entry, c.path, got, names)
		}
	}
}

// takes says which paths routes take, which don't overlap.
func takes(t *testing.T, patterns ...string) func(path string) bool {
	t.Helper()
	var routes []route.Route
	for _, p := range patterns {
		routes = append(routes, route.Route{Path: p})
	}
	table, err := route.NewTable(routes)
	if err != nil {
		t.Fatalf("%q: %v", patterns, err)
	}
	return func(path string) bool { _, outcome := table.Match("GET", path); return outcome == route.Found }
}

// everyPattern is small patterns, and the paths to tell them by.
func everyPattern() (patterns, paths []string) {
	for _, a := range []string{"/a", "/b", "/{x}"} {
		patterns = append(patterns, a, a+"/*", a+"/")
		for _, b := range []string{"/a", "/{y}", "/b"} {
			patterns = append(patterns, a+b, a+b+"/*")
		}
	}
	patterns = append(patterns, "/*", "/")
	paths = []string{""}
	for from := 0; len(paths[len(paths)-1]) < len("/c/c/c"); {
		to := len(paths)
		for ; from < to; from++ {
			for _, segment := range []string{"/a", "/b", "/c"} {
				paths = append(paths, paths[from]+segment)
			}
		}
	}
	for _, path := range paths {
		paths = append(paths, path+"/")
	}
	return patterns, paths[1:]
}

// Cover is what patterns mean: whatever path the route takes, the entry takes, too.
func TestCoverAgreesWithMatching(t *testing.T) {
	patterns, paths := everyPattern()
	taken := make(map[string][]bool)
	for _, pattern := range patterns {
		found := takes(t, pattern)
		for _, path := range paths {
			taken[pattern] = append(taken[pattern], found(path))
		}
	}
	for _, entry := range patterns {
		for _, pattern := range patterns {
			all, some := true, false
			for i, one := range taken[entry] {
				if taken[pattern][i] {
					all, some = all && one, some || one
				}
			}
			want := CoversNone
			if all {
				want = CoversAll
			} else if some {
				want = CoversSome
			}
			if _, got := Cover(entry, pattern); got != want {
				t.Errorf("%s at %s: got %v, want %v", entry, pattern, got, want)
			}
		}
	}
}

func TestSubjectType(t *testing.T) {
	for text, want := range map[string]string{
		"": "user", "subject_type: identity\n": "identity", "subject_type: \"\"\n": "user", "subject_type: a b\n": "a word of letters",
		"subject_type: client\n": "other things", "subject_type: Role\n": "other things", "subject_type: Action\n": "other things", "subject_type: \"a::b\"\n": "a word of letters",
	} {
		cfg, err := LoadFiles("c", map[string][]byte{PDPFile: []byte("policies: p\n" + text)}, nil)
		switch {
		case err == nil && cfg.PDP.SubjectType != want, err != nil && !strings.Contains(err.Error(), want):
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestNotesAboutTheDecisionPoint(t *testing.T) {
	const session = "  - {path: /a, target_service: s, methods: [POST], authz: pdp, authz_map: {POST: {resource: a, action: b}}}\n"
	const bearer = "  - {path: /b, target_service: s, methods: [POST], auth: bearer, authz: pdp, authz_map: {POST: {resource: a, action: b}}}\n"
	for _, c := range []struct{ name, routes, pdp, want string }{
		{"sub, and one provider", session, "policies: p\nsubject_id: sub\n", ""},
		{"sub, and two", session + bearer, "policies: p\nsubject_id: sub\n", "sub, and callers of more than one provider: oidc, corp"},
		{"account, and two", session + bearer, "policies: p\nsubject_id: account\n", ""},
		{"what policies do not need", session, "policies: p\nretry: {max_attempts: 3}\n", "retry: not used: with policies nobody is asked over the network"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var notes []string
			for _, n := range loadAsked(t, c.routes, c.pdp).Notes {
				notes = append(notes, n.Error())
			}
			got := strings.Join(notes, "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// A body of which nothing is read decides nothing.
func TestBodyBytesZero(t *testing.T) {
	_, err := LoadFiles("c", map[string][]byte{
		RoutesFile: []byte("services:\n  s: {base_url: \"https://s.internal\"}\nroutes:\n  - {path: /a, target_service: s, methods: [POST], authz: pdp, authz_map: {POST: {resource: a, action: b, id_from: $.id}}}\n"),
		PDPFile:    []byte("policies: p\nbody_bytes: 0\n"),
	}, askedEnv)
	if inv, ok := errors.AsType[*InvalidError](err); !ok || !strings.Contains(inv.Error(), "c/pdp.yaml:2:13: body_bytes: found 0, and POST of route /a (c/routes.yaml:4:") {
		t.Errorf("got %v", err)
	}
}

// Files from another system have their places where an editor shows them.
func TestLineBreaksOfTwoBytes(t *testing.T) {
	_, err := LoadFiles("c", map[string][]byte{RoutesFile: []byte("# one\r\n# two\r\nservices: # three\r\n  s:\r\n    # five\r\n    base_url: https://s.internal\r\nroutse: []\r\n")}, nil)
	if err == nil || !strings.Contains(err.Error(), "c/routes.yaml:7:1: routse: unknown key") {
		t.Errorf("got %v", err)
	}
}
