package idp_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"keyway/internal/demo/idp"
)

// TestFlow signs in by every client authentication, pushed and not, and uses
// everything that a relying party gets.
func TestFlow(t *testing.T) {
	key := newClientKey(t, jose.ES256)
	hosted := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(keySet(key))
	}))
	t.Cleanup(hosted.Close)
	tests := []struct {
		name, method string
		client       func(*idp.Client)
	}{
		{"basic", idp.AuthSecretBasic, nil},
		{"post", idp.AuthSecretPost, nil},
		{"private_key_jwt inline", idp.AuthPrivateKeyJWT, func(c *idp.Client) { c.Secrets, c.JWKS = nil, keySet(key) }},
		{"private_key_jwt jwks_uri", idp.AuthPrivateKeyJWT, func(c *idp.Client) { c.Secrets, c.JWKSURI = nil, hosted.URL }},
	}
	for _, tt := range tests {
		for _, par := range []bool{false, true} {
			t.Run(tt.name+map[bool]string{true: " pushed"}[par], func(t *testing.T) {
				c := web()
				if tt.client != nil {
					tt.client(&c)
				}
				r := start(t, idp.Options{Clients: []idp.Client{c}})
				r.method, r.key = tt.method, key
				flow(t, r, par)
			})
		}
	}
}

func flow(t *testing.T, r *rp, par bool) {
	v, verifier := r.request(nil)
	address := r.authorizeURL(v)
	if par {
		address = r.push(v)
	}
	back := r.signIn(address)
	if back.Get("state") != v.Get("state") || back.Get("iss") != r.s.URL || back.Get("code") == "" || len(back) != 3 {
		t.Fatalf("callback: want code, state and iss, found %v", back)
	}
	got := r.redeem(back.Get("code"), verifier)
	if got.status != http.StatusOK || got.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("token: want 200 no-store, found %d %v", got.status, got.body)
	}
	if got.str("token_type") != "Bearer" || got.body["expires_in"] != 300.0 || got.str("scope") != "openid profile email" {
		t.Errorf("token response: found %v", got.body)
	}

	_, id := r.claims(got.str("id_token"))
	half := sha256.Sum256([]byte(got.str("access_token")))
	for name, want := range map[string]any{
		"iss": r.s.URL, "aud": "web", "sub": "u-ada-1815", "nonce": v.Get("nonce"),
		"at_hash": base64.RawURLEncoding.EncodeToString(half[:16]),
	} {
		if id[name] != want {
			t.Errorf("ID token %s: want %v, found %v", name, want, id[name])
		}
	}
	for _, name := range []string{"sid", "auth_time", "iat", "exp"} {
		if id[name] == nil {
			t.Errorf("ID token: %s is missing", name)
		}
	}

	header, access := r.claims(got.str("access_token"))
	if header["typ"] != "at+jwt" || access["aud"] != "https://api.test" || access["client_id"] != "web" ||
		access["scope"] != "openid profile email" || access["jti"] == nil || access["sub"] != "u-ada-1815" {
		t.Errorf("access token (RFC 9068): found %v %v", header, access)
	}

	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, r.s.URL+"/userinfo", nil)
	req.Header.Set("Authorization", "Bearer "+got.str("access_token"))
	info := do(t, req)
	if info.str("sub") != "u-ada-1815" || info.str("name") != "Ada Lovelace" || info.str("email") != "ada@example.test" {
		t.Errorf("userinfo: found %v", info.body)
	}
	if !r.active(got.str("access_token")) {
		t.Error("introspection: want active")
	}

	again := r.refresh(got.str("refresh_token"))
	if again.status != http.StatusOK || again.str("refresh_token") == got.str("refresh_token") {
		t.Fatalf("refresh: want new tokens, found %d %v", again.status, again.body)
	}
	_, id2 := r.claims(again.str("id_token"))
	if id2["nonce"] != nil || id2["sid"] != id["sid"] || id2["auth_time"] != id["auth_time"] {
		t.Errorf("ID token after refresh (OpenID Connect Core, 12.2): found %v", id2)
	}
}

func TestDiscovery(t *testing.T) {
	for _, tt := range []struct {
		issuer string
		paths  []string
	}{
		{"http://idp.test", []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"}},
		{"http://idp.test/", []string{"/.well-known/openid-configuration"}},
		{"http://idp.test/t1", []string{"/t1/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/t1"}},
	} {
		p, err := idp.New(idp.Options{Issuer: tt.issuer})
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range tt.paths {
			w := direct(p, "GET", path, "")
			var doc struct {
				Issuer, JWKSURI string
				PAR             string   `json:"pushed_authorization_request_endpoint"`
				Iss             bool     `json:"authorization_response_iss_parameter_supported"`
				Methods         []string `json:"token_endpoint_auth_methods_supported"`
				Algs            []string `json:"token_endpoint_auth_signing_alg_values_supported"`
				PKCE            []string `json:"code_challenge_methods_supported"`
				Token           string   `json:"token_endpoint"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if doc.Issuer != tt.issuer || !doc.Iss || doc.PAR == "" || !slices.Equal(doc.PKCE, []string{"S256"}) ||
				!slices.Equal(doc.Algs, []string{"ES256", "PS256", "RS256", "EdDSA"}) || len(doc.Methods) != 3 {
				t.Errorf("%s: found %+v", path, doc)
			}
			u, err := url.Parse(doc.Token)
			if err != nil {
				t.Fatal(err)
			}
			if w := direct(p, "POST", u.Path, ""); w.Code != http.StatusUnauthorized {
				t.Errorf("token endpoint %s: want 401, found %d", doc.Token, w.Code)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	good := idp.Client{ID: "a", Secrets: []string{"x"}}
	for name, o := range map[string]idp.Options{
		"no issuer":       {},
		"relative issuer": {Issuer: "/idp"},
		"issuer query":    {Issuer: "https://idp.test?x=1"},
		"twice":           {Issuer: "https://idp.test", Clients: []idp.Client{good, good}},
		"no credentials":  {Issuer: "https://idp.test", Clients: []idp.Client{{ID: "a"}}},
		"method":          {Issuer: "https://idp.test", Clients: []idp.Client{{ID: "a", AuthMethods: []string{"none"}}}},
		"redirect":        {Issuer: "https://idp.test", Clients: []idp.Client{{ID: "a", Secrets: []string{"x"}, RedirectURIs: []string{"/cb"}}}},
	} {
		if _, err := idp.New(o); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}

// A rotated key signs at once, is published before anybody sees a signature by
// it, and what the old one signed still verifies.
func TestRotateKey(t *testing.T) {
	r := start(t, idp.Options{})
	before := r.tokens(nil).str("id_token")
	kid, err := r.s.RotateKey()
	if err != nil {
		t.Fatal(err)
	}
	header, _ := r.claims(r.tokens(nil).str("id_token"))
	if header["kid"] != kid {
		t.Errorf("want kid %s, found %v", kid, header["kid"])
	}
	r.claims(before)
	for range 20 {
		if _, err := r.s.RotateKey(); err != nil {
			t.Fatal(err)
		}
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(direct(r.s, "GET", "/jwks", "").Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 4 {
		t.Errorf("want 4 keys published, found %d", len(set.Keys))
	}
	for _, k := range set.Keys {
		if !k.IsPublic() {
			t.Error("a private key is published")
		}
	}
	r.s.DropOldKeys()
	if err := json.Unmarshal(direct(r.s, "GET", "/jwks", "").Body.Bytes(), &set); err != nil || len(set.Keys) != 1 {
		t.Errorf("want one key after DropOldKeys, found %d (%v)", len(set.Keys), err)
	}
}
