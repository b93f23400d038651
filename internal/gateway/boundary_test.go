package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"keyway/internal/threat"
)

func TestCSRF(t *testing.T) {
	threat.Covers(t, 29)
	w := start(t)
	u, other := w.user().signIn(), w.user().signIn()
	mine, theirs := u.csrf(), other.csrf()
	for name, c := range map[string]struct {
		method, path string
		headers      []string
	}{
		"missing":                {"POST", "/api/notes", nil},
		"empty":                  {"POST", "/api/notes", []string{"X-CSRF-Token", ""}},
		"another session's":      {"POST", "/api/notes", []string{"X-CSRF-Token", theirs}},
		"in the query":           {"POST", "/api/notes?csrf=" + mine, nil},
		"in the cookie only":     {"POST", "/api/notes", []string{"Cookie", "bff_csrf=" + mine}},
		"two of them":            {"POST", "/api/notes", []string{"X-CSRF-Token", mine, "X-CSRF-Token", mine}},
		"text/plain, no token":   {"POST", "/api/notes", []string{"Content-Type", "text/plain"}},
		"PUT":                    {"PUT", "/api/notes", nil},
		"PATCH":                  {"PATCH", "/api/notes", nil},
		"DELETE":                 {"DELETE", "/api/notes", nil},
		"changed":                {"POST", "/api/notes", []string{"X-CSRF-Token", mine[:len(mine)-2] + "xx"}},
		"of an unknown version":  {"POST", "/api/notes", []string{"X-CSRF-Token", "v9" + mine[2:]}},
		"method override header": {"POST", "/api/notes", []string{"X-HTTP-Method-Override", "GET"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := w.lastSeen()
			got := u.do(c.method, c.path, c.headers...)
			if got.status != 403 || got.code() != "csrf_failed" {
				t.Errorf("%d %s", got.status, got.body)
			}
			if w.lastSeen() != before {
				t.Error("the upstream was called")
			}
		})
	}
	// What a sibling domain plants in the cookie changes nothing either way.
	u.setCookie("bff_csrf", theirs)
	if got := u.do("POST", "/api/notes", "X-CSRF-Token", theirs); got.status != 403 {
		t.Errorf("a planted cookie with its header: %d", got.status)
	}
	if got := u.do("POST", "/api/notes", "X-CSRF-Token", mine); got.status != 200 {
		t.Errorf("our own token: %d %s", got.status, got.body)
	}
	if seen := w.lastSeen(); seen.Header.Get("X-Csrf-Token") != "" {
		t.Error("the token went to the upstream")
	}
}

func TestOriginOnCookieRoutes(t *testing.T) {
	threat.Covers(t, 30)
	w := start(t)
	u := w.user().signIn()
	token := u.csrf()
	for _, origin := range []string{"null", "https://evil.example", strings.Replace(w.server.URL, "http:", "https:", 1), w.server.URL + ".evil.example"} {
		if got := u.do("POST", "/api/notes", "X-CSRF-Token", token, "Origin", origin); got.status != 403 || got.code() != "cross_origin" {
			t.Errorf("Origin %s: %d %s", origin, got.status, got.body)
		}
	}
	if got := u.do("POST", "/api/notes", "X-CSRF-Token", token, "Sec-Fetch-Site", "cross-site"); got.status != 403 {
		t.Errorf("cross-site: %d", got.status)
	}
	if got := u.do("POST", "/api/notes", "X-CSRF-Token", token, "Origin", w.server.URL); got.status != 200 {
		t.Errorf("our own page: %d %s", got.status, got.body)
	}
	// A WebSocket is opened by GET; any page may try.
	ws := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==", "Origin", "https://evil.example"}
	if got := u.do("GET", "/api/stream", ws...); got.status != 403 {
		t.Errorf("a WebSocket from another site: %d", got.status)
	}
}

