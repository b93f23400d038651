package gateway_test

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"keyway/internal/bearer"
	"keyway/internal/gateway"
	"keyway/internal/principal"
	"keyway/internal/problem"
	"keyway/internal/route"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

// behind is a world whose proxy on loopback is trusted, and that knows its host.
func behind(t *testing.T, options ...option) *world {
	t.Helper()
	w := start(t, append(options, func(w *world) {
		w.settings.TrustedProxies = gateway.TrustedProxies{netip.MustParsePrefix("127.0.0.0/8")}
		w.routes = append(w.routes,
			route.Route{ID: "read only", Path: "/api/reading", Service: "api", Auth: route.AuthSession, Methods: []string{"GET"}},
		)
	})...)
	w.settings.PublicHosts = []string{w.host()}
	w.publish(one("v1"))
	return w
}

func (w *world) host() string { return strings.TrimPrefix(w.server.URL, "http://") }

// asking is one proxy's way to ask about a request.
type asking struct {
	name string
	ask  func(u *user, method, target string, headers ...string) response
}

var forms = []asking{
	{"verify", func(u *user, method, target string, headers ...string) response {
		return u.do("GET", "/auth/verify", append(headers, "X-Original-Method", method, "X-Original-URI", target)...)
	}},
	{"forward", func(u *user, method, target string, headers ...string) response {
		return u.do("GET", "/auth/forward", append(headers, "X-Forwarded-Method", method, "X-Forwarded-Uri", target)...)
	}},
	{"Envoy's forward", func(u *user, method, target string, headers ...string) response {
		return u.do(method, "/auth/forward"+target, headers...)
	}},
}

// tokens accepts one.
type tokens struct{}

func (tokens) Authenticate(_ context.Context, authorization []string, _ bearer.Need) (principal.Principal, secret.Value, error) {
	if len(authorization) != 1 || authorization[0] != "Bearer good" {
		return principal.Principal{}, secret.Value{}, problem.New(problem.InvalidToken, nil)
	}
	return principal.Principal{Subject: "machine", Provider: "demo"}, secret.NewValue([]byte("good")), nil
}

func (tokens) Issuers(bearer.Need) []string { return []string{"https://machines.example.com"} }

func (w *world) acceptTokens() {
	parts := w.current.Load().Parts
	parts.Bearer = tokens{}
	w.current.Store(gateway.NewGeneration(parts))
}

