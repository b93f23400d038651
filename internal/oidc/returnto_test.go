package oidc_test

import (
	"net/url"
	"path"
	"strings"
	"testing"

	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/threat"
)

// openRedirects are the known forms. None may come out of ReturnTo.
var openRedirects = []string{
	"//evil.example", "///evil.example", "////evil.example/%2f..", `/\evil.example`, `\\evil.example`, `\/evil.example`, `/\/evil.example`,
	"/\tevil.example", "/\t/evil.example", "\t//evil.example", "/\n/evil.example", "/\r/evil.example", " //evil.example", "/ /evil.example", "/\x00/evil.example", "/\x0b/evil.example",
	"https://evil.example", "HTTPS://evil.example", "http://evil.example/app.example", "https:evil.example", "https:/evil.example", "https:///evil.example", "http:\\\\evil.example",
	"ftp://evil.example", "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\nscript:alert(1)", "data:text/html,x", "vbscript:x", "blob:x", "mailto:a@b", "//javascript:alert(1)",
	"https://app.example@evil.example", "https://app.example:443@evil.example", "@evil.example", "app.example@evil.example", "//app.example@evil.example", `//app.example\@evil.example`,
	"https://app.example.evil.example", "https://evilapp.example", "https://app.example%2eevil.example", "https://app.example%00.evil.example", "https://app.example\\.evil.example", "https://app.example.", "https://app.example:8443", "https://sub.app.example", "http://app.example", "//app.example",
	"https://app.example?@evil.example", "https://app.example#@evil.example", "https://app.example;evil.example",
	"/%2f%2fevil.example", "/%2F/evil.example", "/%5cevil.example", "/%5C%5Cevil.example", "/%09/evil.example", "/%0d%0aLocation:https://evil.example", "/%00/evil.example", "/%252f%252fevil.example", "/%25252f/evil.example", "/%2525252f/evil.example", "%2f%2fevil.example", "/%20/evil.example",
	"/..//evil.example", "/.//evil.example", "/x/..//evil.example", "/%2e%2e//evil.example", "/.%2e/%2fevil.example", "/x//evil.example", "/../evil", "/./evil", "/x/%2e%2e/%2e%2e/y",
	"/；//evil.example", "//evil。example", "/／evil.example", "／／evil.example", "/%ef%bc%8fevil.example", "/⁄evil.example", "/﹨evil.example", "/\u2028/evil.example", "\ufeff//evil.example", "/%e3%80%82evil", "/%c2%85/evil.example",
	"evil.example", "evil.example/path", "../evil", "./evil", "?next=//evil.example", "#//evil.example", ".evil.example", ":80", ";//evil.example",
	"/%", "/%zz", "/%2", "/a\"onmouseover=", "/<script>", "/a\r\nSet-Cookie: x=y", "/\x7f", "/\xff",
	"/" + strings.Repeat("a", 2000),
}

func TestReturnToRefusesOpenRedirects(t *testing.T) {
	threat.Covers(t, 13)
	policies := map[string]oidc.ReturnPolicy{"no hosts": {}, "with hosts": {AllowedHosts: []string{"app.example", "other.example:8443"}}}
	for name, policy := range policies {
		for _, raw := range openRedirects {
			got, err := policy.Check(raw)
			if err == nil {
				t.Errorf("%s: %q leads to %q", name, raw, got)
				continue
			}
			wantError(t, err, oidc.ErrReturnTo)
			if problem.CodeOf(err) != problem.BadRequest || strings.Contains(err.Error(), "evil") {
				t.Errorf("%q: code %s, %v", raw, problem.CodeOf(err), err)
			}
		}
	}
	w := newWorld(t)
	for _, raw := range openRedirects {
		if s, err := w.rp.Begin(t.Context(), oidc.SignInRequest{ReturnTo: raw, RedirectURI: callback}); err == nil {
			t.Errorf("a sign-in to %q was begun: %s", raw, s.URL)
		}
	}
}

func TestReturnToAccepts(t *testing.T) {
	threat.Covers(t, 13)
	policy := oidc.ReturnPolicy{AllowedHosts: []string{"App.Example", "other.example:8443"}}
	for raw, want := range map[string]string{
		"":                                 "/",
		"/":                                "/",
		"/notes":                           "/notes",
		"/notes/":                          "/notes/",
		"/notes?page=2&next=//x#top":       "/notes?page=2&next=//x#top",
		"/#/route/of/a/spa":                "/#/route/of/a/spa",
		"/?u=https://evil.example/":        "/?u=https://evil.example/",
		"/a%20b/100%25/%C3%A4":             "/a%20b/100%25/%C3%A4",
		"/@ada":                            "/@ada",
		"/a:b;c=d,e":                       "/a:b;c=d,e",
		"/.well-known/x":                   "/.well-known/x",
		"/...":                             "/...",
		"https://app.example":              "https://app.example/",
		"https://app.example/":             "https://app.example/",
		"https://app.example/x?y=z":        "https://app.example/x?y=z",
		"https://other.example:8443/notes": "https://other.example:8443/notes",
	} {
		if got, err := policy.Check(raw); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", raw, got, err, want)
		}
	}
	if _, err := (oidc.ReturnPolicy{}).Check("https://app.example/"); err == nil {
		t.Error("without allowed hosts there are paths only")
	}
}

