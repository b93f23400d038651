package oidc_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
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
		grant := w.mustSignIn(t)
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

func TestState(t *testing.T) {
	threat.Covers(t, 2)
	w := newWorld(t)
	begin := func() (*browser, string) {
		b := newBrowser()
		return b, w.visit(t, b, w.begin(t, b, oidc.SignInRequest{}))
	}
	other, otherQuery := begin()
	otherState := mustQuery(t, otherQuery).Get("state")
	for name, c := range map[string]func(b *browser, query string) (*browser, string){
		"missing": func(b *browser, q string) (*browser, string) { return b, change(t, q, "state") },
		"empty":   func(b *browser, q string) (*browser, string) { return b, change(t, q, "state", "") },
		"made up": func(b *browser, q string) (*browser, string) { return b, change(t, q, "state", "a.AAAA") },
		"one bit changed": func(b *browser, q string) (*browser, string) {
			return b, change(t, q, "state", flip(mustQuery(t, q).Get("state")))
		},
		"of another tab":    func(b *browser, q string) (*browser, string) { return b, change(t, q, "state", otherState) },
		"other browser's":   func(_ *browser, q string) (*browser, string) { return other, q },
		"no cookies at all": func(_ *browser, q string) (*browser, string) { return newBrowser(), q },
		"cookie of another sign-in under this name": func(b *browser, q string) (*browser, string) {
			for name := range b.ours {
				for _, value := range other.ours {
					b.ours[name] = value
				}
			}
			return b, q
		},
		"cookie changed": func(b *browser, q string) (*browser, string) {
			for name, value := range b.ours {
				b.ours[name] = flip(value)
			}
			return b, q
		},
		"state and cookie exchanged": func(b *browser, q string) (*browser, string) {
			for name, value := range b.ours {
				b.ours[name] = mustQuery(t, q).Get("state")
				q = change(t, q, "state", value)
			}
			return b, q
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, query := begin()
			before := w.calls(idp.EndpointToken)
			b, query = c(b, query)
			_, err := w.finish(t, b, query)
			wantError(t, err, oidc.ErrState)
			if problem.CodeOf(err).Status() != 400 {
				t.Errorf("code %s", problem.CodeOf(err))
			}
			if got := w.calls(idp.EndpointToken); got != before {
				t.Error("the token endpoint was called")
			}
		})
	}
	t.Run("replayed", func(t *testing.T) {
		b, query := begin()
		kept := map[string]string{}
		for name, value := range b.ours {
			kept[name] = value
		}
		if _, err := w.finish(t, b, query); err != nil {
			t.Fatal(err)
		}
		before := w.calls(idp.EndpointToken)
		_, err := w.finish(t, b, query)
		wantError(t, err, oidc.ErrState)
		b.ours = kept // who kept the cookie too
		_, err = w.finish(t, b, query)
		wantError(t, err, oidc.ErrAlreadyUsed)
		if problem.CodeOf(err).Status() != 400 || w.calls(idp.EndpointToken) != before {
			t.Errorf("code %s, %d token calls more", problem.CodeOf(err), w.calls(idp.EndpointToken)-before)
		}
	})
}

// flip changes a character in the middle, of the ciphertext.
func flip(s string) string {
	b := []byte(s)
	i := len(b) / 2
	b[i] = map[bool]byte{true: 'B', false: 'A'}[b[i] == 'A']
	return string(b)
}

func mustQuery(t testing.TB, raw string) url.Values {
	t.Helper()
	q, err := url.ParseQuery(raw)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestIssuerOfTheResponse(t *testing.T) {
	threat.Covers(t, 3)
	for name, values := range map[string][]string{
		"missing though advertised": nil,
		"empty":                     {""},
		"wrong":                     {"https://evil.example"},
		"trailing slash":            {"SLASH"},
		"case":                      {"UPPER"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for i, value := range values {
				values[i] = strings.NewReplacer("SLASH", w.idp.URL+"/", "UPPER", strings.ToUpper(w.idp.URL)).Replace(value)
			}
			for _, outcome := range []string{"code", "error"} {
				b := newBrowser()
				query := change(t, w.visit(t, b, w.begin(t, b, oidc.SignInRequest{})), "iss", values...)
				if outcome == "error" { // an error of a stranger is no error of the IdP
					query = change(t, change(t, query, "code"), "error", "access_denied")
				}
				_, err := w.finish(t, b, query)
				wantError(t, err, oidc.ErrIssuer)
			}
			if w.calls(idp.EndpointToken) != 0 {
				t.Error("the token endpoint was called")
			}
		})
	}
	t.Run("missing, not advertised", func(t *testing.T) {
		w := newWorld(t, hooks(idp.Hooks{
			Discovery:     func(doc map[string]any) { delete(doc, "authorization_response_iss_parameter_supported") },
			Authorization: func(v url.Values) { v.Del("iss") },
		}))
		w.mustSignIn(t)
	})
}

