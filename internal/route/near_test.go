package route

import (
	"slices"
	"strings"
	"testing"

	"keyway/internal/threat"
)

func TestNear(t *testing.T) {
	threat.Covers(t, 38)
	var routes []Route
	for _, path := range []string{"/", "/admin", "/Reports/Yearly", "/api/orders/{id}", "/files/*", "/a/{b}/c", "/page/", "/é"} {
		routes = append(routes, Route{ID: path, Path: path, Methods: []string{"GET"}})
	}
	table, err := NewTable(routes)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/":                    "/",
		"/admin":               "/admin",
		"/admin/":              "/admin",
		"/ADMIN":               "/admin",
		"/%41dmin":             "/admin",
		"/admin.":              "/admin",
		"/admin%20":            "/admin",
		"/admin%20/%2e%20":     "/admin",
		"/admin%2e%20/":        "/admin",
		"/administrator":       "",
		"/admin/users":         "",
		"/reports/yearly":      "/Reports/Yearly",
		"/reports./yearly":     "/Reports/Yearly",
		"/reports":             "",
		"/API/orders/17":       "/api/orders/{id}",
		"/api/orders/17/":      "/api/orders/{id}",
		"/api/orders/":         "",
		"/files":               "/files/*",
		"/Files/a/b":           "/files/*",
		"/a/x/C/":              "/a/{b}/c",
		"/page":                "/page/",
		"/%C3%89":              "/é",
		"/public/../admin":     "", // refused by itself
		"/admin;x":             "",
		"/admin%2f":            "",
		strings.Repeat("/", 3): "",
	} {
		var got []string
		for _, r := range table.Near(path) {
			got = append(got, r.ID)
		}
		if want == "" && got != nil || want != "" && !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// What a route has, it is near to, whatever the path: so nothing falls between the
// strict reading and the loose one.
func FuzzNear(f *testing.F) {
	table, err := NewTable([]Route{
		{ID: "1", Path: "/api/{a}/b"}, {ID: "2", Path: "/Files/*"}, {ID: "3", Path: "/x/Y"}, {ID: "4", Path: "/"}, {ID: "5", Path: "/page/"},
	})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"/", "/api/1/b", "/api/%20/b", "/Files/", "/Files/a./%20", "/x/Y", "/page/", "/x/%59", "/%ff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		near := table.Near(path)
		if m, outcome := table.Match("GET", path); outcome == Found && !slices.Contains(near, m.Route) {
			t.Fatalf("%q is route %s's, and near to %v", path, m.Route.ID, near)
		}
	})
}
