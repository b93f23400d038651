package idp_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/demo/idp"
)

// What cannot be trusted gets a page, never a redirect: otherwise the provider
// would be an open redirector (RFC 9700, 4.11).
func TestAuthorizeNeverRedirects(t *testing.T) {
	r := start(t, idp.Options{})
	for name, change := range map[string]func(url.Values){
		"unknown client":      func(v url.Values) { v.Set("client_id", "stranger") },
		"no client":           func(v url.Values) { v.Del("client_id") },
		"two clients":         func(v url.Values) { v.Add("client_id", "web") },
		"no redirect_uri":     func(v url.Values) { v.Del("redirect_uri") },
		"other redirect_uri":  func(v url.Values) { v.Set("redirect_uri", "http://127.0.0.1:9/other") },
		"longer redirect_uri": func(v url.Values) { v.Set("redirect_uri", callback+"/") },
		"redirect_uri query":  func(v url.Values) { v.Set("redirect_uri", callback+"?x=1") },
		"redirect_uri case":   func(v url.Values) { v.Set("redirect_uri", "http://127.0.0.1:9/Callback") },
		"redirect_uri user":   func(v url.Values) { v.Set("redirect_uri", "http://127.0.0.1:9@evil.test/callback") },
		"two redirect_uri":    func(v url.Values) { v.Add("redirect_uri", "http://evil.test/") },
		"two state":           func(v url.Values) { v.Add("state", "x") },
		"foreign request_uri": func(v url.Values) { v.Set("request_uri", "https://evil.test/request") },
		"unsigned request": func(v url.Values) {
			for name := range v {
				if name != "client_id" {
					v.Del(name)
				}
			}
			v.Set("request", "e30.e30.")
		},
		"request beside others": func(v url.Values) { v.Set("request", "e30.e30.") },
		"made-up request_uri":   func(v url.Values) { v.Set("request_uri", "urn:ietf:params:oauth:request_uri:x") },
	} {
		t.Run(name, func(t *testing.T) {
			v, _ := r.request(change)
			w := direct(r.s, "GET", "/authorize?"+v.Encode(), "")
			if w.Code != http.StatusBadRequest || w.Header().Get("Location") != "" {
				t.Errorf("want a page with 400, found %d to %q", w.Code, w.Header().Get("Location"))
			}
			if strings.Contains(w.Body.String(), "<form") {
				t.Error("want no form")
			}
		})
	}
}

// Other faults go back to the client, with state and iss.
func TestAuthorizeErrors(t *testing.T) {
	r := start(t, idp.Options{})
	for name, tt := range map[string]struct {
		change func(url.Values)
		want   string
	}{
		"no PKCE":       {func(v url.Values) { v.Del("code_challenge") }, "invalid_request"},
		"plain PKCE":    {func(v url.Values) { v.Set("code_challenge_method", "plain") }, "invalid_request"},
		"no method":     {func(v url.Values) { v.Del("code_challenge_method") }, "invalid_request"},
		"short PKCE":    {func(v url.Values) { v.Set("code_challenge", "abc") }, "invalid_request"},
		"implicit":      {func(v url.Values) { v.Set("response_type", "id_token") }, "unsupported_response_type"},
		"hybrid":        {func(v url.Values) { v.Set("response_type", "code id_token") }, "unsupported_response_type"},
		"no type":       {func(v url.Values) { v.Del("response_type") }, "invalid_request"},
		"fragment":      {func(v url.Values) { v.Set("response_mode", "fragment") }, "invalid_request"},
		"none of scope": {func(v url.Values) { v.Set("scope", "root") }, "invalid_scope"},
		"two nonces":    {func(v url.Values) { v.Add("nonce", "x") }, "invalid_request"},
		"none login":    {func(v url.Values) { v.Set("prompt", "none login") }, "invalid_request"},
		"nobody there":  {func(v url.Values) { v.Set("prompt", "none") }, "login_required"},
		"max_age":       {func(v url.Values) { v.Set("max_age", "-1") }, "invalid_request"},
		"hint":          {func(v url.Values) { v.Set("id_token_hint", "junk") }, "invalid_request"},
		"resource":      {func(v url.Values) { v.Set("resource", "https://evil.test") }, "invalid_target"},
	} {
		t.Run(name, func(t *testing.T) {
			v, _ := r.request(tt.change)
			w := direct(r.s, "GET", "/authorize?"+v.Encode(), "")
			to, err := url.Parse(w.Header().Get("Location"))
			if err != nil || !strings.HasPrefix(to.String(), callback+"?") {
				t.Fatalf("want a redirect to the callback, found %d %q", w.Code, to)
			}
			q := to.Query()
			if q.Get("error") != tt.want || q.Get("state") != v.Get("state") || q.Get("iss") != r.s.URL || q.Has("code") {
				t.Errorf("want %s with state and iss, found %v", tt.want, q)
			}
		})
	}
}

