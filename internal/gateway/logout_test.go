package gateway_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/gateway"
	"keyway/internal/threat"
)

// eventually polls until ok, and fails the test when that takes too long.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(10 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited too long until %s", what)
		}
	}
}

func TestLogoutEverywhere(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			threat.Covers(t, 51, 53)
			w := start(t)
			two := w.second()
			u, tablet, phone := w.user().signIn(), w.user().signIn(), w.user().signIn()
			there := phone.at(two)
			if !there.signedIn() {
				t.Fatal("not signed in at the other replica")
			}
			before := w.idp.Stats().Of(idp.EndpointRevocation)
			target, headers := "/auth/logout?everywhere=true", []string{"X-CSRF-Token", u.csrf()}
			if method == "GET" {
				target, headers = target+"&csrf="+url.QueryEscape(u.csrf()), nil
			}
			got := u.do(method, target, headers...)
			if got.status != http.StatusSeeOther || !strings.HasPrefix(got.header.Get("Location"), w.idp.URL) {
				t.Fatalf("%d %v %s", got.status, got.header, got.body)
			}
			for name, u := range map[string]*user{"the one that asked": u, "the tablet": tablet, "the phone": phone} {
				if u.signedIn() {
					t.Errorf("%s is still signed in", name)
				}
			}
			eventually(t, "the other replica knows, too", func() bool { return !there.signedIn() })
			eventually(t, "the three refresh tokens are revoked", func() bool { return w.idp.Stats().Of(idp.EndpointRevocation)-before == 3 })
		})
	}
}

func TestLogoutEverywhereIsTheUsersOwnWill(t *testing.T) {
	threat.Covers(t, 29, 51)
	w := start(t)
	u, other := w.user().signIn(), w.user().signIn()
	for name, got := range map[string]response{
		"no token":          u.do("GET", "/auth/logout?everywhere=true"),
		"another session's": u.do("POST", "/auth/logout?everywhere=true", "X-CSRF-Token", other.csrf()),
		"another site":      u.do("POST", "/auth/logout?everywhere=true", "X-CSRF-Token", u.csrf(), "Origin", "https://evil.example"),
	} {
		if got.status != 403 || got.header.Get("Set-Cookie") != "" || !u.signedIn() || !other.signedIn() {
			t.Errorf("%s: %d %v", name, got.status, got.header)
		}
	}
	// Whose sessions to end can't be known without one: it is not said to be done.
	if got := w.user().do("POST", "/auth/logout?everywhere=true"); got.status != 401 {
		t.Errorf("nobody: %d", got.status)
	}
	w.store.noDeletes.Store(true)
	if got := u.do("POST", "/auth/logout?everywhere=true", "X-CSRF-Token", u.csrf()); got.status != 503 || got.header.Get("Set-Cookie") != "" {
		t.Errorf("store away: %d %v", got.status, got.header)
	}
	w.store.noDeletes.Store(false)
	if got := u.do("POST", "/auth/logout?everywhere=true", "X-CSRF-Token", u.csrf()); got.status != 303 || other.signedIn() {
		t.Errorf("once it is back: %d", got.status)
	}
}

// Coming back from the IdP is a page like any other, whatever is in its query.
func TestReturnFromTheIdP(t *testing.T) {
	threat.Covers(t, 51)
	w := start(t, func(w *world) { w.settings.PostLogoutPath = "/public/bye" })
	u := w.user().signIn()
	for _, query := range []string{"", "?state=x", "?state=", "?state=a&state=b", "?error=access_denied&state=x"} {
		if got := u.do("GET", "/public/bye"+query); got.status != 200 || got.header.Get("Set-Cookie") != "" || !u.signedIn() {
			t.Errorf("%q: %d %v", query, got.status, got.header)
		}
	}
	// And what an image on another site fetches.
	for _, headers := range [][]string{
		nil,
		{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"},
		{"Sec-Fetch-Site", "same-site", "Referer", "https://evil.example/"},
	} {
		for _, target := range []string{"/auth/logout", "/auth/logout?csrf=", "/auth/logout?csrf=a&csrf=b", "/auth/logout?csrf=v1.x&post_logout_redirect_uri=https://evil.example/"} {
			got := u.do("GET", target, headers...)
			if got.status != 403 || got.header.Get("Set-Cookie") != "" || got.header.Get("Clear-Site-Data") != "" || !u.signedIn() {
				t.Errorf("GET %s %v: %d %v", target, headers, got.status, got.header)
			}
		}
	}
}

func TestClearSiteData(t *testing.T) {
	threat.Covers(t, 24, 51)
	const https = "X-Forwarded-Proto"
	trusted := func(what ...string) option {
		return func(w *world) {
			w.settings.TrustedProxies = gateway.TrustedProxies{netip.MustParsePrefix("127.0.0.0/8")}
			w.settings.ClearSiteData = what
		}
	}
	w := start(t, trusted("cache", "storage"))
	const want = `"cache", "storage"`
	u := w.user().signIn()
	if got := u.do("POST", "/auth/logout", "X-CSRF-Token", u.csrf(), https, "https"); got.header.Get("Clear-Site-Data") != want {
		t.Errorf("a form: %d %v", got.status, got.header)
	}
	u.signIn()
	if got := u.do("POST", "/auth/logout", "X-CSRF-Token", u.csrf(), https, "https", "Accept", "application/json"); got.status != 200 || got.header.Get("Clear-Site-Data") != want {
		t.Errorf("fetch: %d %v", got.status, got.header)
	}
	if got := u.do("POST", "/auth/logout", https, "https", "Sec-Fetch-Site", "same-origin"); got.header.Get("Clear-Site-Data") != want {
		t.Errorf("our page, with the session over: %d %v", got.status, got.header)
	}
	// Nobody else's page has a say, and at http no browser would obey.
	for name, headers := range map[string][]string{
		"another site's image": {https, "https", "Sec-Fetch-Site", "cross-site"},
		"a sibling's":          {https, "https", "Sec-Fetch-Site", "same-site"},
		"who does not say":     {https, "https"},
	} {
		if got := w.user().do("GET", "/auth/logout", headers...); got.header.Get("Clear-Site-Data") != "" {
			t.Errorf("%s: %v", name, got.header)
		}
	}
	u.signIn()
	if got := u.do("POST", "/auth/logout", "X-CSRF-Token", u.csrf()); got.status != 303 || got.header.Get("Clear-Site-Data") != "" {
		t.Errorf("at http: %d %v", got.status, got.header)
	}
	off := start(t, trusted())
	u = off.user().signIn()
	if got := u.do("POST", "/auth/logout", "X-CSRF-Token", u.csrf(), https, "https"); got.status != 303 || got.header.Get("Clear-Site-Data") != "" {
		t.Errorf("switched off: %d %v", got.status, got.header)
	}
}
