package config

import (
	"strings"
	"testing"
)

// What Apart says to write is right: the route of their own takes what both take, the
// others the rest, and they don't overlap.
func TestApartAgreesWithMatching(t *testing.T) {
	patterns, paths := everyPattern()
	told := 0
	for _, entry := range patterns {
		for _, path := range patterns {
			if _, c := Cover(entry, path); c != CoversSome {
				continue
			}
			e, _ := shapeOf(entry)
			r, _ := shapeOf(path)
			both, ok := shapeOf(e.meet(&r))
			if !ok {
				t.Errorf("%s and %s: %s is no pattern", entry, path, e.meet(&r))
				continue
			}
			own, whole, listed := takes(t, both.path), takes(t, path), takes(t, entry)
			rest := both.without(&r)
			for _, p := range paths {
				if own(p) != (whole(p) && listed(p)) {
					t.Errorf("%s and %s: %s and %s", entry, path, both.path, p)
				}
			}
			if rest == nil {
				continue
			}
			told++
			all := takes(t, append(rest, both.path)...)
			for _, p := range paths {
				if all(p) != whole(p) {
					t.Errorf("%s without %s: %q and %s", path, both.path, rest, p)
				}
			}
		}
	}
	if told < 10 {
		t.Errorf("the other paths were told %d times", told)
	}
}

// The whole text, as somebody reads it who has to act on it.
func TestWhatToWriteInsteadOfAPartOfARoute(t *testing.T) {
	for _, c := range []struct {
		entry string
		m     Mapping
		path  string
		want  string
	}{
		{"/api/tree/{one}", Mapping{Resource: "tree", Action: "read", IDFrom: "{one}"}, "/api/tree/*",
			`in routes.yaml a route like r with path: "/api/tree/{one}", methods: [GET], authz_map: {GET: {resource: tree, action: read, id_from: "{one}"}}, and GET of route r at its other paths alone, which are /api/tree/, /api/tree/{one}/*: no request has two routes; or the path /api/tree/* in the endpoint_map, if all of that route is asked about so`},
		{"/{area}/{one}/{two}", Mapping{Resource: "tree", Action: "on", Props: map[string]string{"a": "{area}", "o": "{one}"}}, "/tree/*",
			`in routes.yaml a route like r with path: "/tree/{one}/{two}", methods: [GET], authz_map: {GET: {resource: tree, action: "on", props: {a: "=tree", o: "{one}"}}}, and GET of route r at its other paths alone, which are /tree/, /tree/{one}, /tree/{one}/, /tree/{one}/{two}/*: no request has two routes; or the path /tree/* in the endpoint_map, if all of that route is asked about so`},
		{"/api/reports", Mapping{Resource: "report", Action: "list"}, "/api/*",
			`in routes.yaml a route like r with path: "/api/reports", methods: [GET], authz_map: {GET: {resource: report, action: list}}, and GET of route r at each other path by itself: no request has two routes, and no pattern is all but some; or the path /api/* in the endpoint_map, if all of that route is asked about so`},
		{"/api/reports", Mapping{Resource: "report", Action: "list"}, "/api/{kind}",
			`in routes.yaml a route like r with path: "/api/reports", methods: [GET], authz_map: {GET: {resource: report, action: list}}, and GET of route r at each other path by itself: no request has two routes, and no pattern is all but some; or a mapping for all of that route, with props: {kind: "{kind}"}, by which policies tell "reports"; or the path /api/{kind} in the endpoint_map, if all of that route is asked about so`},
	} {
		if got := Apart(c.entry, "GET", c.m, "r", c.path); got != c.want {
			t.Errorf("%s of %s:\ngot  %s\nwant %s", c.entry, c.path, got, c.want)
		}
	}
	// Whoever does as he is told has a configuration that is good, and asks that.
	cfg := loadAsked(t, `  - {id: own, path: "/tree/{one}/{two}", target_service: s, methods: [GET], authz: pdp, authz_map: {GET: {resource: tree, action: "on", props: {a: "=tree", o: "{one}"}}}}
  - {id: r1, path: /tree/, target_service: s}
  - {id: r2, path: "/tree/{one}", target_service: s}
  - {id: r3, path: "/tree/{one}/", target_service: s}
  - {id: r4, path: "/tree/{one}/{two}/*", target_service: s}
`, "policies: p\n")
	if got := asked(t, cfg, "own", "GET"); !strings.HasPrefix(got, "authz_map: on tree  map[a:=tree o:{one}]") {
		t.Error(got)
	}
}
