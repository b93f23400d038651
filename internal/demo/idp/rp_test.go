package idp_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
)

const (
	callback = "http://127.0.0.1:9/callback"
	goodbye  = "http://127.0.0.1:9/bye"
	secret   = "s3cret with space & plus+"
)

// clientKey is a relying party's key.
type clientKey struct {
	alg jose.SignatureAlgorithm
	jwk jose.JSONWebKey
}

func newClientKey(t testing.TB, alg jose.SignatureAlgorithm) clientKey {
	t.Helper()
	var key crypto.Signer
	var err error
	switch alg {
	case jose.EdDSA:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case jose.ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	k := jose.JSONWebKey{Key: key, Use: "sig", Algorithm: string(alg)}
	thumb, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	k.KeyID = base64.RawURLEncoding.EncodeToString(thumb)
	return clientKey{alg: alg, jwk: k}
}

func keySet(keys ...clientKey) *jose.JSONWebKeySet {
	set := &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		set.Keys = append(set.Keys, k.jwk.Public())
	}
	return set
}

func (k clientKey) sign(t testing.TB, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: k.alg, Key: k.jwk}, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func goodAssertion(client, aud string) map[string]any {
	return map[string]any{
		"iss": client, "sub": client, "aud": aud, "jti": rand.Text(),
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	}
}

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

func withAssertion(form url.Values, assertion string) url.Values {
	out := url.Values{"client_assertion_type": {assertionType}, "client_assertion": {assertion}}
	for k, v := range form {
		out[k] = v
	}
	return out
}

// rp is a small relying party that does as it is told.
type rp struct {
	t       testing.TB
	s       *idptest.Server
	id      string
	method  string
	secret  string
	key     clientKey
	browser *idptest.Browser
}

func web() idp.Client {
	return idp.Client{
		ID: "web", Name: "Notes", Secrets: []string{secret},
		RedirectURIs: []string{callback}, PostLogoutRedirectURIs: []string{goodbye},
		Audiences: []string{"https://api.test", "https://other.test"},
	}
}

// start runs a provider with the client "web", and a browser of its own.
func start(t testing.TB, o idp.Options) *rp {
	t.Helper()
	if o.Clients == nil {
		o.Clients = []idp.Client{web()}
	}
	s := idptest.Start(t, o)
	r := &rp{t: t, s: s, id: "web", method: idp.AuthSecretBasic, secret: secret}
	r.newBrowser()
	return r
}

func (r *rp) newBrowser() {
	r.browser = idptest.NewBrowser(nil)
	r.browser.StopAt("http://127.0.0.1:9/")
}

type answer struct {
	status int
	header http.Header
	body   map[string]any
}

func (a answer) str(name string) string { s, _ := a.body[name].(string); return s }

// post sends a form with the relying party's client authentication.
func (r *rp) post(path string, form url.Values) answer {
	r.t.Helper()
	form = clone(form)
	var basic bool
	switch r.method {
	case idp.AuthSecretBasic:
		basic = true
	case idp.AuthSecretPost:
		form.Set("client_id", r.id)
		form.Set("client_secret", r.secret)
	case idp.AuthPrivateKeyJWT:
		form = withAssertion(form, r.key.sign(r.t, goodAssertion(r.id, r.s.URL)))
	}
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.s.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if basic {
		req.SetBasicAuth(url.QueryEscape(r.id), url.QueryEscape(r.secret))
	}
	return do(r.t, req)
}

// send sends a form as it is.
func (r *rp) send(path string, form url.Values) answer {
	r.t.Helper()
	was := r.method
	defer func() { r.method = was }()
	r.method = "none"
	return r.post(path, form)
}

func do(t testing.TB, req *http.Request) answer {
	t.Helper()
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: res.StatusCode, header: res.Header}
	_ = json.Unmarshal(raw, &a.body) // pages are no JSON
	return a
}

func clone(v url.Values) url.Values {
	out := url.Values{}
	for k, vs := range v {
		out[k] = append([]string(nil), vs...)
	}
	return out
}

// request makes authorization request parameters and the verifier for them.
func (r *rp) request(change func(url.Values)) (url.Values, string) {
	verifier := rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	v := url.Values{
		"client_id": {r.id}, "response_type": {"code"}, "redirect_uri": {callback},
		"scope": {"openid profile email"}, "state": {"st-" + rand.Text()}, "nonce": {"no-" + rand.Text()},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	if change != nil {
		change(v)
	}
	return v, verifier
}

func (r *rp) authorizeURL(v url.Values) string { return r.s.URL + "/authorize?" + v.Encode() }

// push sends the request to the PAR endpoint and returns the URL for the
// browser.
func (r *rp) push(v url.Values) string {
	r.t.Helper()
	a := r.post("/par", v)
	if a.status != http.StatusCreated {
		r.t.Fatalf("PAR: want 201, found %d %v", a.status, a.body)
	}
	return r.authorizeURL(url.Values{"client_id": {r.id}, "request_uri": {a.str("request_uri")}})
}

// signIn takes ada from an authorization URL to the callback.
func (r *rp) signIn(address string) url.Values {
	r.t.Helper()
	page, err := r.browser.SignIn(r.t.Context(), address, "ada", "demo")
	if err != nil {
		r.t.Fatal(err)
	}
	if page.Next == nil {
		r.t.Fatalf("want a redirect to the callback, found status %d: %s", page.Status, page.Body)
	}
	return page.Next.Query()
}

func (r *rp) get(address string) *idptest.Page {
	r.t.Helper()
	page, err := r.browser.Get(r.t.Context(), address)
	if err != nil {
		r.t.Fatal(err)
	}
	return page
}

func (r *rp) redeem(code, verifier string) answer {
	r.t.Helper()
	return r.post("/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier},
	})
}

// tokens does a whole sign-in.
func (r *rp) tokens(change func(url.Values)) answer {
	r.t.Helper()
	v, verifier := r.request(change)
	a := r.redeem(r.signIn(r.authorizeURL(v)).Get("code"), verifier)
	if a.status != http.StatusOK {
		r.t.Fatalf("token: want 200, found %d %v", a.status, a.body)
	}
	return a
}

func (r *rp) refresh(token string) answer {
	r.t.Helper()
	return r.post("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

func (r *rp) active(token string) bool {
	r.t.Helper()
	a := r.post("/introspect", url.Values{"token": {token}})
	if a.status != http.StatusOK {
		r.t.Fatalf("introspection: want 200, found %d %v", a.status, a.body)
	}
	return a.body["active"] == true
}

// claims verifies a token against the published keys, as an RP would.
func (r *rp) claims(token string) (header, claims map[string]any) {
	r.t.Helper()
	req, _ := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.s.URL+"/jwks", nil)
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(res.Body).Decode(&set); err != nil {
		r.t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		r.t.Fatal(err)
	}
	payload, err := jws.Verify(set)
	if err != nil {
		r.t.Fatalf("not signed with a published key: %v", err)
	}
	raw, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	if err := json.Unmarshal(raw, &header); err != nil {
		r.t.Fatal(err)
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		r.t.Fatal(err)
	}
	return header, claims
}

func wantError(t testing.TB, a answer, status int, code string) {
	t.Helper()
	if a.status != status || a.str("error") != code {
		t.Errorf("want %d %s, found %d %v", status, code, a.status, a.body)
	}
}

// direct calls the provider without a socket.
func direct(p http.Handler, method, target, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, req)
	return w
}
