package oidc

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"time"
)

// requestObjectType is the typ of a signed authorization request (RFC 9101 section
// 10.8), so that nothing else that we sign can be taken for one, nor it for a client
// assertion.
const requestObjectType = "oauth-authz-req+jwt"

// requestObject puts an authorization request into a signed object (RFC 9101 section
// 4). Outside stays client_id, which the section 5 demands, and nothing that somebody
// could change. It lives as long as a client assertion: it is sent at once. jti is new
// each time, so that the provider can refuse one that comes twice. That there is a key
// for it has been checked (demands).
func (rp *RelyingParty) requestObject(m *Metadata, params url.Values, now time.Time) (url.Values, error) {
	claims := map[string]any{}
	for name, values := range params {
		claims[name] = values[0] // no parameter of ours occurs twice
	}
	begin := now.Add(-assertionBackdated)
	claims["iss"], claims["aud"], claims["jti"] = rp.client.ID(), m.Issuer, rand.Text()
	claims["iat"], claims["nbf"], claims["exp"] = begin.Unix(), begin.Unix(), begin.Add(assertionLifetime).Unix()
	signed, err := rp.client.signers[0].signer.Sign(claims, requestObjectType, m.RequestObjectAlgs)
	if err != nil {
		return nil, fmt.Errorf("request object: %w", err)
	}
	return url.Values{"client_id": {rp.client.ID()}, "request": {signed}}, nil
}
