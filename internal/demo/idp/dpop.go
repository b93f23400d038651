package idp

import (
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// proofAlgs are what proofs of possession may be signed with.
var proofAlgs = []jose.SignatureAlgorithm{jose.ES256, jose.PS256, jose.EdDSA}

// proofWindow is how far a proof's iat may be from now.
const proofWindow = time.Minute

// Nonces of proofs (RFC 9449, 8). A Hooks.DPoPNonce says which is good now.
const nonceHeader = "DPoP-Nonce"

func invalidProof(why string) *oauthError {
	return &oauthError{Code: "invalid_dpop_proof", Description: why}
}

type proofClaims struct {
	ID       string   `json:"jti"`
	Method   string   `json:"htm"`
	URL      string   `json:"htu"`
	IssuedAt *float64 `json:"iat"`
	Token    string   `json:"ath"`
	Nonce    string   `json:"nonce"`
}

// proven checks the proof of a request (RFC 9449, 4.3), and returns the thumbprint of
// its key; empty when there is no proof. With a token it must be a proof for that. It
// is strict: htu is compared as a string, and a jti counts once.
func (p *Provider) proven(c *call, token string) (jkt string, _ *oauthError) {
	values := c.r.Header.Values("DPoP")
	want := ""
	if h := c.hooks.DPoPNonce; h != nil {
		if want = h(c.seen.Endpoint); want != "" {
			c.w.Header().Set(nonceHeader, want)
		}
	}
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1 || len(values[0]) > maxAssertion:
		return "", invalidProof("want one DPoP header")
	}
	header, claims := jwtParts(values[0])
	p.seen.note(func() { c.seen.ProofHeader, c.seen.ProofClaims = header, claims })
	jws, err := jose.ParseSignedCompact(values[0], proofAlgs)
	if err != nil {
		return "", invalidProof("not a JWS by one of our algorithms")
	}
	protected := jws.Signatures[0].Protected
	if typ, _ := protected.ExtraHeaders[jose.HeaderType].(string); typ != "dpop+jwt" {
		return "", invalidProof("typ: want dpop+jwt")
	}
	key := protected.JSONWebKey
	raw, _ := header["jwk"].(map[string]any)
	if key == nil || !key.IsPublic() || !key.Valid() || raw["d"] != nil || raw["k"] != nil {
		return "", invalidProof("jwk: want a public key")
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return "", invalidProof("the signature does not verify")
	}
	var proof proofClaims
	if err := json.Unmarshal(payload, &proof); err != nil {
		return "", invalidProof("claims")
	}
	u, _ := url.Parse(p.base)
	switch {
	case proof.ID == "":
		return "", invalidProof("jti is missing")
	case proof.Method != c.r.Method:
		return "", invalidProof("htm is not this method")
	case proof.URL != u.Scheme+"://"+u.Host+c.r.URL.EscapedPath():
		return "", invalidProof("htu is not this address")
	case proof.IssuedAt == nil || seconds(proof.IssuedAt).Sub(c.now).Abs() > proofWindow:
		return "", invalidProof("iat is not about now")
	case token != "" && proof.Token != tokenHash(token), token == "" && proof.Token != "":
		return "", invalidProof("ath is not this token's")
	case want != "" && proof.Nonce != want:
		return "", &oauthError{Code: "use_dpop_nonce", Description: "want the nonce of the header DPoP-Nonce"}
	}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", invalidProof("jwk")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	id := digest("dpop\x00" + b64(sum) + "\x00" + proof.ID)
	if _, replayed := p.state.jtis.get(id, c.now); replayed {
		return "", invalidProof("jti was used before")
	}
	if !p.state.jtis.put(id, struct{}{}, c.now, c.now.Add(2*proofWindow)) {
		return "", unavailable()
	}
	return b64(sum), nil
}

func tokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return b64(sum[:])
}

// bind finds the key that a token response is to be bound to (RFC 9449, 5). bound is
// the dpop_jkt of the authorization request (10), if there was one.
func (p *Provider) bind(client *registered, jkt, bound string) *oauthError {
	switch {
	case client.DPoPBound && jkt == "":
		return invalidProof("this client's tokens are bound to a key: want a DPoP header")
	case bound != "" && jkt != bound:
		return invalidGrant("the code is bound to another key")
	}
	return nil
}

// boundAt is the key of a pushed request: dpop_jkt and a proof say the same, if both
// are there (RFC 9449, 10.1).
func boundAt(jkt string, v url.Values) (string, *oauthError) {
	asked := v.Get("dpop_jkt")
	if jkt != "" && asked != "" && jkt != asked {
		return "", invalidProof("dpop_jkt is not the key of the proof")
	}
	if jkt == "" {
		return asked, nil
	}
	return jkt, nil
}

// presented is the access token of a request to a resource of ours, by the scheme that
// it has to come by.
func (p *Provider) presented(c *call) (*accessToken, *oauthError) {
	refused := func(why string) *oauthError {
		return &oauthError{Status: http.StatusUnauthorized, Code: "invalid_token", Description: why}
	}
	values := c.r.Header.Values("Authorization")
	scheme, token := "", ""
	if len(values) == 1 {
		scheme, token, _ = strings.Cut(values[0], " ")
	}
	if !slices.Contains([]string{"bearer", "dpop"}, strings.ToLower(scheme)) || token == "" {
		return nil, refused("")
	}
	p.seen.note(func() { c.seen.AuthMethod = strings.ToLower(scheme) })
	found := p.accessByToken(c, token)
	if found == nil {
		return nil, refused("the access token is unknown, expired or revoked")
	}
	if strings.EqualFold(scheme, "Bearer") {
		if found.jkt != "" { // RFC 9449, 7.2
			return nil, refused("the access token is bound to a key")
		}
		return found, nil
	}
	jkt, err := p.proven(c, token)
	switch {
	case err != nil:
		err.Status = http.StatusUnauthorized
		return nil, err
	case jkt == "" || jkt != found.jkt:
		return nil, refused("the proof is not by the key that the access token is bound to")
	}
	return found, nil
}