func TestCORS(t *testing.T) {
	threat.Covers(t, 31)
	w := start(t)
	w.upstreamAnswers(func(rw http.ResponseWriter, r *http.Request) { // an upstream that allows everybody
		rw.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		rw.Header().Set("Access-Control-Allow-Credentials", "true")
		_, _ = rw.Write([]byte("ok"))
	})
	u := w.user().signIn()
	got := u.do("GET", "/api/notes", "Origin", "https://evil.example")
	if got.header.Get("Access-Control-Allow-Origin") != "" || got.header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("a stranger may read: %v", got.header)
	}
	if !strings.Contains(strings.Join(got.header["Vary"], ","), "Origin") {
		t.Errorf("Vary: %v", got.header["Vary"])
	}
	got = u.do("GET", "/api/notes", "Origin", partner)
	if got.header.Get("Access-Control-Allow-Origin") != partner || len(got.header["Access-Control-Allow-Origin"]) != 1 {
		t.Errorf("the partner may not: %v", got.header)
	}
	before := w.lastSeen()
	for _, origin := range []string{partner, "https://evil.example", "null"} {
		got := u.do("OPTIONS", "/api/notes", "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-user-id")
		if allowed := got.header.Get("Access-Control-Allow-Methods") != ""; allowed != (origin == partner) {
			t.Errorf("preflight from %s: %d %v", origin, got.status, got.header)
		}
		if strings.Contains(strings.ToLower(got.header.Get("Access-Control-Allow-Headers")), "x-user") {
			t.Errorf("preflight allows identity headers: %v", got.header)
		}
	}
	if w.lastSeen() != before {
		t.Error("a preflight reached the upstream")
	}
}

func TestCookieFlags(t *testing.T) {
	threat.Covers(t, 22)
	w := start(t, func(w *world) {
		w.secure = true
		w.settings.CSRFCookie.Secure = true
	})
	u := w.user()
	login := u.do("GET", "/auth/login")
	var all []string
	all = append(all, login.header["Set-Cookie"]...)
	location := login.header.Get("Location")
	b := newIdPBrowser(w)
	page, err := b.SignIn(t.Context(), location, "ada", "demo")
	must(t, err)
	done := u.do("GET", page.Next.String()) // the jar takes loopback for secure, as browsers do
	if done.status != http.StatusSeeOther {
		t.Fatalf("callback: %d %s %s", done.status, done.body, w.log)
	}
	all = append(all, done.header["Set-Cookie"]...)
	kinds := map[string]bool{}
	for _, c := range all {
		name, _, _ := strings.Cut(c, "=")
		kinds[name[:min(len(name), 16)]] = true
		if len(c) > 4096 {
			t.Errorf("%s: %d bytes", name, len(c))
		}
		for _, flag := range []string{"Secure", "Path=/", "SameSite=Lax"} {
			if !strings.Contains(c, flag) {
				t.Errorf("%s lacks %s", name, flag)
			}
		}
		if strings.Contains(strings.ToLower(c), "domain=") {
			t.Errorf("%s has a domain", name)
		}
		if name == "bff_csrf" {
			continue // for script to read, by contract
		}
		if !strings.HasPrefix(name, "__Host-") || !strings.Contains(c, "HttpOnly") {
			t.Errorf("%s is not a HttpOnly __Host- cookie", name)
		}
	}
	if !kinds["__Host-bff_sessi"] || !kinds["__Host-bff_login"] || !kinds["bff_csrf"] {
		t.Errorf("cookies seen: %v", kinds)
	}
}

func TestNothingPersonalIsStored(t *testing.T) {
	threat.Covers(t, 24)
	w := start(t)
	u := w.user().signIn()
	w.upstreamAnswers(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "public, max-age=3600")
		rw.Header().Set("ETag", `"a"`)
		switch {
		case r.Header.Get("If-None-Match") != "":
			rw.WriteHeader(http.StatusNotModified)
		case r.URL.Path == "/public/cookie":
			http.SetCookie(rw, &http.Cookie{Name: "theirs", Value: "x"})
		}
	})
	for _, c := range []struct {
		method, path string
		headers      []string
	}{
		{"GET", "/api/notes", nil},
		{"GET", "/api/notes", []string{"If-None-Match", `"a"`}},
		{"POST", "/api/notes", nil}, // an error of ours
		{"GET", "/nothing", nil},
		{"GET", "/auth/session", nil},
		{"GET", "/auth/csrf", nil},
		{"GET", "/auth/login", nil},
		{"GET", "/auth/callback", nil},
		{"GET", "/auth/verify", nil},
		{"GET", "/health", nil},
		{"GET", "/public/cookie", nil},
	} {
		got := u.do(c.method, c.path, c.headers...)
		if got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: %d, Cache-Control %q", c.method, c.path, got.status, got.header["Cache-Control"])
		}
	}
	if got := u.do("GET", "/public/page"); got.header.Get("Cache-Control") != "public, max-age=3600" {
		t.Errorf("a public page without cookies: %q", got.header["Cache-Control"])
	}
}