// The same request gets the same answer, whether we forward it or a proxy asks.
func TestWhatAProxyAsksIsDecidedAsWhatWeForward(t *testing.T) {
	w := behind(t)
	w.acceptTokens()
	ada, nobody := w.user().signIn(), w.user()
	csrf := ada.csrf()
	ours, theirs := w.server.URL, "https://evil.example"
	for _, c := range []struct {
		name           string
		who            *user
		method, target string
		headers        []string
		want           int // at /auth/verify and /auth/forward
		code           string
	}{
		{"a page", ada, "GET", "/api/notes", nil, 200, ""},
		{"a query", ada, "GET", "/api/notes?q=1&r=%20", nil, 200, ""},
		{"nobody", nobody, "GET", "/api/notes", nil, 401, "unauthenticated"},
		{"a fetch that takes anything", nobody, "GET", "/api/notes", []string{"Accept", "*/*"}, 401, "unauthenticated"},
		{"a write without a CSRF token", ada, "POST", "/api/notes", nil, 403, "csrf_failed"},
		{"a write", ada, "POST", "/api/notes", []string{"X-CSRF-Token", csrf, "Origin", ours}, 200, ""},
		{"a write from another site", ada, "POST", "/api/notes", []string{"X-CSRF-Token", csrf, "Origin", theirs}, 403, "cross_origin"},
		{"a deletion by a frame", ada, "DELETE", "/api/notes", []string{"Origin", "null"}, 403, "cross_origin"},
		{"two origins", ada, "POST", "/api/notes", []string{"X-CSRF-Token", csrf, "Origin", ours, "Origin", theirs}, 403, "cross_origin"},
		{"a WebSocket of another site", ada, "GET", "/api/stream", []string{"Sec-WebSocket-Version", "13", "Origin", theirs}, 403, "cross_origin"},
		{"a WebSocket", ada, "GET", "/api/stream", []string{"Sec-WebSocket-Version", "13", "Origin", ours}, 200, ""},
		{"no such method", ada, "PUT", "/api/reading", []string{"X-CSRF-Token", csrf}, 403, "method_not_allowed"},
		{"for the decision point", ada, "GET", "/api/decided", nil, 403, "forbidden"},
		{"a token", nobody, "GET", "/m2m/notes", []string{"Authorization", "Bearer good"}, 200, ""},
		{"a bad token", nobody, "GET", "/m2m/notes", []string{"Authorization", "Bearer bad"}, 401, "invalid_token"},
		{"a session where a token is wanted", ada, "GET", "/m2m/notes", nil, 401, "invalid_token"},
		{"a token where a session is wanted", nobody, "GET", "/api/notes", []string{"Authorization", "Bearer good"}, 401, "unauthenticated"},
		{"a token and a session", ada, "GET", "/m2m/notes", []string{"Authorization", "Bearer bad"}, 401, "invalid_token"},
		{"dot segments", ada, "GET", "/public/../api/notes", nil, 403, "ambiguous_path"},
		{"encoded dot segments", ada, "GET", "/public/%2e%2e/api/notes", nil, 403, "ambiguous_path"},
		{"an encoded slash", ada, "GET", "/public/..%2fapi", nil, 403, "ambiguous_path"},
		{"two slashes", ada, "GET", "//api/notes", nil, 403, "ambiguous_path"},
		{"a path parameter", ada, "GET", "/public;/api/notes", nil, 403, "ambiguous_path"},
		{"a bad query", ada, "GET", "/api/notes?a;b", nil, 403, "ambiguous_query"},
		{"no route", ada, "GET", "/elsewhere", nil, 200, ""},
		{"no route and nobody", nobody, "GET", "/elsewhere", nil, 401, "unauthenticated"},
		{"no route, its own form", ada, "POST", "/elsewhere", []string{"Origin", ours}, 200, ""},
		{"no route, another site's form", ada, "POST", "/elsewhere", []string{"Origin", theirs}, 403, "cross_origin"},
		{"case", nobody, "GET", "/PUBLIC/page", nil, 401, "unauthenticated"},
		{"a slash behind a path for tokens", ada, "GET", "/m2m/notes/", nil, 403, "ambiguous_path"},
		{"a path for tokens in capitals", ada, "GET", "/M2M/Notes", nil, 403, "ambiguous_path"},
		{"a path for tokens with a dot", ada, "GET", "/m2m/notes.", nil, 403, "ambiguous_path"},
		{"a path for tokens with a space", ada, "GET", "/m2m/notes%20", nil, 403, "ambiguous_path"},
		{"a path for tokens as escapes", ada, "GET", "/m2m/%4eotes/", nil, 403, "ambiguous_path"},
		{"a path for tokens that is none, and nobody", nobody, "GET", "/m2m/notes/", nil, 401, "unauthenticated"},
		{"a slash behind one for the decision point", ada, "GET", "/api/decided/", nil, 403, "ambiguous_path"},
		{"a slash behind one for a session", ada, "GET", "/api/notes/", nil, 200, ""},
		{"a slash behind one for a session, a write", ada, "POST", "/api/notes/", []string{"Origin", ours}, 403, "csrf_failed"},
		{"beyond a path for tokens", ada, "GET", "/m2m/notes/1", nil, 200, ""},
		{"HTTP/2 in the clear", ada, "GET", "/api/notes", []string{"HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"}, 403, "forbidden"},
		{"a method that overrides", ada, "GET", "/api/reading", []string{"X-HTTP-Method-Override", "POST"}, 403, "forbidden"},
		{"one in another spelling", ada, "GET", "/api/reading", []string{"x_http_method_override", "POST"}, 403, "forbidden"},
		{"one that says the same", ada, "GET", "/api/reading", []string{"X-Method-Override", "get"}, 200, ""},
		{"two that don't", ada, "GET", "/api/reading", []string{"X-Method-Override", "GET", "X-Method-Override", "PUT"}, 403, "forbidden"},
		{"a target that overrides", ada, "GET", "/api/notes", []string{"X-Original-URL", "/admin"}, 403, "forbidden"},
		{"a target that is rewritten", ada, "GET", "/api/notes", []string{"X-Rewrite-URL", "/admin"}, 403, "forbidden"},
		{"a target that is the same", ada, "GET", "/api/notes?a", []string{"X-Original-URL", "https://" + w.host() + "/api/notes?a"}, 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			threat.Covers(t, 38, 40)
			for _, f := range forms {
				got := f.ask(c.who, c.method, c.target, c.headers...)
				if got.status != c.want || c.code != "" && got.code() != c.code {
					t.Errorf("%s: %d %s, want %d %s", f.name, got.status, got.body, c.want, c.code)
				}
				wantNoIdentityUnlessYes(t, f.name, got)
				if got.status == 401 && got.header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s: 401 without a challenge", f.name)
				}
			}
			// Forwarded, the same comes out, but for paths that no route has.
			if _, outcome := w.current.Load().Routes.Match(c.method, c.target); outcome == route.NotFound && c.name != "case" {
				return
			}
			if strings.HasPrefix(c.target, "/elsewhere") || strings.HasPrefix(c.name, "a WebSocket") || c.code == "forbidden" {
				return
			}
			got := c.who.do(c.method, c.target, c.headers...)
			if (got.status == 200) != (c.want == 200) || c.code != "" && c.name != "case" && got.code() != c.code {
				t.Errorf("forwarded: %d %s, asked about: %d %s", got.status, got.body, c.want, c.code)
			}
		})
	}
}

