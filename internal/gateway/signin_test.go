package gateway_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"keyway/internal/keyring"
	"keyway/internal/threat"
)

func TestSignInCallLogout(t *testing.T) {
	w := start(t)
	u := w.user()
	if u.signedIn() {
		t.Error("signed in before signing in")
	}
	if got := u.do("GET", "/api/notes"); got.status != 401 || got.code() != "unauthenticated" {
		t.Errorf("call before sign-in: %d %s", got.status, got.body)
	}
	u.signIn()
	got := u.do("GET", "/auth/session")
	for _, want := range []string{`"authenticated":true`, `"name":"Ada Lovelace"`, `"sub":"u-ada-1815"`, `"provider":"demo"`, `"expires_in":`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("session lacks %s: %s", want, got.body)
		}
	}
	if got := u.do("GET", "/api/notes"); got.status != 200 || got.body != "ok" {
		t.Errorf("call: %d %s", got.status, got.body)
	}
	seen := w.lastSeen()
	if seen.Header.Get("X-User-Id") != "u-ada-1815" || seen.Header.Get("X-Original-User") != "auth:account:demo:u-ada-1815" ||
		!strings.HasPrefix(seen.Header.Get("Authorization"), "Bearer ") || seen.Header.Get("Cookie") != "" || seen.Header.Get("X-Correlation-Id") == "" {
		t.Errorf("the upstream saw %v", seen.Header)
	}
	if got := u.do("POST", "/auth/logout"); got.status != 403 || !u.signedIn() {
		t.Errorf("logout without a CSRF token: %d", got.status)
	}
	got = u.do("POST", "/auth/logout", "X-CSRF-Token", u.csrf(), "Accept", "application/json")
	if got.status != 200 || !strings.Contains(got.body, "end_session") && !strings.Contains(got.body, "logout_url") {
		t.Errorf("logout: %d %s", got.status, got.body)
	}
	if u.signedIn() {
		t.Error("still signed in after logout")
	}
}

func TestLogoutIsFinal(t *testing.T) {
	threat.Covers(t, 27)
	u := start(t).user().signIn()
	old := u.cookie("bff_session")
	u.do("GET", "/api/notes") // so that it is cached
	token := u.csrf()
	got := u.do("POST", "/auth/logout", "X-CSRF-Token", token)
	if got.status != http.StatusSeeOther {
		t.Fatalf("logout: %d %s", got.status, got.body)
	}
	cleared := false
	for _, c := range got.header["Set-Cookie"] {
		cleared = cleared || strings.HasPrefix(c, "bff_session=;") && strings.Contains(c, "Path=/") && strings.Contains(c, "HttpOnly") && strings.Contains(c, "SameSite=Lax")
	}
	if !cleared {
		t.Errorf("the cookie is not deleted as it was set: %v", got.header["Set-Cookie"])
	}
	u.setCookie("bff_session", old)
	for _, path := range []string{"/api/notes", "/auth/verify", "/auth/csrf"} {
		if got := u.do("GET", path); got.status != 401 {
			t.Errorf("%s with the old cookie: %d", path, got.status)
		}
	}
	if got := u.do("POST", "/api/notes", "X-CSRF-Token", token); got.status != 401 {
		t.Errorf("old cookie and old CSRF token: %d", got.status)
	}
}

func TestLogoutByGETNeedsTheTokenInTheQuery(t *testing.T) {
	threat.Covers(t, 51)
	u := start(t).user().signIn()
	if got := u.do("GET", "/auth/logout"); got.status != 403 || !u.signedIn() {
		t.Errorf("an image could sign the user out: %d", got.status)
	}
	if got := u.do("GET", "/auth/logout?csrf="+url.QueryEscape(u.csrf())); got.status != http.StatusSeeOther || u.signedIn() {
		t.Errorf("logout by GET: %d", got.status)
	}
}

// A cookie that was there before the sign-in is worth nothing afterwards.
func TestFixation(t *testing.T) {
	threat.Covers(t, 15)
	w := start(t)
	attacker := w.user().signIn()
	planted := attacker.cookie("bff_session")
	victim := w.user()
	victim.setCookie("bff_session", planted)
	victim.signIn()
	if victim.cookie("bff_session") == planted {
		t.Error("the planted id was kept")
	}
	if attacker.signedIn() {
		t.Error("the planted session still lives")
	}
	if !victim.signedIn() {
		t.Error("the victim is not signed in")
	}
}

