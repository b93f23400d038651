package gateway

import (
	"net/http/httptest"
	"testing"
)

// What is served however busy we are is served before we can serve, too.
func TestHealthIsThereFromTheStart(t *testing.T) {
	health := &Health{}
	n := 0
	for path, e := range (&Gateway{health: health}).endpoints() {
		w := httptest.NewRecorder()
		Starting{Health: health}.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if served := w.Code == 200; served != e.always {
			t.Errorf("%s: %d", path, w.Code)
		}
		if e.always {
			n++
		}
	}
	if n != 9 {
		t.Errorf("health is at %d paths", n)
	}
}

// A path below an endpoint is the nearest one's; an endpoint of its own goes
// before all of them.
func TestSplit(t *testing.T) {
	own, rest := split(map[string]endpoint{
		"/a": {name: "a"}, "/a/*": {name: "below a"}, "/a/b": {name: "b"}, "/a/b/*": {name: "below b", methods: map[string]func(*call) error{anyMethod: nil}},
	})
	for path, want := range map[string]string{
		"/a/": "below a", "/a/x": "below a", "/a/b/": "below b", "/a/b/c": "below b", "/a/bc": "below a", "/ab": "", "/": "", "a/x": "", "/A/x": "",
	} {
		if e, ok := below(rest, path); e.name != want || ok != (want != "") {
			t.Errorf("%s: %q, want %q", path, e.name, want)
		}
	}
	if len(own) != 2 || own["/a"].name != "a" || own["/a/b"].name != "b" {
		t.Errorf("endpoints of their own: %v", own)
	}
	for path := range (&Gateway{health: &Health{}}).endpoints() {
		if path[0] != '/' {
			t.Errorf("%s: no path", path)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = below(rest, "/api/notes") }); n != 0 {
		t.Errorf("%v allocations for a path that is none's", n)
	}
}
