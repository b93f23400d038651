package gateway_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"keyway/internal/gateway"
	"keyway/internal/threat"
)

// navigating is how a browser asks for a page to show.
var navigating = []string{"Accept", "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}

func TestFailuresAreShownToWhoLooks(t *testing.T) {
	u := start(t).user().signIn()
	for _, c := range []struct {
		method, target string
		status         int
		code           string
		signIn         bool
	}{
		{"GET", "/auth/login?return_to=https://evil.example/", 400, "bad_request", true},
		{"GET", "/auth/login?return_to=%zz", 400, "ambiguous_query", true},
		{"POST", "/auth/login", 405, "method_not_allowed", true},
		{"GET", "/auth/callback?code=a&state=b", 400, "login_failed", true},
		{"GET", "/auth/callback", 400, "login_failed", true},
		{"POST", "/auth/callback", 400, "bad_request", true},
		{"GET", "/auth/logout", 403, "csrf_failed", false},
		{"GET", "/auth/logout?everywhere=maybe", 400, "bad_request", false},
	} {
		t.Run(c.method+" "+c.target, func(t *testing.T) {
			for name, headers := range map[string][]string{"fetch metadata": navigating, "an old browser": navigating[:2]} {
				got := u.do(c.method, c.target, headers...)
				h := got.header
				if got.status != c.status || h.Get("Content-Type") != "text/html; charset=utf-8" || h.Get("Cache-Control") != "no-store" ||
					h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" || !varies(h, "Accept") {
					t.Errorf("%s: %d %v", name, got.status, h)
				}
				policy := h.Get("Content-Security-Policy")
				if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "script") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") {
					t.Errorf("%s: policy %q", name, policy)
				}
				if !strings.Contains(got.body, "<dd>"+c.code+"</dd>") || !strings.Contains(got.body, "<dd>"+h.Get("X-Correlation-Id")+"</dd>") || len(h.Get("X-Correlation-Id")) != 32 {
					t.Errorf("%s: no code and reference in %s", name, got.body)
				}
				links := regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(got.body, -1)
				var to []string
				for _, l := range links[1:] { // the first is the icon
					to = append(to, l[1])
				}
				want := "/"
				if c.signIn {
					want = "/auth/login /"
				}
				if strings.Join(to, " ") != want {
					t.Errorf("%s: links to %q, want %q", name, to, want)
				}
				if regexp.MustCompile(`(?i)<script|\son[a-z]+=|javascript:|<form|https?://`).MatchString(got.body) {
					t.Errorf("%s: %s", name, got.body)
				}
			}
			// Everybody else reads the problem document.
			for name, headers := range map[string][]string{
				"nothing": nil, "anything": {"Accept", "*/*"}, "JSON": {"Accept", "application/json"},
				"fetch":         {"Accept", "text/html", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"},
				"a frame":       {"Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"},
				"an image":      {"Accept", "image/*", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"},
				"an XHR of old": {"Accept", "text/html", "X-Requested-With", "XMLHttpRequest"},
				"both":          {"Accept", "text/html, application/json"},
			} {
				if got := u.do(c.method, c.target, headers...); got.status != c.status || got.header.Get("Content-Type") != "application/problem+json" || got.code() != c.code || !varies(got.header, "Accept") {
					t.Errorf("%s: %d %v %s", name, got.status, got.header, got.body)
				}
			}
		})
	}
	// And so do browsers elsewhere.
	for _, path := range []string{"/nowhere", "/auth/csrf", "/auth/session/x"} {
		if got := u.w.user().do("GET", path, navigating...); got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %v", path, got.header)
		}
	}
}

func varies(h http.Header, by string) bool {
	return strings.Contains(strings.Join(h["Vary"], ", "), by)
}

