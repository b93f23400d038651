package oidc_test

import (
	"errors"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/threat"
)

func TestSignInWithPAR(t *testing.T) {
	threat.Covers(t, 1)
	w := newWorld(t)
	for range 2 {
		start := time.Now().Truncate(time.Millisecond)
		grant := w.mustSignIn(t)
		if began := grant.BegunAt; began.Before(start) || began.After(time.Now()) {
			t.Errorf("begun %v after the start", began.Sub(start))
		}
		if grant.Claims.Subject != "u-ada-1815" || grant.ReturnTo != "/after" || grant.UserInfo["email"] != "ada@example.test" {
			t.Errorf("got %+v, user info %v", grant.Claims, grant.UserInfo)
		}
		if grant.Tokens.AccessToken.IsZero() || grant.Tokens.RefreshToken.IsZero() || grant.Tokens.IDToken.IsZero() || grant.Tokens.Expiry.Before(time.Now()) {
			t.Errorf("tokens: %+v", grant.Tokens)
		}
	}
	for _, seen := range w.idp.Seen(idp.EndpointAuthorize) {
		if len(seen.Query) != 2 || seen.Query.Get("client_id") != clientID || seen.Query.Get("request_uri") == "" {
			t.Errorf("front channel: %v, want client_id and request_uri only", seen.Query)
		}
	}
	pushed := w.idp.Seen(idp.EndpointPAR)
	if len(pushed) != 2 {
		t.Fatalf("pushed %d requests", len(pushed))
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if one, two := pushed[0].Form.Get(name), pushed[1].Form.Get(name); one == "" || one == two {
			t.Errorf("%s: %q, then %q; want fresh ones", name, one, two)
		}
	}
	for _, seen := range pushed {
		if seen.Form.Get("code_challenge_method") != "S256" || seen.Form.Get("response_type") != "code" {
			t.Errorf("pushed %v", seen.Form)
		}
	}
}

func TestSignInWithoutPAR(t *testing.T) {
	threat.Covers(t, 1)
	w := newWorld(t, func(s *setup) { s.idp.DisablePAR = true })
	w.mustSignIn(t)
	seen := w.idp.Seen(idp.EndpointAuthorize)[0].Query
	if seen.Get("code_challenge_method") != "S256" || len(seen.Get("code_challenge")) != 43 || seen.Get("nonce") == "" || seen.Get("state") == "" {
		t.Errorf("front channel: %v", seen)
	}
	// S256 goes out even if the metadata does not list it.
	w = newWorld(t, func(s *setup) { s.idp.DisablePAR = true },
		hooks(idp.Hooks{Discovery: func(doc map[string]any) { delete(doc, "code_challenge_methods_supported") }}))
	w.mustSignIn(t)
	if seen := w.idp.Seen(idp.EndpointAuthorize)[0].Query; seen.Get("code_challenge_method") != "S256" {
		t.Errorf("front channel: %v", seen)
	}
}

func TestLoginCookie(t *testing.T) {
	w := newWorld(t)
	b := newBrowser()
	s := w.begin(t, b, oidc.SignInRequest{ReturnTo: "/" + strings.Repeat("a", 1000)})
	line := s.Cookie.String()
	if !strings.HasPrefix(line, "__Host-bff_login_") || len(line) > 4096 {
		t.Errorf("%d bytes: %s", len(line), line)
	}
	for _, want := range []string{"; Path=/", "; HttpOnly", "; Secure", "; SameSite=Lax", "; Max-Age=600"} {
		if !strings.Contains(line, want) {
			t.Errorf("%s lacks %s", line, want)
		}
	}
	if strings.Contains(line, "Domain") {
		t.Error("a __Host- cookie has no Domain")
	}
	removal := w.rp.Cookies().Clear(s.Cookie.Name).String()
	if !strings.Contains(removal, "Max-Age=0") || !strings.Contains(removal, "Secure") || !strings.Contains(removal, "Path=/") {
		t.Errorf("removal: %s", removal)
	}
}