// The same callback twice, at once and later: one token call, one session.
func TestCallbackTwice(t *testing.T) {
	threat.Covers(t, 11, 2)
	w := start(t)
	u := w.user()
	callback := u.toCallback("/home")
	before := w.idp.Stats().Of("token")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() { u.do("GET", callback) })
	}
	group.Wait()
	if calls := w.idp.Stats().Of("token") - before; calls != 1 {
		t.Errorf("%d token calls", calls)
	}
	if !u.signedIn() {
		t.Fatal("nobody is signed in")
	}
	first := u.cookie("bff_session")
	u.do("GET", callback)
	if !u.signedIn() || u.cookie("bff_session") != first {
		t.Error("a replay disturbed the session")
	}
	stranger := w.user()
	if got := stranger.do("GET", callback); got.status != 400 || got.code() != "login_failed" || stranger.signedIn() {
		t.Errorf("another browser's callback: %d %s", got.status, got.body)
	}
	if calls := w.idp.Stats().Of("token") - before; calls != 1 {
		t.Errorf("%d token calls after replays", calls)
	}
}

func TestSeveralTabs(t *testing.T) {
	threat.Covers(t, 14)
	u := start(t).user()
	first, second := u.toCallback("/a"), u.toCallback("/b")
	if got := u.do("GET", first); got.header.Get("Location") != "/a" {
		t.Errorf("first tab: %d %s", got.status, got.body)
	}
	if got := u.do("GET", second); got.header.Get("Location") != "/b" {
		t.Errorf("second tab: %d %s", got.status, got.body)
	}
}

func TestCallbackByFormPost(t *testing.T) {
	w := start(t)
	u := w.user()
	callback, _ := url.Parse(u.toCallback("/home"))
	r, _ := http.NewRequest("POST", w.server.URL+"/auth/callback", strings.NewReader(callback.RawQuery))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	// A cross-site post: the browser sends no cookie with it.
	answer, err := (&http.Client{CheckRedirect: u.client.CheckRedirect}).Do(r)
	must(t, err)
	answer.Body.Close()
	if answer.StatusCode != http.StatusSeeOther {
		t.Fatalf("form post: %d", answer.StatusCode)
	}
	if got := u.do("GET", answer.Header.Get("Location")); got.header.Get("Location") != "/home" || !u.signedIn() {
		t.Errorf("after the form post: %d %s", got.status, got.body)
	}
	for name, body := range map[string]string{"newline": "code=a\r\nSet-Cookie: x", "fragment": "code=a#b", "raw": "{\"code\":1} "} {
		r, _ := http.NewRequest("POST", w.server.URL+"/auth/callback", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer, err := u.client.Do(r)
		must(t, err)
		answer.Body.Close()
		if answer.StatusCode != 400 {
			t.Errorf("%s: %d", name, answer.StatusCode)
		}
	}
}

// Rooms are built from rings, so a rotation is a new generation and no more: what
// was issued before it goes on working, and ends when its version is retired.
func TestEverythingIssuedSurvivesARotation(t *testing.T) {
	threat.Covers(t, 61)
	w := start(t)
	u := w.user().signIn()
	token := u.csrf()
	other := w.user()
	callback := other.toCallback("/home") // a sign-in under way

	w.publish([]keyring.Version{version("v2", keyring.Active), version("v1", keyring.Retiring)})
	if got := u.do("POST", "/api/notes", "X-CSRF-Token", token); got.status != 200 {
		t.Errorf("session and CSRF token from before: %d %s", got.status, got.body)
	}
	if got := other.do("GET", callback); got.status != http.StatusSeeOther || !other.signedIn() {
		t.Errorf("a sign-in under way: %d %s", got.status, got.body)
	}
	if got := other.cookie("bff_session"); !strings.HasPrefix(got, "v2.") {
		t.Errorf("a new session is issued with %.3s", got)
	}

	w.publish([]keyring.Version{version("v2", keyring.Active), version("v1", keyring.Retired)})
	if u.signedIn() {
		t.Error("a retired version is still accepted")
	}
	if !other.signedIn() {
		t.Error("a session of the active version ended")
	}
	if !u.signIn().signedIn() {
		t.Error("can't sign in again")
	}
}
