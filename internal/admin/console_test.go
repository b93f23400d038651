package admin

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/admin/console"
	"keyway/internal/audit"
	"keyway/internal/problem"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

// site is a console and its API on one listener, as app mounts them.
type site struct {
	handler http.Handler
	*Handler
	recorded []audit.Event
	token    string
}

func newSite(t *testing.T, o Options, withToken bool) *site {
	t.Helper()
	s := &site{token: goodToken}
	o.Control, o.Record = newFake(), func(e audit.Event) { s.recorded = append(s.recorded, e) }
	if withToken {
		o.Token = func() (secret.Value, bool) { return secret.NewValue([]byte(s.token)), true }
	}
	s.Handler = New(o)
	mux := http.NewServeMux()
	mux.Handle(Prefix, s.Handler)
	mux.Handle("/{$}", s.Console())
	mux.Handle("/console/", s.Console())
	s.handler = mux
	return s
}

// ask is a request of a browser on this machine, with headers as "Name: value".
func (s *site) ask(method, path, body string, headers ...string) answer {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr, r.Host = "127.0.0.1:4711", "127.0.0.1:8001"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "Host":
			r.Host = value
		case "Peer":
			r.RemoteAddr = value
		default:
			r.Header.Set(name, value)
		}
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return answer{w.Result(), w.Body.String()} //nolint:bodyclose // there is nothing to close
}

// enter signs in by the token, and gives the cookie as a header.
func (s *site) enter(t *testing.T, headers ...string) (cookie string, set *http.Cookie) {
	t.Helper()
	a := s.ask("POST", "/console/session", `{"token":"`+s.token+`"}`, headers...)
	if a.StatusCode != 204 || len(a.Cookies()) != 1 {
		t.Fatalf("sign-in: %d %s", a.StatusCode, a.text)
	}
	set = a.Cookies()[0]
	return "Cookie: " + set.Name + "=" + set.Value, set
}

// Every answer of the console lets the page load what is ours, and nothing else.
func TestEveryAnswerHasThePolicy(t *testing.T) {
	for _, withToken := range []bool{false, true} {
		s := newSite(t, Options{Loopback: true}, withToken)
		for _, path := range []string{"/", "/console/sign-in", "/console/session", "/console/nothing", "/console/static/main.js", "/console/static/../doc.go", "/console/begin"} {
			for _, method := range []string{"GET", "HEAD", "POST", "PATCH"} {
				a := s.ask(method, path, "")
				if a.StatusCode == 307 || a.StatusCode == 301 { // net/http's, to a cleaned path
					continue
				}
				if got := a.Header.Get("Content-Security-Policy"); got != console.Policy {
					t.Errorf("%s %s: policy %q", method, path, got)
				}
				if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%s %s: %v", method, path, a.Header)
				}
			}
		}
	}
	for _, part := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "script-src 'self'"} {
		if !strings.Contains(console.Policy, part) {
			t.Errorf("the policy lacks %s", part)
		}
	}
	if strings.Contains(console.Policy, "unsafe") {
		t.Error("the policy has an unsafe part")
	}
}

func TestOpenConsoleIsForThisMachine(t *testing.T) {
	threat.Covers(t, 30)
	s := newSite(t, Options{Loopback: true}, false)
	s.ask("GET", "/", "").want(t, 200, "<h1", "/console/static/main.js")
	s.ask("GET", "/", "", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document").want(t, 200) // a link in a chat
	for name, headers := range map[string][]string{
		"a rebound name":          {"Host: attacker.example:8001"},
		"another machine":         {"Peer: 10.0.0.9:4711"},
		"a frame":                 {"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"},
		"a script elsewhere":      {"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"},
		"a proxy on this machine": {"X-Forwarded-For: 203.0.113.9"},
	} {
		t.Run(name, func(t *testing.T) {
			s.ask("GET", "/", "", headers...).want(t, 403)
			s.ask("GET", "/console/static/main.js", "", headers...).want(t, 403)
		})
	}
	newSite(t, Options{}, false).ask("GET", "/", "").want(t, 403)
	if a := s.ask("DELETE", "/", ""); a.StatusCode != 405 || a.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("%d, Allow %q", a.StatusCode, a.Header.Get("Allow"))
	}
	s.ask("POST", "/admin/v1/rotations", all, "Sec-Fetch-Site: same-origin", "Origin: http://127.0.0.1:8001").want(t, 202)
	if asked := s.control.(*fake).started(); len(asked) != 1 || asked[0].By != "console, from this machine" {
		t.Errorf("asked: %+v", asked)
	}
}

