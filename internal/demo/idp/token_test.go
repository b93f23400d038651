package idp_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/demo/idp"
)

// A code that comes twice ends what it gave (RFC 6749, 4.1.2).
func TestCodeReplay(t *testing.T) {
	r := start(t, idp.Options{})
	v, verifier := r.request(nil)
	code := r.signIn(r.authorizeURL(v)).Get("code")
	got := r.redeem(code, verifier)
	next := r.refresh(got.str("refresh_token"))
	if !r.active(next.str("access_token")) {
		t.Fatal("want an active token before the replay")
	}
	wantError(t, r.redeem(code, verifier), http.StatusBadRequest, "invalid_grant")
	for _, token := range []string{got.str("access_token"), next.str("access_token")} {
		if r.active(token) {
			t.Error("a token of the replayed code is still active")
		}
	}
	wantError(t, r.refresh(next.str("refresh_token")), http.StatusBadRequest, "invalid_grant")
}

// Of many who redeem one code at once, at most one gets tokens, and they do not
// last.
func TestCodeRace(t *testing.T) {
	r := start(t, idp.Options{})
	v, verifier := r.request(nil)
	code := r.signIn(r.authorizeURL(v)).Get("code")
	var won atomic.Int32
	var token atomic.Value
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if a := r.redeem(code, verifier); a.status == http.StatusOK {
				won.Add(1)
				token.Store(a.str("access_token"))
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("want one winner, found %d", won.Load())
	}
	if r.active(token.Load().(string)) {
		t.Error("the tokens outlived the replay")
	}
}

func TestCodeRefused(t *testing.T) {
	var clock clock
	other := web()
	other.ID = "other"
	for name, tt := range map[string]struct {
		redeem func(r *rp, code, verifier string) answer
		want   string
	}{
		"wrong verifier": {func(r *rp, code, _ string) answer { return r.redeem(code, "x") }, "invalid_grant"},
		"no verifier": {func(r *rp, code, _ string) answer {
			return r.post("/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}})
		}, "invalid_grant"},
		"wrong redirect_uri": {func(r *rp, code, verifier string) answer {
			return r.post("/token", url.Values{"grant_type": {"authorization_code"}, "code": {code},
				"redirect_uri": {goodbye}, "code_verifier": {verifier}})
		}, "invalid_grant"},
		"other client": {func(r *rp, code, verifier string) answer {
			r.id = "other"
			return r.redeem(code, verifier)
		}, "invalid_grant"},
		"made up": {func(r *rp, _, verifier string) answer { return r.redeem("made-up", verifier) }, "invalid_grant"},
		"none":    {func(r *rp, _, verifier string) answer { return r.redeem("", verifier) }, "invalid_request"},
		"late": {func(r *rp, code, verifier string) answer {
			clock.add(61 * time.Second)
			return r.redeem(code, verifier)
		}, "invalid_grant"},
		"resource": {func(r *rp, code, verifier string) answer {
			return r.post("/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback},
				"code_verifier": {verifier}, "resource": {"https://other.test"}})
		}, "invalid_target"},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, idp.Options{Clients: []idp.Client{web(), other}, Now: clock.now})
			v, verifier := r.request(nil)
			code := r.signIn(r.authorizeURL(v)).Get("code")
			wantError(t, tt.redeem(r, code, verifier), http.StatusBadRequest, tt.want)
		})
	}
}

// A second guess at the verifier is not had.
func TestOneGuess(t *testing.T) {
	r := start(t, idp.Options{})
	v, verifier := r.request(nil)
	code := r.signIn(r.authorizeURL(v)).Get("code")
	r.redeem(code, "wrong")
	wantError(t, r.redeem(code, verifier), http.StatusBadRequest, "invalid_grant")
}

func TestTokenRequestErrors(t *testing.T) {
	r := start(t, idp.Options{})
	wantError(t, r.post("/token", url.Values{}), 400, "invalid_request")
	wantError(t, r.post("/token", url.Values{"grant_type": {"password"}}), 400, "unsupported_grant_type")
	wantError(t, r.post("/token", url.Values{"grant_type": {"client_credentials"}}), 400, "unauthorized_client")
	wantError(t, r.post("/token", url.Values{"grant_type": {"refresh_token"}}), 400, "invalid_request")
	wantError(t, r.post("/token", url.Values{"grant_type": {"refresh_token", "refresh_token"}}), 400, "invalid_request")
	wantError(t, r.refresh("made-up"), 400, "invalid_grant")
	big := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {string(make([]byte, 70<<10))}}
	wantError(t, r.post("/token", big), http.StatusRequestEntityTooLarge, "invalid_request")
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, r.s.URL+"/token", nil)
	if a := do(t, req); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "POST" {
		t.Errorf("GET: want 405, found %d", a.status)
	}
	req, _ = http.NewRequestWithContext(t.Context(), http.MethodPost, r.s.URL+"/token", strings.NewReader("{}"))
	req.Header.Set("Content-Type", "application/json")
	wantError(t, do(t, req), http.StatusUnsupportedMediaType, "invalid_request")
}

// A refresh token that comes back ends the family, its successors too (RFC
// 9700, 4.14.2).
func TestRefreshReuse(t *testing.T) {
	r := start(t, idp.Options{})
	first := r.tokens(nil)
	second := r.refresh(first.str("refresh_token"))
	third := r.refresh(second.str("refresh_token"))
	if third.status != http.StatusOK || !r.active(third.str("access_token")) {
		t.Fatalf("want two refreshes to work, found %v", third.body)
	}
	wantError(t, r.refresh(first.str("refresh_token")), http.StatusBadRequest, "invalid_grant")
	wantError(t, r.refresh(third.str("refresh_token")), http.StatusBadRequest, "invalid_grant")
	if r.active(third.str("access_token")) {
		t.Error("an access token outlived its family")
	}
	if a := r.tokens(nil); !r.active(a.str("access_token")) {
		t.Error("another sign-in must not suffer")
	}
}

