package idp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionAlgs are what clients may sign with. Nothing symmetric, and no
// "none": ParseSignedCompact refuses what is not here before it looks further.
var assertionAlgs = []jose.SignatureAlgorithm{jose.ES256, jose.PS256, jose.RS256, jose.EdDSA}

// maxAssertion bounds what is parsed before anything is known about the sender.
const maxAssertion = 8 << 10

// byAssertion authenticates by private_key_jwt (RFC 7523, 3; OpenID Connect
// Core, 9).
func (p *Provider) byAssertion(c *call) (*registered, *oauthError) {
	if c.form.Get("client_assertion_type") != assertionType {
		return nil, invalidRequest("client_assertion_type: want " + assertionType)
	}
	raw := c.form.Get("client_assertion")
	if raw == "" || len(raw) > maxAssertion {
		return nil, invalidClient()
	}
	p.observeAssertion(c, raw)
	jws, err := jose.ParseSignedCompact(raw, assertionAlgs)
	if err != nil {
		return nil, invalidClient()
	}
	var claims assertionClaims
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims); err != nil {
		return nil, invalidClient()
	}
	p.seen.note(func() { c.seen.ClientID = cut(claims.Subject) })
	if id := c.form.Get("client_id"); id != "" && id != claims.Subject {
		return nil, invalidClient()
	}
	// Cheap checks first: an unknown client or a stale assertion must not make
	// us fetch keys.
	client := p.client(claims.Subject)
	if client == nil || !has(client.AuthMethods, AuthPrivateKeyJWT) {
		return nil, invalidClient()
	}
	audiences := []string{p.o.Issuer, p.base + pathToken}
	if c.seen.Endpoint == EndpointPAR {
		audiences = append(audiences, p.base+pathPAR) // RFC 9126, 2
	}
	if err := claims.check(audiences, c.now, p.o.ClockSkew, p.o.MaxAssertionLifetime); err != nil {
		return nil, invalidClient()
	}
	if !p.verifyAssertion(c, client, jws) {
		return nil, invalidClient()
	}
	// Only now, when nobody but the client can have made it, is the jti worth
	// remembering: until the assertion can no longer be good (RFC 7523, 3 (7)).
	p.mu.Lock()
	defer p.mu.Unlock()
	key := digest(client.ID + "\x00" + claims.ID)
	if _, replayed := p.state.jtis.get(key, c.now); replayed {
		return nil, invalidClient()
	}
	if !p.state.jtis.put(key, struct{}{}, c.now, seconds(claims.Expiry).Add(time.Second)) {
		return nil, unavailable()
	}
	return client, nil
}

func (p *Provider) verifyAssertion(c *call, client *registered, jws *jose.JSONWebSignature) bool {
	header := jws.Signatures[0].Protected
	var keys []jose.JSONWebKey
	if client.remote != nil {
		keys = client.remote.find(c.r.Context(), header.KeyID, header.Algorithm)
	} else if client.JWKS != nil {
		keys = matching(client.JWKS.Keys, header.KeyID, header.Algorithm)
	}
	for _, k := range keys {
		if _, err := jws.Verify(k); err == nil {
			return true
		}
	}
	return false
}

// observeAssertion records what came, whether it is any good or not.
func (p *Provider) observeAssertion(c *call, raw string) {
	parts := strings.Split(raw, ".")
	decode := func(i int) (m map[string]any) {
		if i < len(parts) {
			if b, err := base64.RawURLEncoding.DecodeString(parts[i]); err == nil {
				_ = json.Unmarshal(b, &m)
			}
		}
		return m
	}
	header, claims := decode(0), decode(1)
	p.seen.note(func() { c.seen.AssertionHeader, c.seen.AssertionClaims = header, claims })
}

type assertionClaims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  audience `json:"aud"`
	Expiry    *float64 `json:"exp"`
	NotBefore *float64 `json:"nbf"`
	IssuedAt  *float64 `json:"iat"`
	ID        string   `json:"jti"`
}

// check holds the claims against RFC 7523, 3 and OpenID Connect Core, 9. An
// assertion that stays good for days is refused: its jti would have to be
// remembered for as long.
func (a *assertionClaims) check(audiences []string, now time.Time, skew, longest time.Duration) error {
	ours := false
	for _, aud := range a.Audience {
		ours = ours || has(audiences, aud)
	}
	switch {
	case a.Subject == "" || a.Issuer != a.Subject:
		return errors.New("iss and sub must both be the client_id")
	case !ours:
		return errors.New("aud names somebody else")
	case a.ID == "":
		return errors.New("jti is missing")
	case a.Expiry == nil || !now.Before(seconds(a.Expiry)):
		return errors.New("exp is missing or past")
	case seconds(a.Expiry).After(now.Add(longest)):
		return errors.New("exp is too far away")
	case a.NotBefore != nil && seconds(a.NotBefore).After(now.Add(skew)):
		return errors.New("nbf is in the future")
	case a.IssuedAt != nil && seconds(a.IssuedAt).After(now.Add(skew)):
		return errors.New("iat is in the future")
	}
	return nil
}

// seconds reads a NumericDate (RFC 7519, 2). Numbers beyond the year 9999 are
// held there, where they still compare as they should.
func seconds(v *float64) time.Time {
	const year9999 = 253402300799
	whole, frac := math.Modf(max(-year9999, min(*v, year9999)))
	return time.Unix(int64(whole), int64(frac*1e9))
}

// audience is a string or an array of them (RFC 7519, 4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(b, []byte(`"`)) {
		*a = make(audience, 1)
		return json.Unmarshal(b, &(*a)[0])
	}
	return json.Unmarshal(b, (*[]string)(a))
}