// Every fault of an authorization request is found when it is pushed.
func TestPARErrors(t *testing.T) {
	r := start(t, idp.Options{})
	for name, tt := range map[string]struct {
		change func(url.Values)
		want   string
	}{
		"redirect_uri": {func(v url.Values) { v.Set("redirect_uri", "http://evil.test/") }, "invalid_request"},
		"no PKCE":      {func(v url.Values) { v.Del("code_challenge") }, "invalid_request"},
		"request_uri":  {func(v url.Values) { v.Set("request_uri", "urn:x") }, "invalid_request"},
		"other client": {func(v url.Values) { v.Set("client_id", "other") }, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			v, _ := r.request(tt.change)
			wantError(t, r.post("/par", v), http.StatusBadRequest, tt.want)
		})
	}
	t.Run("unauthenticated", func(t *testing.T) {
		v, _ := r.request(nil)
		wantError(t, r.send("/par", v), http.StatusUnauthorized, "invalid_client")
	})
}

// A request_uri works once, for the client that pushed it, and what stands
// beside it does not count.
func TestRequestURI(t *testing.T) {
	other := web()
	other.ID = "other"
	r := start(t, idp.Options{Clients: []idp.Client{web(), other}})
	v, _ := r.request(nil)
	address, err := url.Parse(r.push(v))
	if err != nil {
		t.Fatal(err)
	}
	q := address.Query()
	q.Set("client_id", "other")
	if page := r.get(r.authorizeURL(q)); page.Status != http.StatusBadRequest {
		t.Errorf("another client: want 400, found %d", page.Status)
	}
	q.Set("client_id", "web")
	q.Set("redirect_uri", "http://evil.test/")
	q.Set("state", "evil")
	if back := r.signIn(r.authorizeURL(q)); back.Get("state") != v.Get("state") {
		t.Errorf("want the pushed state, found %v", back)
	}
	if page := r.get(r.authorizeURL(q)); page.Status != http.StatusBadRequest {
		t.Errorf("second use: want 400, found %d", page.Status)
	}
}

func TestRequirePAR(t *testing.T) {
	r := start(t, idp.Options{RequirePAR: true})
	v, _ := r.request(nil)
	if page := r.get(r.authorizeURL(v)); page.Next == nil || page.Next.Query().Get("error") != "invalid_request" {
		t.Errorf("plain request: want invalid_request, found %v", page.Next)
	}
	if back := r.signIn(r.push(v)); back.Get("code") == "" {
		t.Errorf("pushed request: want a code, found %v", back)
	}
}

func TestDisablePAR(t *testing.T) {
	r := start(t, idp.Options{DisablePAR: true})
	if w := direct(r.s, "GET", "/.well-known/openid-configuration", ""); strings.Contains(w.Body.String(), "pushed") {
		t.Error("the metadata offers PAR")
	}
	v, _ := r.request(nil)
	if a := r.post("/par", v); a.status != http.StatusNotFound {
		t.Errorf("want 404, found %d", a.status)
	}
}

// A flood of pushed requests is refused at the bound, and costs nobody who came
// before a sign-in.
func TestPARFlood(t *testing.T) {
	r := start(t, idp.Options{MaxEntries: 3})
	v, _ := r.request(nil)
	first := r.push(v)
	flood, _ := r.request(nil)
	r.push(flood)
	r.push(flood)
	wantError(t, r.post("/par", flood), http.StatusTooManyRequests, "temporarily_unavailable")
	if back := r.signIn(first); back.Get("code") == "" {
		t.Errorf("want a code, found %v", back)
	}
}