func TestSignInByToken(t *testing.T) {
	s := newSite(t, Options{}, true)
	if a := s.ask("GET", "/", ""); a.StatusCode != 303 || a.Header.Get("Location") != "/console/sign-in" {
		t.Errorf("%d %s", a.StatusCode, a.Header.Get("Location"))
	}
	s.ask("GET", "/console/sign-in", "").want(t, 200, `type="password"`, "/console/static/sign-in.js")
	s.ask("GET", "/console/session", "").want(t, 200, `"signed_in":false`)
	cookie, set := s.enter(t)
	if !set.HttpOnly || set.SameSite != http.SameSiteStrictMode || set.Secure || set.Path != "/" || set.Domain != "" || strings.Contains(set.Value, goodToken[:8]) {
		t.Errorf("cookie: %+v", set)
	}
	s.ask("GET", "/", "", cookie).want(t, 200, "Sign out")
	s.ask("GET", "/admin/v1/status", "", cookie).want(t, 200)
	s.ask("GET", "/console/session", "", cookie).want(t, 200, `"signed_in":true`)
	s.ask("POST", "/admin/v1/rotations", all, cookie).want(t, 202)
	if asked := s.control.(*fake).started(); len(asked) != 1 || asked[0].By != "console, by token, from 127.0.0.1" {
		t.Errorf("asked: %+v", asked)
	}
	a := s.ask("DELETE", "/console/session", "", cookie)
	if a.StatusCode != 204 || a.Cookies()[0].MaxAge >= 0 {
		t.Errorf("sign-out: %d %v", a.StatusCode, a.Cookies())
	}
	s.ask("GET", "/admin/v1/status", "", cookie).want(t, 401)
	if len(s.recorded) != 1 || s.recorded[0].Type != "admin.signed_in" || s.recorded[0].ID == "" {
		t.Errorf("recorded: %+v", s.recorded)
	}
}

func TestSignInIsRefused(t *testing.T) {
	threat.Covers(t, 43)
	s := newSite(t, Options{}, true)
	right := `{"token":"` + goodToken + `"}`
	a := s.ask("POST", "/console/session", `{"token":"wrong"}`)
	a.want(t, 401, `"code":"invalid_token"`)
	if len(a.Cookies()) > 0 || strings.Contains(a.text, goodToken[:8]) {
		t.Errorf("%v %s", a.Cookies(), a.text)
	}
	s.ask("POST", "/console/session", right, "Content-Type: text/plain").want(t, 415)
	s.ask("POST", "/console/session", "token="+goodToken, "Content-Type: application/x-www-form-urlencoded").want(t, 415)
	for name, headers := range map[string][]string{
		"another site":        {"Sec-Fetch-Site: cross-site"},
		"another port":        {"Sec-Fetch-Site: same-site", "Origin: http://127.0.0.1:8000"},
		"an origin elsewhere": {"Origin: https://attacker.example"},
	} {
		t.Run(name, func(t *testing.T) {
			s.ask("POST", "/console/session", right, headers...).want(t, 403, "cross_origin")
		})
	}
	if len(s.recorded) != 1 || s.recorded[0].Type != "admin.refused" {
		t.Errorf("recorded: %+v", s.recorded)
	}
}

