package boundapi

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// API is such an API. Its fields are for the test to read and set, through the methods.
type API struct {
	URL string

	mu      sync.Mutex
	bound   func(token string) (jkt string)
	nonce   string
	forEver bool
	seen    []Call
	ids     map[string]bool
}

// Call is one request that was answered.
type Call struct {
	Method, Path, Body string
	Scheme             string // of Authorization
	Token              string
	JKT                string // of the proof
	Nonce, ID          string
	Status             int
	Why                string // it was refused
}

// Start runs an API until the test ends. bound says which key a token is bound to;
// empty: it is no token. Nil: what the cnf of the token says, which is a JWT.
func Start(t testing.TB, bound func(token string) string) *API {
	t.Helper()
	if bound == nil {
		bound = Confirmed
	}
	a := &API{bound: bound, ids: map[string]bool{}}
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	a.URL = s.URL
	return a
}

// Demand has proofs carry this nonce; empty: none. ForEver has no nonce be good.
func (a *API) Demand(nonce string, forEver bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.nonce, a.forEver = nonce, forEver
}

// Calls are those so far, and are forgotten.
func (a *API) Calls() []Call {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := a.seen
	a.seen = nil
	return all
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 8<<20))
	a.mu.Lock()
	defer a.mu.Unlock()
	call := Call{Method: r.Method, Path: r.URL.EscapedPath(), Body: string(body), Status: http.StatusOK}
	want := a.nonce
	if a.forEver {
		want = fmt.Sprintf("%s-%d", a.nonce, len(a.ids))
	}
	err := a.check(r, &call, want)
	if want != "" {
		w.Header().Set("DPoP-Nonce", want)
	}
	switch {
	case errors.Is(err, errNonce):
		call.Status, call.Why = http.StatusUnauthorized, err.Error()
		w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce", error_description="another nonce"`)
	case err != nil:
		call.Status, call.Why = http.StatusUnauthorized, err.Error()
		w.Header().Set("WWW-Authenticate", `DPoP error="invalid_token", algs="ES256 EdDSA PS256"`)
	}
	a.seen = append(a.seen, call)
	w.WriteHeader(call.Status)
	fmt.Fprintf(w, "%s", call.JKT)
}

var errNonce = errors.New("nonce: another one is wanted")

// check is RFC 9449 section 4.3, point by point.
func (a *API) check(r *http.Request, call *Call, wantNonce string) error {
	authorization, proofs := r.Header.Values("Authorization"), r.Header.Values("DPoP")
	if len(authorization) != 1 || len(proofs) != 1 { // 1
		return fmt.Errorf("expected one Authorization and one DPoP, found %d and %d", len(authorization), len(proofs))
	}
	call.Scheme, call.Token, _ = strings.Cut(authorization[0], " ")
	if call.Scheme != "DPoP" || call.Token == "" {
		return errors.New("expected Authorization with the scheme DPoP")
	}
	jws, err := jose.ParseSignedCompact(proofs[0], []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.PS256}) // 2, 5
	if err != nil {
		return errors.New("not a JWS by an asymmetric algorithm")
	}
	protected := jws.Signatures[0].Protected
	if typ, _ := protected.ExtraHeaders[jose.HeaderType].(string); typ != "dpop+jwt" { // 4
		return fmt.Errorf("typ is %q", typ)
	}
	var header struct {
		JWK map[string]any `json:"jwk"`
	}
	raw, _ := base64.RawURLEncoding.DecodeString(strings.Split(proofs[0], ".")[0])
	if err := json.Unmarshal(raw, &header); err != nil {
		return err
	}
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} { // 7
		if _, there := header.JWK[private]; there {
			return fmt.Errorf("the header shows the private member %q", private)
		}
	}
	key := protected.JSONWebKey
	if key == nil || !key.IsPublic() {
		return errors.New("jwk: expected a public key")
	}
	payload, err := jws.Verify(key) // 6
	if err != nil {
		return errors.New("the signature does not verify")
	}
	var c struct {
		ID, Method, URL, Token, Nonce string
		IssuedAt                      int64
	}
	var members map[string]any
	if err := json.Unmarshal(payload, &members); err != nil {
		return err
	}
	c.ID, _ = members["jti"].(string)
	c.Method, _ = members["htm"].(string)
	c.URL, _ = members["htu"].(string)
	c.Token, _ = members["ath"].(string)
	c.Nonce, _ = members["nonce"].(string)
	at, _ := members["iat"].(float64)
	call.ID, call.Nonce = c.ID, c.Nonce
	sum := sha256.Sum256([]byte(call.Token))
	switch {
	case c.ID == "" || a.ids[c.ID]: // 3, 11.1
		return errors.New("jti: missing, or there before")
	case c.Method != r.Method: // 8
		return fmt.Errorf("htm is %q", c.Method)
	case c.URL != a.URL+r.URL.EscapedPath(): // 9
		return fmt.Errorf("htu is %q, expected %q", c.URL, a.URL+r.URL.EscapedPath())
	case time.Since(time.Unix(int64(at), 0)).Abs() > time.Minute: // 11
		return errors.New("iat is not about now")
	case c.Token != base64.RawURLEncoding.EncodeToString(sum[:]): // 12
		return errors.New("ath is another token's")
	}
	a.ids[c.ID] = true
	if wantNonce != "" && c.Nonce != wantNonce { // 10
		return errNonce
	}
	thumb, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return err
	}
	call.JKT = base64.RawURLEncoding.EncodeToString(thumb)
	if bound := a.bound(call.Token); bound == "" || bound != call.JKT { // 12
		return fmt.Errorf("the token is bound to %q, the proof is by %q", bound, call.JKT)
	}
	return nil
}

// Confirmed is the key that a JWT says that it is bound to (section 6.1). The signature
// is not looked at: whether a token is good is not what this package is about.
func Confirmed(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Confirmation struct {
			JKT string `json:"jkt"`
		} `json:"cnf"`
	}
	if json.Unmarshal(raw, &claims) != nil {
		return ""
	}
	return claims.Confirmation.JKT
}