// A browser that is signed in is not asked again, unless the request says so.
func TestSingleSignOn(t *testing.T) {
	var clock clock
	r := start(t, idp.Options{Now: clock.now})
	tokens := r.tokens(nil)
	_, first := r.claims(tokens.str("id_token"))
	asks := func(change func(url.Values)) bool {
		t.Helper()
		v, _ := r.request(change)
		return r.get(r.authorizeURL(v)).Next == nil
	}
	if asks(nil) || asks(func(v url.Values) { v.Set("prompt", "none") }) || asks(func(v url.Values) { v.Set("max_age", "60") }) {
		t.Error("signed in: want no page")
	}
	if !asks(func(v url.Values) { v.Set("prompt", "login") }) || !asks(func(v url.Values) { v.Set("max_age", "0") }) {
		t.Error("prompt=login and max_age=0: want the page")
	}
	if asks(func(v url.Values) { v.Set("id_token_hint", tokens.str("id_token")) }) {
		t.Error("hint at the same user: want no page")
	}
	clock.add(2 * time.Minute)
	if !asks(func(v url.Values) { v.Set("max_age", "60") }) {
		t.Error("max_age passed: want the page")
	}
	v, _ := r.request(func(v url.Values) { v.Set("max_age", "60"); v.Set("prompt", "none") })
	if page := r.get(r.authorizeURL(v)); page.Next == nil || page.Next.Query().Get("error") != "login_required" {
		t.Errorf("max_age passed with prompt=none: want login_required, found %v", page.Next)
	}
	_, again := r.claims(r.tokens(func(v url.Values) { v.Set("prompt", "login") }).str("id_token"))
	if again["sid"] != first["sid"] || again["auth_time"].(float64) != first["auth_time"].(float64)+120 {
		t.Errorf("signed in again: want the same sid and a later auth_time, found %v after %v", again, first)
	}
	clock.add(9 * time.Hour)
	if !asks(nil) {
		t.Error("session expired: want the page")
	}
}

func TestFormPost(t *testing.T) {
	r := start(t, idp.Options{})
	v, verifier := r.request(func(v url.Values) { v.Set("response_mode", "form_post"); v.Set("state", `"><b>&`) })
	page, err := r.browser.SignIn(t.Context(), r.authorizeURL(v), "ada", "demo")
	if err != nil {
		t.Fatal(err)
	}
	form, err := page.Form()
	if err != nil {
		t.Fatal(err)
	}
	if form.Action != callback || form.Method != http.MethodPost || form.Fields.Get("state") != v.Get("state") ||
		form.Fields.Get("iss") != r.s.URL {
		t.Fatalf("want a form for the callback, found %+v", form)
	}
	if a := r.redeem(form.Fields.Get("code"), verifier); a.status != http.StatusOK {
		t.Errorf("want tokens, found %v", a.body)
	}
	csp := page.Header.Get("Content-Security-Policy")
	if !strings.Contains(csp, "script-src 'sha256-") || !strings.Contains(csp, "form-action 'self' http://127.0.0.1:9") {
		t.Errorf("CSP: found %s", csp)
	}
}

// Pushed requests, codes and sign-in pages end by themselves.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := idp.New(idp.Options{Issuer: "http://idp.test", Clients: []idp.Client{web()}})
		if err != nil {
			t.Fatal(err)
		}
		r := &rp{t: t, id: "web"}
		v, _ := r.request(nil)
		w := direct(p, "GET", "/authorize?"+v.Encode(), "")
		page := w.Header().Get("Location")
		request := func() int {
			req := httptestRequest(page)
			for _, c := range w.Result().Cookies() {
				req.AddCookie(c)
			}
			return serve(p, req).Code
		}
		if code := request(); code != http.StatusOK {
			t.Fatalf("sign-in page: want 200, found %d", code)
		}
		time.Sleep(10*time.Minute - time.Second)
		if code := request(); code != http.StatusOK {
			t.Errorf("just before its end: want 200, found %d", code)
		}
		time.Sleep(time.Second)
		if code := request(); code != http.StatusBadRequest {
			t.Errorf("after its end: want 400, found %d", code)
		}
	})
}