// A cookie goes along with whatever page asks, so the page counts.
func TestASessionIsForOurPageOnly(t *testing.T) {
	threat.Covers(t, 29)
	s := newSite(t, Options{}, true)
	cookie, _ := s.enter(t)
	for name, headers := range map[string][]string{
		"another port of this host": {"Sec-Fetch-Site: same-site", "Origin: http://127.0.0.1:8000"},
		"another site":              {"Sec-Fetch-Site: cross-site", "Origin: https://attacker.example"},
		"an older browser":          {"Origin: http://127.0.0.1:8000"},
		"a sandboxed page":          {"Origin: null"},
	} {
		t.Run(name, func(t *testing.T) {
			headers = append(headers, cookie)
			s.ask("POST", "/admin/v1/rotations", all, headers...).want(t, 403, "cross_origin")
			s.ask("GET", "/admin/v1/status", "", headers...).want(t, 403)
			s.ask("DELETE", "/console/session", "", headers...).want(t, 403)
		})
	}
	s.ask("POST", "/admin/v1/rotations", all, cookie, "Content-Type: text/plain").want(t, 415)
	if asked := s.control.(*fake).started(); len(asked) > 0 {
		t.Errorf("started: %+v", asked)
	}
}

func TestBehindAProxyThatSpeaksTLS(t *testing.T) {
	s := newSite(t, Options{PublicURL: "https://keyway-admin.example"}, true)
	there := []string{"Host: keyway-admin.example", "Peer: 10.0.0.2:1", "Origin: https://keyway-admin.example", "Sec-Fetch-Site: same-origin", "X-Forwarded-For: 203.0.113.9"}
	cookie, set := s.enter(t, there...)
	if set.Name != "__Host-keyway_console" || !set.Secure || set.Path != "/" || set.Domain != "" {
		t.Errorf("cookie: %+v", set)
	}
	s.ask("POST", "/admin/v1/rotations", all, append(there, cookie)...).want(t, 202)
	s.ask("POST", "/admin/v1/rotations", all, "Host: keyway-admin.example", "Origin: https://app.example", cookie).want(t, 403)
	s.ask("GET", "/admin/v1/status", "", "Host: keyway-admin.example", strings.Replace(cookie, "__Host-", "", 1)).want(t, 401)
}

func TestASessionEnds(t *testing.T) {
	start := func(t *testing.T) (*site, string) {
		s := newSite(t, Options{}, true)
		cookie, _ := s.enter(t)
		return s, cookie
	}
	for name, c := range map[string]struct {
		wait  time.Duration
		steps int
		want  int
	}{
		"idle":                    {sessionIdle, 1, 401},
		"not quite idle":          {sessionIdle - time.Second, 1, 200},
		"used all the time":       {20 * time.Minute, 23, 200},
		"used, after eight hours": {20 * time.Minute, 24, 401},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, cookie := start(t)
				code := 0
				for range c.steps {
					time.Sleep(c.wait)
					code = s.ask("GET", "/admin/v1/status", "", cookie).StatusCode
				}
				if code != c.want {
					t.Errorf("found %d", code)
				}
			})
		})
	}
	t.Run("a page that is only open", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, cookie := start(t)
			r := httptest.NewRequest("GET", "/admin/v1/events", nil)
			r.Header.Set("Cookie", strings.TrimPrefix(cookie, "Cookie: "))
			written := &safeWriter{ResponseRecorder: httptest.NewRecorder()}
			done := make(chan struct{})
			go func() { defer close(done); s.handler.ServeHTTP(written, r) }()
			<-done // by itself
			if !strings.Contains(written.text(), "event: over") {
				t.Errorf("found %.200s", written.text())
			}
			s.ask("GET", "/admin/v1/status", "", cookie).want(t, 401)
		})
	})
	t.Run("with the token", func(t *testing.T) {
		s, cookie := start(t)
		s.token = strings.Repeat("another-token-", 4)
		s.ask("GET", "/admin/v1/status", "", cookie).want(t, 401)
		s.token = goodToken
		s.ask("GET", "/admin/v1/status", "", cookie).want(t, 401)
	})
	t.Run("with the next sign-in of the same browser", func(t *testing.T) {
		s, cookie := start(t)
		s.enter(t, cookie)
		s.ask("GET", "/admin/v1/status", "", cookie).want(t, 401)
	})
}

type safeWriter struct {
	*httptest.ResponseRecorder
	mu sync.Mutex
}

func (w *safeWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ResponseRecorder.Write(p)
}

func (w *safeWriter) text() string { w.mu.Lock(); defer w.mu.Unlock(); return w.Body.String() }

func TestGuessesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Options{}, true)
		codes := map[int]int{}
		for range 100 {
			codes[s.ask("POST", "/console/session", `{"token":"guess"}`).StatusCode]++
		}
		if codes[401] != guessesAtOnce || codes[429] != 100-guessesAtOnce {
			t.Errorf("found %v", codes)
		}
		s.ask("POST", "/console/session", `{"token":"`+goodToken+`"}`).want(t, 429)
		s.enter(t, "Peer: 10.0.0.7:1") // who comes from elsewhere is not shut out
		time.Sleep(guessEvery)
		s.enter(t)
		for range 50 {
			s.enter(t, "Peer: 10.0.0.8:1") // right ones cost nothing
		}
	})
}

// A page whose own name leads here has no say in who may sign in.
func TestAReboundNameUsesUpNoGuesses(t *testing.T) {
	threat.Covers(t, 43)
	for name, c := range map[string]struct {
		o    Options
		host string
		want int
	}{
		"a name of somebody's":            {Options{Loopback: true}, "attacker.example:8001", 403},
		"the same, beyond this machine":   {Options{}, "attacker.example:8001", 403},
		"an address of the network":       {Options{}, "10.0.0.7:8001", 401},
		"that, while only this one is us": {Options{Loopback: true}, "10.0.0.7:8001", 403},
		"a name of the network":           {Options{}, "keyway.prod.svc", 401},
		"localhost":                       {Options{Loopback: true}, "localhost:8001", 401},
		"the public one":                  {Options{Loopback: true, PublicURL: "https://keyway-admin.example"}, "Keyway-Admin.example", 401},
		"not the public one":              {Options{Loopback: true, PublicURL: "https://keyway-admin.example"}, "keyway-admin.example.attacker.example", 403},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, c.o, true)
			for range guessesAtOnce {
				s.ask("POST", "/console/session", `{"token":"guess"}`, "Host: "+c.host, "Origin: http://"+c.host, "Sec-Fetch-Site: same-origin").want(t, c.want)
			}
			want := 204
			if c.want != 403 {
				want = 429 // a name that is ours counts
			}
			if a := s.ask("POST", "/console/session", `{"token":"`+goodToken+`"}`); a.StatusCode != want {
				t.Errorf("afterwards: %d %s", a.StatusCode, a.text)
			}
		})
	}
}

func TestMemoryIsBounded(t *testing.T) {
	var s consoleSessions
	now := time.Now()
	first := s.open(consoleSession{}, now)
	for i := range 3 * maxSessions {
		s.open(consoleSession{}, now.Add(time.Duration(i+1)*time.Millisecond))
	}
	if n := len(s.byID); n != maxSessions {
		t.Errorf("%d sessions", n)
	}
	if _, ok := s.find(first, [32]byte{}, now, true); ok {
		t.Error("the idlest did not make room")
	}
	var g guesses
	for i := range 3 * maxGuessers {
		g.spend(strings.Repeat("x", i%7)+time.Duration(i).String(), now)
	}
	if n := len(g.from); n > maxGuessers+1 {
		t.Errorf("%d addresses", n)
	}
}

// provider is a SignIn.
type provider struct {
	person Person
	err    error
}

func (p provider) Begin(w http.ResponseWriter, r *http.Request) error {
	http.Redirect(w, r, "https://idp.example/authorize", http.StatusSeeOther)
	return nil
}
func (p provider) Finish(http.ResponseWriter, *http.Request) (Person, error) { return p.person, p.err }