func TestTamperedCookiesAreAnonymous(t *testing.T) {
	threat.Covers(t, 25, 26)
	w := start(t)
	u := w.user().signIn()
	good := u.cookie("bff_session")
	stranger := w.user()
	want := stranger.do("GET", "/api/notes")
	for i := range good {
		for name, value := range map[string]string{
			"flipped":   good[:i] + string(good[i]^1) + good[i+1:],
			"truncated": good[:i],
			"extended":  good + good[:i+1],
			"shifted":   good[i:] + good[:i],
		} {
			if value == good {
				continue
			}
			got := stranger.do("GET", "/api/notes", "Cookie", "bff_session="+value)
			if got.status != 401 {
				t.Fatalf("%s at %d: %d %s", name, i, got.status, got.body)
			}
		}
	}
	if want.status != 401 {
		t.Errorf("no cookie: %d", want.status)
	}
	many := strings.Repeat("a=b; ", 10_000) + "bff_session=" + good
	if got := stranger.do("GET", "/api/notes", "Cookie", many); got.status != 401 && got.status != 431 {
		t.Errorf("10,000 cookies: %d", got.status)
	}
	if !u.signedIn() {
		t.Error("the real session suffered")
	}
}

func TestStoreAwayKeepsEverybodySignedIn(t *testing.T) {
	threat.Covers(t, 67)
	w := start(t)
	u := w.user().signIn()
	callback := w.user()
	pending := callback.toCallback("/")
	w.store.goAway()
	for _, path := range []string{"/api/notes", "/auth/session", "/auth/csrf", "/auth/verify", "/auth/forward", "/auth/logout"} {
		want := 503
		if path == "/auth/verify" {
			want = 403 // nginx would take anything else for a fault of its own
		}
		got := u.do("GET", path)
		if got.status != want || got.code() != "sessions_unavailable" || got.header.Get("Set-Cookie") != "" || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s %v", path, got.status, got.body, got.header)
		}
	}
	if got := callback.do("GET", pending); got.status != 503 || len(got.header["Set-Cookie"]) != 0 {
		t.Errorf("callback: %d %s %v", got.status, got.body, got.header)
	}
	if got := u.do("GET", "/public/page"); got.status != 200 {
		t.Errorf("a public page: %d", got.status)
	}
	if got := u.do("GET", "/health/ready"); got.status != 503 {
		t.Errorf("ready: %d", got.status)
	}
	if got := u.do("GET", "/health/live"); got.status != 200 {
		t.Errorf("live: %d", got.status)
	}
	w.store.away.Store(false)
	if !u.signedIn() {
		t.Error("the session was lost")
	}
	if got := callback.do("GET", pending); got.status != http.StatusSeeOther || !callback.signedIn() {
		t.Errorf("the same callback afterwards: %d %s", got.status, got.body)
	}
}

func TestClosedUntilSomebodyOpensIt(t *testing.T) {
	w := start(t)
	u := w.user().signIn()
	if got := u.do("GET", "/api/decided"); got.status != 403 || got.code() != "forbidden" {
		t.Errorf("authz without a decision point: %d %s", got.status, got.body)
	}
	if got := u.do("GET", "/m2m/notes"); got.status != 401 || !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("bearer: %d %v", got.status, got.header)
	}
	if w.lastSeen() != nil {
		t.Error("the upstream was called")
	}
}

func TestOwnEndpointsRefuseWhatTheyDontOffer(t *testing.T) {
	w := start(t)
	u := w.user()
	for _, path := range []string{"/auth/login", "/auth/session", "/auth/csrf", "/health"} {
		if got := u.do("DELETE", path); got.status != 405 || got.header.Get("Allow") == "" {
			t.Errorf("DELETE %s: %d %v", path, got.status, got.header)
		}
	}
	if got := u.do("GET", "/auth/login?return_to=https://evil.example"); got.status != 400 {
		t.Errorf("a foreign return_to: %d", got.status)
	}
	if got := u.do("GET", "/auth/../api/notes"); got.status != 400 && got.status != 404 {
		t.Errorf("dot segments: %d", got.status)
	}
}