func TestDuplicateParameters(t *testing.T) {
	threat.Covers(t, 4)
	w := newWorld(t)
	for _, name := range []string{"code", "state", "iss", "error", "anything"} {
		t.Run(name, func(t *testing.T) {
			b := newBrowser()
			query := w.visit(t, b, w.begin(t, b, oidc.SignInRequest{}))
			value := mustQuery(t, query).Get(name)
			if value == "" {
				query += "&" + name + "=x"
			}
			for _, again := range []string{name + "=" + url.QueryEscape(value), name + "=other", name, "%" + "63ode=x&c%6Fde=y"} {
				_, err := w.rp.Finish(t.Context(), oidc.CallbackRequest{Params: query + "&" + again, Cookie: b.cookie})
				wantError(t, err, oidc.ErrParameters)
				if problem.CodeOf(err).Status() != 400 {
					t.Errorf("%s: code %s", again, problem.CodeOf(err))
				}
			}
		})
	}
	for name, params := range map[string]string{
		"semicolon":  "code=a;state=b",
		"bad escape": "code=%zz",
		"too many": strings.Repeat("a=1&", 1) + func() string {
			s := ""
			for i := range 60 {
				s += "p" + string(rune('A'+i)) + "=1&"
			}
			return s
		}(),
		"too long": "code=" + strings.Repeat("a", 20<<10),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.rp.Finish(t.Context(), oidc.CallbackRequest{Params: params, Cookie: newBrowser().cookie})
			wantError(t, err, oidc.ErrParameters)
		})
	}
	if w.calls(idp.EndpointToken) != 0 {
		t.Error("the token endpoint was called")
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

func TestCallbackTwiceConcurrently(t *testing.T) {
	threat.Covers(t, 11)
	w := newWorld(t)
	b := newBrowser()
	query := w.visit(t, b, w.begin(t, b, oidc.SignInRequest{ReturnTo: "/notes"}))
	var wg sync.WaitGroup
	var mu sync.Mutex
	var done, used int
	for range 2 {
		wg.Go(func() {
			grant, err := w.rp.Finish(t.Context(), oidc.CallbackRequest{Params: query, Cookie: b.cookie})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				done++
			case errors.Is(err, oidc.ErrAlreadyUsed) && grant.ReturnTo == "/notes":
				used++
			default:
				t.Errorf("got %v, return to %q", err, grant.ReturnTo)
			}
		})
	}
	wg.Wait()
	if done != 1 || used != 1 || w.calls(idp.EndpointToken) != 1 {
		t.Errorf("%d finished, %d told that it was used, %d token calls; want one each", done, used, w.calls(idp.EndpointToken))
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

func TestDenied(t *testing.T) {
	w := newWorld(t)
	for code, c := range map[string]struct {
		kind error
		code problem.Code
	}{
		"access_denied":           {oidc.ErrDenied, problem.LoginDenied},
		"login_required":          {oidc.ErrRefused, problem.LoginFailed},
		"temporarily_unavailable": {oidc.ErrUnavailable, problem.IdPUnavailable},
		"x\r\nSet-Cookie: a=b":    {oidc.ErrRefused, problem.LoginFailed},
	} {
		b := newBrowser()
		query := change(t, change(t, w.visit(t, b, w.begin(t, b, oidc.SignInRequest{})), "code"), "error", code)
		_, err := w.finish(t, b, change(t, query, "error_description", strings.Repeat("\x00<script>", 100)))
		wantError(t, err, c.kind)
		if problem.CodeOf(err) != c.code || len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\r\n\x00") {
			t.Errorf("%q: code %s, error of %d bytes", code, problem.CodeOf(err), len(err.Error()))
		}
	}
}

func TestStoreAwayLeavesTheSignInUsable(t *testing.T) {
	w := newWorld(t)
	b := newBrowser()
	query := w.visit(t, b, w.begin(t, b, oidc.SignInRequest{}))
	w.once.fail(errors.New("connection refused"))
	grant, err := w.finish(t, b, query)
	wantError(t, err, oidc.ErrStore)
	if problem.CodeOf(err) != problem.StoreUnavailable || grant.Cookie != "" || w.calls(idp.EndpointToken) != 0 {
		t.Errorf("code %s, cookie to clear %q, %d token calls", problem.CodeOf(err), grant.Cookie, w.calls(idp.EndpointToken))
	}
	w.once.fail(nil)
	if _, err := w.finish(t, b, query); err != nil {
		t.Errorf("tried again: %v", err)
	}
}

func TestCallbackAfterTheBrowserLeft(t *testing.T) {
	w := newWorld(t)
	b := newBrowser()
	query := w.visit(t, b, w.begin(t, b, oidc.SignInRequest{}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.rp.Finish(ctx, oidc.CallbackRequest{Params: query, Cookie: b.cookie})
	wantError(t, err, oidc.ErrUnavailable)
}