func TestRefreshLeeway(t *testing.T) {
	var clock clock
	r := start(t, idp.Options{RefreshLeeway: 5 * time.Second, Now: clock.now})
	first := r.tokens(nil)
	r.refresh(first.str("refresh_token"))
	clock.add(4 * time.Second)
	if a := r.refresh(first.str("refresh_token")); a.status != http.StatusOK || !r.active(a.str("access_token")) {
		t.Fatalf("within the leeway: want tokens, found %v", a.body)
	}
	clock.add(4 * time.Second)
	wantError(t, r.refresh(first.str("refresh_token")), http.StatusBadRequest, "invalid_grant")
}

func TestKeepRefreshTokens(t *testing.T) {
	r := start(t, idp.Options{KeepRefreshTokens: true})
	first := r.tokens(nil)
	for range 3 {
		if a := r.refresh(first.str("refresh_token")); a.status != http.StatusOK || a.body["refresh_token"] != nil {
			t.Fatalf("want tokens and no new refresh token, found %d %v", a.status, a.body)
		}
	}
}

// A mistaken refresh is refused and costs nothing; a narrower one is narrower
// only once.
func TestRefreshScope(t *testing.T) {
	other := web()
	other.ID = "other"
	r := start(t, idp.Options{Clients: []idp.Client{web(), other}})
	token := r.tokens(nil).str("refresh_token")
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	form.Set("scope", "openid root")
	wantError(t, r.post("/token", form), 400, "invalid_scope")
	form.Del("scope")
	form.Set("resource", "https://evil.test")
	wantError(t, r.post("/token", form), 400, "invalid_target")
	r.id = "other"
	wantError(t, r.refresh(token), 400, "invalid_grant")
	r.id = "web"
	form.Del("resource")
	form.Set("scope", "openid")
	narrow := r.post("/token", form)
	if narrow.str("scope") != "openid" {
		t.Fatalf("want scope openid, found %v", narrow.body)
	}
	if a := r.refresh(narrow.str("refresh_token")); a.str("scope") != "openid profile email" {
		t.Errorf("want the whole scope again, found %v", a.body)
	}
}

func TestRefreshExpires(t *testing.T) {
	var clock clock
	r := start(t, idp.Options{RefreshTokenLifetime: time.Hour, Now: clock.now})
	token := r.tokens(nil).str("refresh_token")
	clock.add(50 * time.Minute)
	token = r.refresh(token).str("refresh_token")
	if token == "" {
		t.Fatal("want a refresh within the hour")
	}
	clock.add(11 * time.Minute)
	wantError(t, r.refresh(token), 400, "invalid_grant")
}

func TestRevokeUser(t *testing.T) {
	r := start(t, idp.Options{})
	a := r.tokens(nil)
	r.s.Revoke("u-ada-1815")
	if r.active(a.str("access_token")) {
		t.Error("want the access token inactive")
	}
	wantError(t, r.refresh(a.str("refresh_token")), 400, "invalid_grant")
	v, _ := r.request(func(v url.Values) { v.Set("prompt", "none") })
	if page := r.get(r.authorizeURL(v)); page.Next.Query().Get("error") != "login_required" {
		t.Errorf("want the session gone, found %v", page.Next)
	}
}

func TestClientCredentials(t *testing.T) {
	machine := idp.Client{
		ID: "machine", Secrets: []string{secret}, GrantTypes: []string{idp.GrantClientCredentials},
		Scopes: []string{"notes:read", "notes:write"}, Audiences: []string{"https://api.test", "https://other.test"},
	}
	r := start(t, idp.Options{Clients: []idp.Client{web(), machine}})
	r.id = "machine"
	ask := func(more url.Values) answer {
		more.Set("grant_type", "client_credentials")
		return r.post("/token", more)
	}
	a := ask(url.Values{"scope": {"notes:read"}, "audience": {"https://other.test"}})
	if a.status != http.StatusOK || a.body["refresh_token"] != nil || a.body["id_token"] != nil || a.str("scope") != "notes:read" {
		t.Fatalf("want an access token alone, found %d %v", a.status, a.body)
	}
	_, claims := r.claims(a.str("access_token"))
	if claims["aud"] != "https://other.test" || claims["sub"] != "machine" || claims["scope"] != "notes:read" {
		t.Errorf("claims: found %v", claims)
	}
	both := ask(url.Values{"resource": {"https://api.test", "https://other.test"}})
	if _, claims = r.claims(both.str("access_token")); len(claims["aud"].([]any)) != 2 || claims["scope"] != "notes:read notes:write" {
		t.Errorf("two resources, all scopes: found %v", claims)
	}
	if _, claims = r.claims(ask(url.Values{}).str("access_token")); claims["aud"] != "https://api.test" {
		t.Errorf("default audience: found %v", claims)
	}
	wantError(t, ask(url.Values{"scope": {"root"}}), 400, "invalid_scope")
	wantError(t, ask(url.Values{"audience": {"https://evil.test"}}), 400, "invalid_target")
	v, _ := r.request(nil)
	if page := r.get(r.authorizeURL(v)); page.Status != http.StatusBadRequest || page.Next != nil {
		t.Errorf("code flow of a machine: want a page with 400, found %d", page.Status)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, r.s.URL+"/userinfo", nil)
	req.Header.Set("Authorization", "Bearer "+a.str("access_token"))
	wantError(t, do(t, req), http.StatusForbidden, "insufficient_scope")
}