func TestDiscoveryMismatchStartsNoFlow(t *testing.T) {
	threat.Covers(t, 9)
	for name, issuer := range map[string]func(string) any{
		"another":        func(string) any { return "https://evil.example" },
		"trailing slash": func(s string) any { return s + "/" },
		"case":           func(s string) any { return strings.ToUpper(s) },
		"missing":        func(string) any { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.idp.SetHooks(&idp.Hooks{Discovery: func(doc map[string]any) { doc["issuer"] = issuer(w.idp.URL) }})
			err := w.provider.Load(t.Context())
			wantError(t, err, oidc.ErrIssuerMismatch)
			if errors.Is(err, oidc.ErrUnavailable) {
				t.Error("a mismatch looks like an outage, so a start would go on")
			}
			_, err = w.rp.Begin(t.Context(), oidc.SignInRequest{RedirectURI: callback})
			wantError(t, err, oidc.ErrIssuerMismatch)
			if w.calls(idp.EndpointPAR)+w.calls(idp.EndpointAuthorize) != 0 {
				t.Error("a flow was started")
			}
		})
	}
}

func TestLoginFloodCostsNothing(t *testing.T) {
	threat.Covers(t, 12)
	w := newWorld(t, func(s *setup) { s.idp.DisablePAR = true })
	b := newBrowser()
	prior := w.begin(t, b, oidc.SignInRequest{ReturnTo: "/prior"})
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	// 20,000 rather than 100,000: half a minute under the race detector proves no
	// more, since a keeper of even 50 bytes for each shows here.
	for range 20_000 {
		if _, err := w.rp.Begin(t.Context(), oidc.SignInRequest{ReturnTo: "/x", RedirectURI: callback}); err != nil {
			t.Fatal(err)
		}
	}
	if after := heap(); after > before+1<<20 {
		t.Errorf("20,000 sign-ins keep %d kB", (after-before)>>10)
	}
	if len(w.once.claims) != 0 {
		t.Errorf("the store was asked %d times", len(w.once.claims))
	}
	grant, err := w.finish(t, b, w.visit(t, b, prior))
	if err != nil || grant.ReturnTo != "/prior" {
		t.Errorf("the sign-in begun before the flood: %v", err)
	}
}

func TestParallelTabs(t *testing.T) {
	threat.Covers(t, 14)
	w := newWorld(t)
	b := newBrowser()
	one := w.begin(t, b, oidc.SignInRequest{ReturnTo: "/one"})
	two := w.begin(t, b, oidc.SignInRequest{ReturnTo: "/two"})
	queryTwo := w.visit(t, b, two)
	queryOne := w.visit(t, b, one)
	for query, want := range map[string]string{queryOne: "/one", queryTwo: "/two"} {
		if grant, err := w.finish(t, b, query); err != nil || grant.ReturnTo != want {
			t.Errorf("got %q, %v, want %s", grant.ReturnTo, err, want)
		}
	}
	if len(b.ours) != 0 {
		t.Errorf("cookies left: %d", len(b.ours))
	}
}

func TestFewLoginCookiesPerBrowser(t *testing.T) {
	threat.Covers(t, 12, 14)
	policy := oidc.CookiePolicy{Secure: true}
	now := time.Unix(0x70000000, 0)
	names := []string{
		"bff_session", "__Host-bff_login_zz", "bff_login_6fffffff00000001",
		"__Host-bff_login_6fffff0000000001", // 255 s ago
		"__Host-bff_login_6fffff1000000001", "__Host-bff_login_6fffff2000000001",
		"__Host-bff_login_6fffff3000000001", "__Host-bff_login_6fffff4000000001", "__Host-bff_login_6fffff5000000001",
		"__Host-bff_login_6ffff00000000001", // over an hour ago
	}
	got := policy.Surplus(names, now)
	slices.Sort(got)
	want := []string{"__Host-bff_login_6ffff00000000001", "__Host-bff_login_6fffff0000000001", "__Host-bff_login_6fffff1000000001"}
	if !slices.Equal(got, want) {
		t.Errorf("to clear: %v, want the one that is over and the two oldest", got)
	}
}