// What the IdP says of its refusal, and what is in a request, is nobody's to put
// before our users.
func TestFailurePagesShowNothingOfARequest(t *testing.T) {
	threat.Covers(t, 13, 23)
	w := start(t)
	const text = `EVIL"'><img src=x onerror=alert(1)>`
	said := url.Values{"error": {"access_denied"}, "error_description": {text}, "error_uri": {"https://EVIL.example/"}}
	for name, c := range map[string]struct {
		target, code string
		status       int
	}{
		"the IdP's refusal": {"", "login_denied", 403},
		"made up":           {"/auth/callback?" + said.Encode() + "&state=EVIL", "login_failed", 400},
		"return_to":         {"/auth/login?return_to=" + url.QueryEscape("javascript:"+text), "bad_request", 400},
		"EVIL":              {"/auth/logout?csrf=" + url.QueryEscape(text), "csrf_failed", 403},
	} {
		t.Run(name, func(t *testing.T) {
			u := w.user()
			if c.target == "" {
				begun, err := url.Parse(u.toCallback("/EVIL"))
				must(t, err)
				said.Set("state", begun.Query().Get("state"))
				if iss := begun.Query().Get("iss"); iss != "" {
					said.Set("iss", iss)
				}
				c.target = "/auth/callback?" + said.Encode()
			}
			if name == "EVIL" {
				u.signIn()
			}
			got := u.do("GET", c.target, append([]string{"X-Correlation-Id", "EVIL", "User-Agent", text, "Referer", "https://evil.example/EVIL"}, navigating...)...)
			if got.status != c.status || !strings.Contains(got.body, c.code) {
				t.Errorf("%d %s", got.status, got.body)
			}
			if strings.Contains(got.body, "EVIL") || strings.Contains(got.body, "onerror") {
				t.Errorf("the page shows what was sent: %s", got.body)
			}
		})
	}
}

// A replica that can't help says when to come again, to browsers, too.
func TestFailurePagesKeepWhatTheStatusWants(t *testing.T) {
	w := start(t)
	u := w.user().signIn()
	w.store.goAway()
	got := u.do("GET", "/auth/logout?csrf=x", navigating...)
	if got.status != 503 || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, "sessions_unavailable") || got.header.Get("Set-Cookie") != "" {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
	got = start(t).user().do("GET", "/auth/logout?everywhere=true", navigating...)
	if got.status != 401 || got.header.Get("WWW-Authenticate") == "" || !strings.Contains(got.body, `href="/auth/login"`) {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
	nobody := start(t, func(w *world) { w.parts = append(w.parts, func(p *gateway.Parts) { p.SignIn = nil }) }).user()
	if got := nobody.do("GET", "/auth/login", navigating...); got.status != 404 || strings.Contains(got.body, "/auth/login") {
		t.Errorf("without a provider: %d %s", got.status, got.body)
	}
}

// With strict cookies the redirect chain that the IdP began ends at a page of ours.
func TestLandingWithStrictCookies(t *testing.T) {
	strict := func(w *world) { w.settings.CSRFCookie.SameSite = http.SameSiteStrictMode }
	for _, to := range []string{"/home", `/a?b=1&c='x'&d=%22%3E%3Cscript%3E;url=https://evil.example#f`} {
		u := start(t, strict).user()
		callback := u.toCallback(to)
		got := u.do("GET", callback, navigating...)
		h := got.header
		if got.status != 200 || h.Get("Refresh") != "0; url="+to || h.Get("Location") != "" || h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" ||
			!strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'; style-src 'sha256-") {
			t.Fatalf("%s: %d %v %s", to, got.status, h, got.body)
		}
		if !u.signedIn() {
			t.Error("not signed in")
		}
		if strings.Contains(got.body, "<script") || strings.Contains(got.body, "code=") || strings.Count(got.body, "href=") != 2 {
			t.Errorf("%s: %s", to, got.body)
		}
		if to == "/home" && !strings.Contains(got.body, `href="/home"`) {
			t.Errorf("no link in %s", got.body)
		}
	}
	// A program has no notion of sites, and other cookies are there after a redirect.
	if got := start(t, strict).user().signIn(); !got.signedIn() {
		t.Error("a program is not signed in")
	}
	u := start(t).user()
	if got := u.do("GET", u.toCallback("/home"), navigating...); got.status != 303 || got.header.Get("Refresh") != "" {
		t.Errorf("with Lax: %d %v", got.status, got.header)
	}
}
