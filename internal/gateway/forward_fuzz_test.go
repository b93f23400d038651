package gateway

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"keyway/internal/threat"
)

// FuzzOriginalRequest checks what is promised of a request that a proxy tells us
// of: it is the one that was told, byte for byte, it means one thing, and it leads
// nowhere else.
func FuzzOriginalRequest(f *testing.F) {
	for _, s := range []struct{ method, uri, override string }{
		{"GET", "/", ""}, {"POST", "/a/b?x=1&y=%20", "/a/b?x=1&y=%20"}, {"get", "/", ""}, {"GET", "http://h/x", ""}, {"GET", "//h/x", ""},
		{"GET", "/a/../b", ""}, {"GET", "/a#b", ""}, {"GET", "/a?", "https://h/a"}, {"CONNECT", "/a", ""}, {"GET, POST", "/%2e%2e/", ""}, {"GET", `/\h`, ""},
	} {
		f.Add(s.method, s.uri, s.override)
	}
	f.Fuzz(func(t *testing.T, method, uri, override string) {
		threat.Covers(t, 37, 38)
		for _, fam := range []family{originalFamily, forwardedFamily} {
			h := http.Header{fam.method: {method}, fam.uri: {uri}}
			if override != "" {
				h["X_Original.URL"] = []string{override}
			}
			stranger := &call{r: &http.Request{Header: h}}
			if _, known, err := stranger.heldBack(fam); known || err != nil {
				t.Fatalf("a stranger is believed: %v", err)
			}
			c := &call{r: &http.Request{Header: h}, client: Client{Trusted: true}}
			q, known, err := c.heldBack(fam)
			if err != nil {
				continue
			}
			want := uri
			if q.query == "" { // a "?" with nothing behind it says nothing
				want = strings.TrimSuffix(uri, "?")
			}
			if !known || q.method != method || q.target() != want {
				t.Fatalf("told %q %q, found %+v", method, uri, q)
			}
			if override != "" && !strings.HasSuffix(override, q.target()) && !strings.HasSuffix(strings.TrimSuffix(override, "?"), q.target()) {
				t.Fatalf("%q passes beside %q", override, uri)
			}
			base := &url.URL{Scheme: "https", Host: "app.example"}
			to, err := base.Parse(q.target())
			if err != nil || to.Host != base.Host || to.Scheme != base.Scheme || to.User != nil || to.Fragment != "" {
				t.Fatalf("%q leads to %v (%v)", uri, to, err)
			}
			for _, bad := range []string{"..", "\\", "//", ";"} {
				if strings.Contains(to.Path, "/"+bad+"/") {
					t.Fatalf("%q passes as %q", uri, to.Path)
				}
			}
			h[fam.uri] = []string{uri, uri}
			if _, _, err := c.heldBack(fam); err == nil {
				t.Fatal("two targets pass")
			}
		}
	})
}