func wantNoIdentityUnlessYes(t *testing.T, name string, got response) {
	t.Helper()
	if got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: Cache-Control %q", name, got.header.Get("Cache-Control"))
	}
	if got.header.Get("Authorization") != "" {
		t.Errorf("%s: an answer with a token", name)
	}
	for _, h := range []string{"X-User-Id", "X-User-Email", "X-User-Name", "X-Session-Id", "X-Auth-Time", "X-Original-User"} {
		if got.status != 200 && got.header.Get(h) != "" {
			t.Errorf("%s: %s in a refusal", name, h)
		}
	}
}

// What is open to all passes where the proxy's word cannot be somebody else's.
func TestPublicRoutes(t *testing.T) {
	threat.Covers(t, 38, 40)
	w := behind(t)
	ada, nobody := w.user().signIn(), w.user()
	for _, f := range forms {
		for who, u := range map[string]*user{"nobody": nobody, "ada": ada} {
			got := f.ask(u, "GET", "/public/page")
			want := 200
			if f.name == "verify" && who == "nobody" {
				want = 401
			}
			if got.status != want {
				t.Errorf("%s, %s: %d, want %d", f.name, who, got.status, want)
			}
			if f.name != "verify" && got.header.Get("X-User-Id") != "" {
				t.Errorf("%s, %s: identity on a public route", f.name, who)
			}
		}
	}
	// A preflight that we would answer ourselves is not a yes.
	got := nobody.do("OPTIONS", "/auth/forward/api/notes", "Origin", partner, "Access-Control-Request-Method", "POST")
	if got.status != 401 {
		t.Errorf("a preflight: %d, want 401", got.status)
	}
	for _, path := range []string{"/auth/verify", "/auth/forward"} {
		if got := nobody.do("OPTIONS", path, "Origin", partner, "Access-Control-Request-Method", "POST"); got.status != 405 {
			t.Errorf("a preflight at %s: %d, want 405", path, got.status)
		}
	}
}