func TestParameterInjection(t *testing.T) {
	threat.Covers(t, 16)
	for _, par := range []bool{true, false} {
		w := newWorld(t, func(s *setup) {
			s.idp.DisablePAR = !par
			s.rp.AllowedParams = []string{"login_hint"}
		})
		s := w.begin(t, newBrowser(), oidc.SignInRequest{Params: url.Values{
			"scope": {"openid admin"}, "acr_values": {"0"}, "redirect_uri": {"https://evil.example/"}, "state": {"x"}, "nonce": {"x"},
			"code_challenge": {"x"}, "client_id": {"other"}, "request": {"x"}, "prompt": {"none"}, "login_hint": {"ada"},
			"response_mode": {"fragment"}, "return_to": {"/x"},
		}})
		sent := mustQuery(t, s.URL[strings.IndexByte(s.URL, '?')+1:])
		if par {
			sent = w.idp.Seen(idp.EndpointPAR)[0].Form
		}
		if sent.Get("scope") != "openid profile email" || sent.Get("redirect_uri") != callback || sent.Get("client_id") != clientID ||
			sent.Has("acr_values") || sent.Has("prompt") || sent.Has("request") || sent.Has("response_mode") || sent.Get("state") == "x" || sent.Get("nonce") == "x" {
			t.Errorf("sent %v", sent)
		}
		if sent.Get("login_hint") != "ada" {
			t.Errorf("login_hint is allowed, and was not sent: %v", sent)
		}
		for name, values := range sent {
			if len(values) != 1 {
				t.Errorf("%s is sent %d times", name, len(values))
			}
		}
	}
	for _, name := range []string{"scope", "redirect_uri", "code_challenge_method", "request_uri"} {
		if _, err := oidc.New(oidc.Options{Provider: &oidc.Provider{}, Client: &oidc.Client{}, OneTime: &once{}, AllowedParams: []string{name}}); err == nil {
			t.Errorf("%s could be left to strangers", name)
		}
	}
}

func TestPARFailuresEndCleanly(t *testing.T) {
	threat.Covers(t, 17)
	answer := func(status int, body string) func(*http.Request, *idp.Answer) {
		return func(_ *http.Request, a *idp.Answer) { a.Status, a.Body = status, []byte(body) }
	}
	for name, c := range map[string]struct {
		par  func(*http.Request, *idp.Answer)
		kind error
	}{
		"500":               {answer(500, "oops"), oidc.ErrUnavailable},
		"503":               {answer(503, `{}`), oidc.ErrUnavailable},
		"429":               {answer(429, `{}`), oidc.ErrUnavailable},
		"400":               {answer(400, `{"error":"invalid_request","error_description":"no"}`), oidc.ErrRefused},
		"redirect":          {func(_ *http.Request, a *idp.Answer) { a.Status = 307; a.Header.Set("Location", "/elsewhere") }, oidc.ErrAnswer},
		"not JSON":          {answer(201, `<html>`), oidc.ErrAnswer},
		"no request_uri":    {answer(201, `{"expires_in":60}`), oidc.ErrAnswer},
		"huge":              {answer(201, `{"request_uri":"urn:x","a":"`+strings.Repeat("a", 1<<20)+`"}`), oidc.ErrAnswer},
		"204":               {answer(204, ``), oidc.ErrAnswer},
		"takes for ever":    {func(_ *http.Request, a *idp.Answer) { a.Delay = time.Minute }, oidc.ErrUnavailable},
		"request_uri twice": {answer(201, `{"request_uri":"urn:x","request_uri":"urn:y"}`), oidc.ErrAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, hooks(idp.Hooks{PAR: c.par}), func(s *setup) { s.us.Timeout = 300 * time.Millisecond })
			s, err := w.rp.Begin(t.Context(), oidc.SignInRequest{RedirectURI: callback})
			wantError(t, err, c.kind)
			if s.URL != "" || s.Cookie != nil {
				t.Errorf("a request goes out all the same: %s", s.URL)
			}
			if problem.CodeOf(err).Status() < 500 {
				t.Errorf("code %s", problem.CodeOf(err))
			}
		})
	}
	t.Run("expired request_uri", func(t *testing.T) {
		w := newWorld(t)
		b := newBrowser()
		query := w.visit(t, b, w.begin(t, b, oidc.SignInRequest{}))
		query = change(t, change(t, query, "code"), "error", "invalid_request_uri")
		_, err := w.finish(t, b, query)
		wantError(t, err, oidc.ErrRefused)
		if problem.CodeOf(err) != problem.LoginFailed {
			t.Errorf("code %s", problem.CodeOf(err))
		}
	})
	t.Run("required and not offered", func(t *testing.T) {
		w := newWorld(t, func(s *setup) { s.idp.DisablePAR = true; s.rp.PAR = oidc.PARRequired })
		_, err := w.rp.Begin(t.Context(), oidc.SignInRequest{RedirectURI: callback})
		wantError(t, err, oidc.ErrNotOffered)
	})
	t.Run("switched off, and demanded by the IdP", func(t *testing.T) {
		w := newWorld(t, func(s *setup) { s.idp.RequirePAR = true; s.rp.PAR = oidc.PAROff })
		w.mustSignIn(t)
	})
}
