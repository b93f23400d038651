package realidp_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"keyway/internal/testkit/realidp"
)

const callback = "http://127.0.0.1:1/auth/callback" // never opened

// rp is a relying party just large enough to try the provider.
type rp struct {
	t        *testing.T
	issuer   string
	browser  *http.Client
	clientID string
	verifier string
	auth     func(form url.Values, req *http.Request)
}

func newRP(t *testing.T, issuer, clientID string, auth func(url.Values, *http.Request)) *rp {
	jar, _ := cookiejar.New(nil)
	return &rp{t, issuer, &http.Client{Jar: jar}, clientID, rand.Text() + rand.Text(), auth}
}

func (r *rp) params() url.Values {
	sum := sha256.Sum256([]byte(r.verifier))
	return url.Values{
		"client_id": {r.clientID}, "response_type": {"code"}, "redirect_uri": {callback},
		"scope": {"openid profile email"}, "state": {"s-1"}, "nonce": {"n-1"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
}

func (r *rp) post(path string, form url.Values) (int, map[string]any) {
	r.t.Helper()
	req, _ := http.NewRequest("POST", r.issuer+path, nil)
	r.auth(form, req)
	body := strings.NewReader(form.Encode())
	req2, _ := http.NewRequest("POST", r.issuer+path, body)
	req2.Header = req.Header
	req2.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req2)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var m map[string]any
	json.NewDecoder(resp.Body).Decode(&m)
	return resp.StatusCode, m
}

// redeem takes the callback's URL to tokens.
func (r *rp) redeem(callbackURL string) map[string]any {
	r.t.Helper()
	u, err := url.Parse(callbackURL)
	if err != nil || !strings.HasPrefix(callbackURL, callback+"?") || u.Query().Get("state") != "s-1" || u.Query().Get("iss") != r.issuer {
		r.t.Fatalf("sent to %s", callbackURL)
	}
	status, tokens := r.post("/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {u.Query().Get("code")},
		"redirect_uri": {callback}, "code_verifier": {r.verifier},
	})
	if status != 200 {
		r.t.Fatalf("token endpoint: %d %v", status, tokens)
	}
	return tokens
}

func basic(id, secret string) func(url.Values, *http.Request) {
	return func(_ url.Values, req *http.Request) { req.SetBasicAuth(id, secret) }
}

func TestCodeFlowWithClientSecretBasic(t *testing.T) {
	idp := realidp.Start(t, realidp.Options{
		Clients:            []realidp.Client{{ID: "app", Secret: "app-secret", RedirectURIs: []string{callback}}},
		RotateRefreshToken: true,
		AccessTokenTTL:     90 * time.Second,
	})
	r := newRP(t, idp.Issuer, "app", basic("app", "app-secret"))
	start := idp.Issuer + "/auth?" + r.params().Encode()
	tokens := r.redeem(realidp.SignIn(t, r.browser, start, "ada"))
	if tokens["expires_in"] != 90.0 {
		t.Errorf("expires_in = %v, want 90", tokens["expires_in"])
	}

	t.Run("userinfo has the claims", func(t *testing.T) {
		req, _ := http.NewRequest("GET", idp.Issuer+"/me", nil)
		req.Header.Set("Authorization", "Bearer "+tokens["access_token"].(string))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var claims map[string]any
		json.NewDecoder(resp.Body).Decode(&claims)
		if claims["sub"] != "ada" || claims["name"] != "Ada Lovelace" || claims["email"] != "ada@example.test" {
			t.Errorf("userinfo %v", claims)
		}
	})
	t.Run("introspection knows the token", func(t *testing.T) {
		_, m := r.post("/token/introspection", url.Values{"token": {tokens["access_token"].(string)}})
		if m["active"] != true || m["sub"] != "ada" {
			t.Errorf("introspection %v", m)
		}
	})
	t.Run("a second sign-in needs no form", func(t *testing.T) {
		if got := realidp.SignIn(t, r.browser, start, "nobody"); !strings.Contains(got, "code=") {
			t.Errorf("sent to %s", got)
		}
	})
	t.Run("a refresh token is good for one use", func(t *testing.T) {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens["refresh_token"].(string)}}
		status, m := r.post("/token", form)
		if status != 200 || m["refresh_token"] == tokens["refresh_token"] {
			t.Fatalf("first use: %d %v", status, m)
		}
		if status, m := r.post("/token", form); status != 400 || m["error"] != "invalid_grant" {
			t.Errorf("second use: %d %v", status, m)
		}
	})
	t.Run("requests are recorded", func(t *testing.T) {
		got := idp.Requests(t, "/token")
		if len(got) != 3 || got[0].Authorization != "Basic" || got[0].ClientID != "app" || got[0].Body["code_verifier"] != r.verifier || got[2].Status != 400 {
			t.Errorf("recorded %+v", got)
		}
	})
	t.Run("sign-out", func(t *testing.T) {
		final, err := realidp.Walk(r.browser, idp.Issuer+"/session/end?"+url.Values{"id_token_hint": {tokens["id_token"].(string)}}.Encode(), nil)
		// There is no post_logout_redirect_uri: the walk ends on a page of the provider's own.
		if err == nil || !strings.Contains(err.Error(), "no form") {
			t.Errorf("%s, %v", final, err)
		}
		if _, err := realidp.Walk(r.browser, start, map[string]string{"username": "ada", "password": "wrong"}); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("after sign-out, with a wrong password: %v", err)
		}
	})
	t.Run("misbehaves when asked", func(t *testing.T) {
		idp.Behave(t, "/token", 0, 503)
		if status, _ := r.post("/token", url.Values{}); status != 503 {
			t.Errorf("status %d, want 503", status)
		}
		idp.Behave(t, "/token", 0, 0)
		if status, m := r.post("/token", url.Values{}); status != 400 {
			t.Errorf("status %d %v, want 400", status, m)
		}
	})
}

