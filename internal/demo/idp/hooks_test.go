package idp_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"keyway/internal/demo/idp"
)

// Every lie is told, and none is remembered.
func TestHooks(t *testing.T) {
	r := start(t, idp.Options{})
	var askedFor string
	r.s.SetHooks(&idp.Hooks{
		Discovery: func(doc map[string]any) { doc["issuer"] = "https://evil.test" },
		JWKS:      func(set *jose.JSONWebKeySet) { set.Keys = nil },
		IDToken: func(j *idp.JWT) {
			askedFor = j.ClientID + " " + j.Grant
			j.Header["alg"], j.Header["kid"] = "none", "decoy"
			j.Claims["exp"], j.Claims["aud"] = 1e300, []string{"web", "other"}
			delete(j.Claims, "nonce")
		},
		AccessToken: func(j *idp.JWT) { j.Claims["iss"] = "https://evil.test" },
		Authorization: func(v url.Values) {
			v.Add("state", "second")
			v.Del("iss")
		},
		Token: func(_ *http.Request, a *idp.Answer) {
			a.Edit(func(m map[string]any) { delete(m, "expires_in"); m["token_type"] = "BEARER" })
			a.Header.Set("X-Lie", "1")
		},
		PAR: func(_ *http.Request, a *idp.Answer) { a.Status, a.Body = http.StatusBadGateway, []byte("{") },
		Introspection: func(_ *http.Request, a *idp.Answer) {
			a.Edit(func(m map[string]any) { m["active"] = "true" })
		},
		Userinfo: func(_ *http.Request, a *idp.Answer) {
			a.Status, a.Body = http.StatusOK, bytes.Repeat([]byte(" "), 1<<20)
		},
	})
	if w := direct(r.s, "GET", "/.well-known/openid-configuration", ""); !strings.Contains(w.Body.String(), "evil") {
		t.Error("Discovery: no lie told")
	}
	if w := direct(r.s, "GET", "/jwks", ""); strings.Contains(w.Body.String(), "kid") {
		t.Error("JWKS: no lie told")
	}
	v, verifier := r.request(nil)
	if a := r.post("/par", v); a.status != http.StatusBadGateway {
		t.Errorf("PAR: found %d", a.status)
	}
	back := r.signIn(r.authorizeURL(v))
	if len(back["state"]) != 2 || back.Has("iss") {
		t.Errorf("Authorization: found %v", back)
	}
	a := r.redeem(back.Get("code"), verifier)
	if a.body["expires_in"] != nil || a.str("token_type") != "BEARER" || a.header.Get("X-Lie") != "1" {
		t.Errorf("Token: found %v", a.body)
	}
	if askedFor != "web authorization_code" {
		t.Errorf("IDToken was told %q", askedFor)
	}
	if a := r.post("/introspect", url.Values{"token": {"x"}}); a.body["active"] != "true" {
		t.Errorf("Introspection: found %v", a.body)
	}
	r.s.SetHooks(nil)
	header, claims := r.claims(r.refresh(a.str("refresh_token")).str("id_token"))
	if header["alg"] != "ES256" || claims["aud"] != "web" {
		t.Errorf("honest again: found %v %v", header, claims)
	}
	if !r.active(a.str("access_token")) {
		t.Error("a token with a lie in it was issued all the same")
	}
}

// A changed header and changed claims are signed with the real key.
func TestHookSigns(t *testing.T) {
	r := start(t, idp.Options{Hooks: &idp.Hooks{
		IDToken: func(j *idp.JWT) { j.Claims["sub"], j.Header["typ"] = "mallory", "x+jwt" },
	}})
	header, claims := r.claims(r.tokens(nil).str("id_token"))
	if claims["sub"] != "mallory" || header["typ"] != "x+jwt" {
		t.Errorf("found %v %v", header, claims)
	}
	r.s.SetHooks(&idp.Hooks{SerializedIDToken: func(s string) string { return s[:len(s)-4] + "AAAA" }})
	if id := r.tokens(nil).str("id_token"); !strings.HasSuffix(id, "AAAA") {
		t.Error("SerializedIDToken: no lie told")
	}
	r.s.SetHooks(&idp.Hooks{IDToken: func(j *idp.JWT) { j.Claims["exp"] = func() {} }})
	v, verifier := r.request(nil)
	wantError(t, r.redeem(r.signIn(r.authorizeURL(v)).Get("code"), verifier), 500, "server_error")
}

func TestHookBefore(t *testing.T) {
	r := start(t, idp.Options{Hooks: &idp.Hooks{Before: func(w http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path != "/token" {
			return false
		}
		http.Redirect(w, req, "https://evil.test/", http.StatusFound)
		return true
	}}})
	if a := r.refresh("x"); a.status != http.StatusFound {
		t.Errorf("want 302, found %d", a.status)
	}
	if seen := r.s.Seen(idp.EndpointToken); len(seen) != 1 || seen[0].Status != http.StatusFound {
		t.Errorf("want it recorded, found %v", seen)
	}
	r.s.SetHooks(&idp.Hooks{Before: func(w http.ResponseWriter, _ *http.Request) bool {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}})
	if _, err := r.browser.Get(t.Context(), r.s.URL+"/jwks"); err == nil {
		t.Error("want the connection closed")
	}
}

func TestHookDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := idp.New(idp.Options{Issuer: "http://idp.test", Clients: []idp.Client{web()}, Hooks: &idp.Hooks{
			Token: func(_ *http.Request, a *idp.Answer) { a.Delay = 5 * time.Second },
		}})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		direct(p, "POST", "/token", "")
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("want 5 s, found %s", took)
		}
	})
}

func TestSign(t *testing.T) {
	r := start(t, idp.Options{})
	token, err := r.s.Sign(map[string]any{"typ": "logout+jwt"}, map[string]any{"iss": r.s.URL})
	if err != nil {
		t.Fatal(err)
	}
	if header, claims := r.claims(token); header["typ"] != "logout+jwt" || claims["iss"] != r.s.URL {
		t.Errorf("found %v %v", header, claims)
	}
}

// Nothing that holds a secret prints it.
func TestPrintsNoSecrets(t *testing.T) {
	for _, v := range []any{web(), []idp.Client{web()}, idp.User{Username: "ada", Password: "hunter2"}} {
		for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
			if s := fmt.Sprintf(format, v); strings.Contains(s, secret) || strings.Contains(s, "hunter2") {
				t.Errorf("%s of %T prints a secret", format, v)
			}
		}
	}
}