func TestSignInThroughAProvider(t *testing.T) {
	s := newSite(t, Options{SignIn: provider{person: Person{Subject: "248289761001", Name: "Ada <b>"}}, PublicURL: "https://keyway-admin.example"}, false)
	there := []string{"Host: keyway-admin.example", "Peer: 10.0.0.2:1"}
	s.ask("GET", "/", "", there...).want(t, 303)
	s.ask("GET", "/console/sign-in", "", there...).want(t, 200, `href="/console/begin"`)
	if a := s.ask("GET", "/console/begin", "", there...); a.Header.Get("Location") != "https://idp.example/authorize" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
	// From the provider's site: a redirect would come without the Strict cookie.
	a := s.ask("GET", "/console/callback?code=c&state=s", "", append(there, "Sec-Fetch-Site: cross-site")...)
	a.want(t, 200, `http-equiv="refresh" content="0;url=/"`)
	cookie := "Cookie: " + a.Cookies()[0].Name + "=" + a.Cookies()[0].Value
	s.ask("GET", "/", "", append(there, cookie)...).want(t, 200, "Ada &lt;b&gt;")
	s.ask("POST", "/admin/v1/rotations", all, append(there, cookie)...).want(t, 202)
	if asked := s.control.(*fake).started(); len(asked) != 1 || asked[0].By != "console, Ada <b> (248289761001)" {
		t.Errorf("asked: %+v", asked)
	}

	t.Run("begun by another page", func(t *testing.T) {
		threat.Covers(t, 29)
		for site, to := range map[string]string{
			"same-origin": "https://idp.example/authorize", "none": "https://idp.example/authorize",
			"cross-site": "/console/sign-in", "same-site": "/console/sign-in",
		} {
			a := s.ask("GET", "/console/begin", "", append(there, "Sec-Fetch-Site: "+site, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")...)
			if a.StatusCode != 303 || a.Header.Get("Location") != to {
				t.Errorf("%s: %d, to %s", site, a.StatusCode, a.Header.Get("Location"))
			}
		}
	})
	t.Run("without the role", func(t *testing.T) {
		s := newSite(t, Options{SignIn: provider{err: &ForbiddenError{"grace lacks the role <admin>", "Ask for it."}}}, true)
		a := s.ask("GET", "/console/callback?code=c", "")
		a.want(t, 403, "grace lacks the role &lt;admin&gt;", "Ask for it.")
		if len(a.Cookies()) > 0 || len(s.recorded) != 1 || s.recorded[0].Type != "admin.refused" {
			t.Errorf("%v, recorded %+v", a.Cookies(), s.recorded)
		}
	})
	t.Run("the provider says no", func(t *testing.T) {
		s := newSite(t, Options{SignIn: provider{err: &SignInError{problem.New(problem.LoginDenied, errors.New("access_denied"))}}}, true)
		s.ask("GET", "/console/callback?error=access_denied", "").want(t, 403, "access_denied", "Sign in again.")
		s = newSite(t, Options{SignIn: provider{err: &SignInError{errors.New("not ours")}}}, true)
		s.ask("GET", "/console/callback?state=x", "").want(t, 400, "not ours")
	})
	t.Run("something else", func(t *testing.T) {
		s := newSite(t, Options{SignIn: provider{err: errors.New("the provider is away")}}, true)
		s.ask("GET", "/console/callback?code=c", "").want(t, 503, "the provider is away")
	})
}

// Pages and scripts are ours alone: nothing is loaded from elsewhere, and nothing in
// a document runs.
func TestAssetsAreOurs(t *testing.T) {
	s := newSite(t, Options{Loopback: true, SignIn: nil}, false)
	for name := range console.Assets() {
		a := s.ask("GET", "/console/static/"+url.PathEscape(name), "")
		if strings.Contains(name, "/") {
			a = s.ask("GET", "/console/static/"+name, "")
		}
		if a.StatusCode != 200 || a.Header.Get("Content-Type") == "" {
			t.Errorf("%s: %d", name, a.StatusCode)
		}
		if strings.HasPrefix(name, "vendor/") {
			continue
		}
		for _, bad := range []string{"innerHTML", "outerHTML =", "insertAdjacent", "document.write", "eval(", "new Function", "://cdn", "@import"} {
			if strings.Contains(a.text, bad) {
				t.Errorf("%s has %s", name, bad)
			}
		}
	}
	for _, path := range []string{"/", "/console/sign-in"} {
		text := s.ask("GET", path, "").text
		for _, bad := range []string{"<style", " style=", "onclick", "http://", "https://", "javascript:", "<script>"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %s", path, bad)
			}
		}
	}
	var out strings.Builder
	if err := console.Refused(&out, console.Refusal{Title: "<i>", Detail: "<script>", Cure: "&"}); err != nil || strings.Contains(out.String(), "<script>") {
		t.Errorf("%v: %s", err, out.String())
	}
	_ = console.GoOn(io.Discard)
}