func TestPushedRequestWithPrivateKeyJWTByJWKSURI(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public := jose.JSONWebKey{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}
	jwks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}})
	}))
	defer jwks.Close()
	idp := realidp.Start(t, realidp.Options{
		PAR: realidp.PARRequired, ClaimsInIDToken: true,
		Clients: []realidp.Client{{ID: "app", AuthMethod: "private_key_jwt", JWKSURI: jwks.URL + "/jwks.json", RedirectURIs: []string{callback}}},
	})
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := newRP(t, idp.Issuer, "app", func(form url.Values, _ *http.Request) {
		now := time.Now()
		assertion, err := jwt.Signed(signer).Claims(jwt.Claims{
			Issuer: "app", Subject: "app", Audience: jwt.Audience{idp.Issuer}, ID: rand.Text(),
			IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Minute)),
		}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		form.Set("client_id", "app")
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
	})
	status, pushed := r.post("/request", r.params())
	if status != 201 {
		t.Fatalf("PAR: %d %v\n%s", status, pushed, idp.Output())
	}
	start := idp.Issuer + "/auth?" + url.Values{"client_id": {"app"}, "request_uri": {pushed["request_uri"].(string)}}.Encode()
	tokens := r.redeem(realidp.SignIn(t, r.browser, start, "grace"))
	payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(tokens["id_token"].(string), ".")[1])
	if !strings.Contains(string(payload), `"name":"Grace Hopper"`) {
		t.Errorf("ID token %s lacks the name", payload)
	}
}

func TestMachineGetsAJWT(t *testing.T) {
	idp := realidp.Start(t, realidp.Options{
		JWTAudience: "https://api.example.test", JWTScope: "notes:read",
		Clients: []realidp.Client{{ID: "machine", Secret: "machine-secret", GrantTypes: []string{"client_credentials"}}},
	})
	r := newRP(t, idp.Issuer, "machine", basic("machine", "machine-secret"))
	status, tokens := r.post("/token", url.Values{"grant_type": {"client_credentials"}, "scope": {"notes:read"}})
	if status != 200 {
		t.Fatalf("%d %v", status, tokens)
	}
	tok, err := jwt.ParseSigned(tokens["access_token"].(string), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatalf("%v is not a JWT: %v", tokens["access_token"], err)
	}
	var claims jwt.Claims
	if err := tok.UnsafeClaimsWithoutVerification(&claims); err != nil || !claims.Audience.Contains("https://api.example.test") {
		t.Errorf("claims %+v, %v", claims, err)
	}
}