// Each endpoint reads one family, once and whole. Of anything else it makes nothing.
func TestWhatIsSaidOfTheOriginalRequest(t *testing.T) {
	w := behind(t)
	ada, nobody := w.user().signIn(), w.user()
	for _, e := range []struct{ path, method, uri, otherMethod, otherURI string }{
		{"/auth/verify", "X-Original-Method", "X-Original-URI", "X-Forwarded-Method", "X-Forwarded-Uri"},
		{"/auth/forward", "X-Forwarded-Method", "X-Forwarded-Uri", "X-Original-Method", "X-Original-URI"},
	} {
		for name, headers := range map[string][]string{
			"two targets":       {e.method, "GET", e.uri, "/api/notes", e.uri, "/public/x"},
			"two equal targets": {e.method, "GET", e.uri, "/api/notes", e.uri, "/api/notes"},
			"two methods":       {e.method, "GET", e.method, "POST", e.uri, "/api/notes"},
			"a list of methods": {e.method, "GET, POST", e.uri, "/api/notes"},
			"no target":         {e.method, "GET"},
			"no method":         {e.uri, "/api/notes"},
			"an empty target":   {e.method, "GET", e.uri, ""},
			"an empty method":   {e.method, "", e.uri, "/api/notes"},
			"lower case":        {e.method, "get", e.uri, "/api/notes"},
			"a tunnel":          {e.method, "CONNECT", e.uri, "/api/notes"},
			"an echo":           {e.method, "TRACE", e.uri, "/api/notes"},
			"a long method":     {e.method, strings.Repeat("A", 100), e.uri, "/api/notes"},
			"absolute form":     {e.method, "GET", e.uri, "http://evil.example/api/notes"},
			"userinfo":          {e.method, "GET", e.uri, "http://a:b@evil.example/api/notes"},
			"no slash":          {e.method, "GET", e.uri, "api/notes"},
			"an asterisk":       {e.method, "OPTIONS", e.uri, "*"},
			"an authority":      {e.method, "GET", e.uri, "//evil.example/api/notes"},
			"a fragment":        {e.method, "GET", e.uri, "/api/notes#/public/x"},
			"all encoded":       {e.method, "GET", e.uri, "%2fapi%2fnotes"},
			"a backslash":       {e.method, "GET", e.uri, `/public\..\api/notes`},
			"two in one":        {e.method, "GET", e.uri, "/public/x, /api/notes"},
			"64 kB":             {e.method, "GET", e.uri, "/" + strings.Repeat("a/../", 13000)},
		} {
			t.Run(e.path+" "+name, func(t *testing.T) {
				threat.Covers(t, 37, 38)
				got := ada.do("GET", e.path, headers...)
				if got.status != 403 {
					t.Errorf("%d %s, want 403", got.status, got.body)
				}
				wantNoIdentityUnlessYes(t, e.path, got)
			})
		}
		t.Run(e.path+" the other family", func(t *testing.T) {
			threat.Covers(t, 37)
			// A public page, said in headers that only clients would send here.
			headers := []string{e.otherMethod, "GET", e.otherURI, "/public/x", "Forwarded", "for=1.2.3.4;proto=https", "X-Original-URL", "/public/x"}
			if got := nobody.do("GET", e.path, headers...); got.status != 401 {
				t.Errorf("alone: %d, want 401", got.status)
			}
			if got := nobody.do("GET", e.path, append(headers[:4:4], e.method, "GET", e.uri, "/api/notes")...); got.status != 401 {
				t.Errorf("beside the right one: %d, want 401", got.status)
			}
		})
	}
}

// Nobody but a trusted proxy says which request it is about.
func TestStrangersSayNothingOfTheOriginalRequest(t *testing.T) {
	threat.Covers(t, 37)
	w := behind(t)
	ada, nobody := w.user().signIn(), w.user()
	w.settings.TrustedProxies = nil
	w.publish(one("v1"))
	for _, f := range forms[:2] {
		if got := f.ask(nobody, "GET", "/public/page"); got.status != 401 {
			t.Errorf("%s: a public page: %d, want 401", f.name, got.status)
		}
		if got := f.ask(nobody, "GET", "/", "Accept", "text/html", "Sec-Fetch-Mode", "navigate"); got.status != 401 {
			t.Errorf("%s: %d, want 401", f.name, got.status)
		}
		if got := f.ask(ada, "GET", "/public/../x#"); got.status != 200 {
			t.Errorf("%s: what is not believed is not read either: %d", f.name, got.status)
		}
	}
	if got := forms[2].ask(ada, "GET", "/api/notes"); got.status != 404 && got.status != 403 {
		t.Errorf("Envoy's form: %d", got.status)
	}
}