// browserHost resolves an address against our page as browsers do (WHATWG URL):
// backslashes are slashes, tabs and line breaks are dropped.
func browserHost(raw string) string {
	raw = strings.Trim(raw, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\v\f\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f ")
	raw = strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(raw)
	base, _ := url.Parse("https://app.example/auth/callback")
	u, err := base.Parse(raw)
	if err != nil {
		return "?"
	}
	return u.Scheme + "://" + u.Host
}

func FuzzReturnTo(f *testing.F) {
	for _, raw := range openRedirects {
		f.Add(raw)
	}
	f.Add("/notes?x=y#z")
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := oidc.ReturnPolicy{}.Check(raw)
		if err != nil {
			return
		}
		if host := browserHost(got); host != "https://app.example" {
			t.Errorf("%q leads to %s", got, host)
		}
		for undone, times := got, 0; times < 5; times++ {
			p, _, _ := strings.Cut(undone, "?")
			p, _, _ = strings.Cut(p, "#")
			if strings.HasPrefix(p, "//") || strings.HasPrefix(p, `/\`) || strings.HasPrefix(path.Clean(p), "//") {
				t.Errorf("%q, decoded %d times, is %q", got, times, p)
			}
			next, err := url.PathUnescape(p)
			if err != nil || next == p {
				break
			}
			undone = next
		}
	})
}

func TestCallbackURI(t *testing.T) {
	dynamic := oidc.Callback{Dynamic: true, AllowedHosts: []string{"app.example", "other.example:8443", "localhost:8000"}}
	withDefault := dynamic
	withDefault.DefaultHost = "app.example"
	for name, c := range map[string]struct {
		callback     oidc.Callback
		scheme, host string
		want         string // empty: refused
	}{
		"static":                      {oidc.Callback{Static: callback}, "http", "evil.example", callback},
		"default host":                {oidc.Callback{DefaultHost: "app.example"}, "http", "evil.example", callback},
		"default host and scheme":     {oidc.Callback{DefaultHost: "localhost:8000", DefaultScheme: "http"}, "https", "x", "http://localhost:8000/auth/callback"},
		"allowed":                     {dynamic, "https", "app.example", callback},
		"allowed, another case":       {dynamic, "https", "APP.example", callback},
		"allowed, with its port":      {dynamic, "https", "other.example:8443", "https://other.example:8443/auth/callback"},
		"without its port":            {dynamic, "https", "other.example", ""},
		"with a port more":            {dynamic, "https", "app.example:8443", ""},
		"suffix":                      {dynamic, "https", "app.example.evil.example", ""},
		"prefix":                      {dynamic, "https", "evilapp.example", ""},
		"user":                        {dynamic, "https", "app.example@evil.example", ""},
		"trailing dot":                {dynamic, "https", "app.example.", ""},
		"empty":                       {dynamic, "https", "", ""},
		"http":                        {dynamic, "http", "app.example", ""},
		"http on loopback":            {dynamic, "http", "localhost:8000", "http://localhost:8000/auth/callback"},
		"odd scheme":                  {dynamic, "javascript", "app.example", ""},
		"made-up host, default there": {withDefault, "https", "evil.example", callback},
		"nothing configured":          {oidc.Callback{}, "https", "app.example", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.callback.URI(c.scheme, c.host)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
			if err != nil {
				wantError(t, err, oidc.ErrHost)
			}
		})
	}
	for name, bad := range map[string]oidc.Callback{
		"nothing":         {},
		"no hosts":        {Dynamic: true},
		"wildcard":        {Dynamic: true, AllowedHosts: []string{"*.example"}},
		"URL as a host":   {Dynamic: true, AllowedHosts: []string{"https://app.example"}},
		"path as static":  {Static: "/auth/callback"},
		"fragment":        {Static: "https://app.example/#x"},
		"user in it":      {Static: "https://a@app.example/x"},
		"host with slash": {DefaultHost: "app.example/x"},
	} {
		if err := bad.Check(); err == nil {
			t.Errorf("%s: no complaint", name)
		}
	}
	if err := withDefault.Check(); err != nil {
		t.Error(err)
	}
}
