package idp_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"keyway/internal/demo/idp"
)

func TestIntrospection(t *testing.T) {
	var clock clock
	other := web()
	other.ID = "other"
	r := start(t, idp.Options{Clients: []idp.Client{web(), other}, Now: clock.now})
	tokens := r.tokens(nil)
	access, refresh := tokens.str("access_token"), tokens.str("refresh_token")
	ask := func(client, token string) answer {
		r.id = client
		defer func() { r.id = "web" }()
		return r.post("/introspect", url.Values{"token": {token}})
	}
	a := ask("other", access) // a resource server is another client
	for name, want := range map[string]any{
		"active": true, "iss": r.s.URL, "client_id": "web", "username": "ada", "sub": "u-ada-1815",
		"aud": "https://api.test", "scope": "openid profile email", "token_type": "Bearer",
	} {
		if a.body[name] != want {
			t.Errorf("%s: want %v, found %v", name, want, a.body[name])
		}
	}
	if a := ask("web", refresh); a.body["active"] != true {
		t.Errorf("own refresh token: want active, found %v", a.body)
	}
	inactive := func(name string, a answer) {
		t.Helper()
		if a.status != http.StatusOK || a.body["active"] != false || len(a.body) != 1 {
			t.Errorf("%s: want active false and nothing else, found %d %v", name, a.status, a.body)
		}
	}
	inactive("another's refresh token", ask("other", refresh))
	inactive("made up", ask("web", "made-up"))
	inactive("ID token", ask("web", tokens.str("id_token")))
	inactive("changed", ask("web", access[:len(access)-2]))
	wantError(t, r.post("/introspect", url.Values{}), 400, "invalid_request")
	wantError(t, r.send("/introspect", url.Values{"token": {access}}), 401, "invalid_client")
	clock.add(5 * time.Minute)
	inactive("expired", ask("web", access))
}

func TestOpaqueAccessTokens(t *testing.T) {
	c := web()
	c.OpaqueAccessTokens = true
	r := start(t, idp.Options{Clients: []idp.Client{c}})
	token := r.tokens(nil).str("access_token")
	if strings.Count(token, ".") != 0 || !r.active(token) {
		t.Errorf("want an opaque token that introspects")
	}
}

func TestRevocation(t *testing.T) {
	other := web()
	other.ID = "other"
	r := start(t, idp.Options{Clients: []idp.Client{web(), other}})
	revoke := func(token string) answer { return r.post("/revoke", url.Values{"token": {token}}) }

	a := r.tokens(nil)
	if res := revoke(a.str("access_token")); res.status != http.StatusOK || r.active(a.str("access_token")) {
		t.Errorf("access token: want it revoked, found %d", res.status)
	}
	next := r.refresh(a.str("refresh_token"))
	if next.status != http.StatusOK {
		t.Fatalf("the refresh token must survive its access token, found %v", next.body)
	}
	r.id = "other"
	wantError(t, revoke(next.str("refresh_token")), 400, "invalid_grant")
	wantError(t, revoke(next.str("access_token")), 400, "invalid_grant")
	r.id = "web"
	revoke(next.str("refresh_token"))
	if r.active(next.str("access_token")) {
		t.Error("a refresh token takes its access tokens along (RFC 7009, 2.1)")
	}
	wantError(t, r.refresh(next.str("refresh_token")), 400, "invalid_grant")
	if res := revoke("made-up"); res.status != http.StatusOK {
		t.Errorf("unknown token (RFC 7009, 2.2): want 200, found %d", res.status)
	}
}

func TestUserinfo(t *testing.T) {
	r := start(t, idp.Options{})
	ask := func(header ...string) answer {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, r.s.URL+"/userinfo", nil)
		for _, h := range header {
			req.Header.Add("Authorization", h)
		}
		return do(t, req)
	}
	scoped := r.tokens(func(v url.Values) { v.Set("scope", "openid") })
	if a := ask("bearer " + scoped.str("access_token")); a.status != http.StatusOK || len(a.body) != 1 {
		t.Errorf("scope openid: want sub alone, found %d %v", a.status, a.body)
	}
	noID := r.tokens(func(v url.Values) { v.Set("scope", "profile") })
	if noID.body["id_token"] != nil {
		t.Error("without openid: want no ID token")
	}
	wantError(t, ask("Bearer "+noID.str("access_token")), 403, "insufficient_scope")
	for _, bad := range [][]string{nil, {"Bearer made-up"}, {"Basic eDp5"}, {"Bearer a", "Bearer b"}} {
		a := ask(bad...)
		wantError(t, a, 401, "invalid_token")
		if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
			t.Error("want a Bearer challenge (RFC 6750, 3)")
		}
	}
	wantError(t, ask("Bearer "+scoped.str("refresh_token")), 401, "invalid_token")
}

func TestClaimsInIDToken(t *testing.T) {
	for _, in := range []bool{false, true} {
		r := start(t, idp.Options{ClaimsInIDToken: in})
		_, claims := r.claims(r.tokens(nil).str("id_token"))
		if (claims["name"] == "Ada Lovelace") != in || (claims["email"] != nil) != in {
			t.Errorf("ClaimsInIDToken %v: found %v", in, claims)
		}
	}
}