// A browser that navigates is led to the sign-in, and back; nothing else is.
func TestSignInRedirect(t *testing.T) {
	w := behind(t)
	nobody := w.user()
	html := []string{"Accept", "text/html,*/*"}
	navigation := []string{"Sec-Fetch-Mode", "navigate"}
	for name, c := range map[string]struct {
		method, target string
		headers        []string
		want           string // "": 401
	}{
		"fetch metadata":          {"GET", "/api/notes?a=1&b=/x", navigation, "/api/notes?a=1&b=/x"},
		"an old browser":          {"GET", "/page", html, "/page"},
		"HEAD":                    {"HEAD", "/page", html, "/page"},
		"no route":                {"GET", "/any/where", navigation, "/any/where"},
		"a script":                {"GET", "/page", append([]string{"Sec-Fetch-Mode", "cors"}, html...), ""},
		"two words for it":        {"GET", "/page", []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Mode", "cors"}, ""},
		"a form":                  {"POST", "/page", append(navigation, html...), ""},
		"an XHR":                  {"GET", "/page", append([]string{"X-Requested-With", "XMLHttpRequest"}, html...), ""},
		"a WebSocket":             {"GET", "/page", append([]string{"Sec-WebSocket-Key", "x"}, html...), ""},
		"a token is wanted":       {"GET", "/m2m/notes", navigation, ""},
		"the sign-in itself":      {"GET", "/auth/login", navigation, ""},
		"forward-auth itself":     {"GET", "/auth/forward/x", navigation, ""},
		"a path that is too long": {"GET", "/" + strings.Repeat("a", 2000), navigation, "/"},
		"another host":            {"GET", "/page", append([]string{"X-Forwarded-Host", "evil.example"}, navigation...), ""},
		"a host and a port":       {"GET", "/page", append([]string{"X-Forwarded-Host", "evil.example:1@" + w.host()}, navigation...), "/page"},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 13, 37, 40)
			for _, f := range forms {
				got := f.ask(nobody, c.method, c.target, c.headers...)
				if f.name == "verify" || c.want == "" {
					if got.status != 401 || got.header.Get("Location") != "" {
						t.Errorf("%s: %d to %q, want 401", f.name, got.status, got.header.Get("Location"))
					}
					continue
				}
				to, err := url.Parse(got.header.Get("Location"))
				if got.status != http.StatusFound || err != nil || to.Host != w.host() || to.Scheme != "http" || to.Path != "/auth/login" || to.Query().Get("return_to") != c.want || len(to.Query()) != 1 {
					t.Errorf("%s: %d to %q, want 302 to the sign-in and back to %s", f.name, got.status, to, c.want)
				}
			}
		})
	}
	t.Run("the whole way", func(t *testing.T) {
		u := w.user()
		got := forms[1].ask(u, "GET", "/home", navigation...)
		if got.header.Get("Location") != w.server.URL+"/auth/login?return_to=%2Fhome" {
			t.Fatalf("%d to %s", got.status, got.header.Get("Location"))
		}
		u.signIn()
		if got := forms[1].ask(u, "GET", "/home", navigation...); got.status != 200 || got.header.Get("X-User-Id") == "" {
			t.Errorf("signed in: %d %v", got.status, got.header)
		}
	})
	t.Run("no host is known", func(t *testing.T) {
		w.settings.PublicHosts = nil
		w.publish(one("v1"))
		if got := forms[1].ask(nobody, "GET", "/page", navigation...); got.status != 401 {
			t.Errorf("%d, want 401", got.status)
		}
	})
}

// Who forgot to trust the proxy that asks sees users let in and routes not obeyed. The
// log says so, once, and names nobody else.
func TestAnUntrustedProxyThatAsksIsToldOf(t *testing.T) {
	w := start(t)
	ada := w.user().signIn()
	ada.do("GET", "/auth/verify")
	if log := w.log.String(); strings.Contains(log, "BFF_TRUSTED_PROXIES") {
		t.Fatalf("nothing was asked about, and the log says:\n%s", log)
	}
	for range 3 {
		ada.do("GET", "/auth/verify", "X-Original-Method", "DELETE", "X-Original-URI", "/api/notes")
		ada.do("GET", "/auth/forward/api/notes")
	}
	if n := strings.Count(w.log.String(), "add it to BFF_TRUSTED_PROXIES"); n != 1 {
		t.Errorf("%d lines about it, want one:\n%s", n, w.log.String())
	}
}
