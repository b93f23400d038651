package oidc

import (
	"context"
	"crypto"
	_ "crypto/sha256" // for at_hash
	_ "crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"keyway/internal/jwks"
	"keyway/internal/secret"
)

// Skew is how far a provider's clock may be from ours.
const Skew = 60 * time.Second

// maxAgeAtSignIn refuses ID tokens that were issued well before the sign-in
// began, however long they live.
const maxAgeAtSignIn = 10 * time.Minute

// IDTokenClaims are those of a verified ID token.
type IDTokenClaims struct {
	Issuer    string
	Subject   string
	Audience  []string
	IssuedAt  time.Time
	Expiry    time.Time
	AuthTime  time.Time // zero: not said
	SessionID string    // sid, for logout by the provider; empty: not said
	ACR       string
	AMR       []string
	// All are the claims as they came, for the mapping of roles. Numbers are
	// float64.
	All map[string]any
}

// rawClaims are read by exact names and types: a claim of another type than
// OpenID Connect gives it makes the token unacceptable.
type rawClaims struct {
	jwks.Times
	Issuer     string            `json:"iss"`
	Subject    string            `json:"sub"`
	Audience   jwks.Audience     `json:"aud"`
	Party      *string           `json:"azp"`
	AuthTime   *jwks.NumericDate `json:"auth_time"`
	Nonce      *string           `json:"nonce"`
	AccessHash *string           `json:"at_hash"`
	SessionID  string            `json:"sid"`
	ACR        string            `json:"acr"`
	AMR        []string          `json:"amr"`
}

// expected is what an ID token is compared with.
type expected struct {
	issuer      string
	clientID    string
	algorithms  []string
	now         time.Time
	nonce       *string // nil: not checked, at a refresh
	notBefore   time.Time
	accessToken secret.Value
	subject     string // empty: any; at a refresh, the session's
}

// verifyIDToken makes the checks of OpenID Connect Core 3.1.3.7, the cheap ones
// before a key is looked for. Errors: ErrIDToken, or jwks.ErrUnavailable when
// it can't be known.
func verifyIDToken(ctx context.Context, keys *jwks.Remote, token secret.Value, want expected) (IDTokenClaims, error) {
	parsed, err := jwks.Parse(string(token.Reveal()), want.algorithms)
	if err != nil {
		return IDTokenClaims{}, fmt.Errorf("%w: %w", ErrIDToken, err)
	}
	// Another kind of token (RFC 8725 section 3.11): access and logout tokens
	// say what they are, ID tokens say "JWT" or nothing.
	if typ := strings.ToLower(parsed.Header.Type); strings.HasSuffix(typ, "+jwt") {
		return IDTokenClaims{}, fmt.Errorf("%w: typ: expected JWT or none, found another", ErrIDToken)
	}
	if _, err := parseIDTokenClaims(parsed.Unproved(), parsed.Header.Algorithm, want); err != nil {
		return IDTokenClaims{}, err
	}
	payload, err := keys.Check(ctx, parsed)
	if err != nil {
		return IDTokenClaims{}, fmt.Errorf("%w: %w", ErrIDToken, err)
	}
	return parseIDTokenClaims(payload, parsed.Header.Algorithm, want)
}

// parseIDTokenClaims reads and checks the payload. Numbers in the comments are
// those of Core 3.1.3.7. What was found is not quoted: it is not proved yet, and
// could be the code or the refresh token that we sent.
func parseIDTokenClaims(payload []byte, algorithm string, want expected) (IDTokenClaims, error) {
	bad := func(format string, args ...any) (IDTokenClaims, error) {
		return IDTokenClaims{}, fmt.Errorf("%w: %s", ErrIDToken, fmt.Sprintf(format, args...))
	}
	var c rawClaims
	all := map[string]any{}
	if err := jwks.DecodeObject(payload, &c); err != nil {
		return bad("claims: %v", err)
	}
	if err := jwks.DecodeObject(payload, &all); err != nil {
		return bad("claims: %v", err)
	}
	times := c.Check(want.now, jwks.TimesWanted{Skew: Skew, IssuedAt: true, Expiry: true}) // 9, 10
	switch {
	case c.Issuer != want.issuer: // 2
		return bad("iss: expected %q, found another", want.issuer)
	case !slices.Contains(c.Audience, want.clientID): // 3
		return bad("aud: expected it to contain our client id")
	case len(c.Audience) > 1 && c.Party == nil: // 4: others may have it too, so it must say for whom it is
		return bad("azp: expected one, since there is more than one audience")
	case c.Party != nil && *c.Party != want.clientID: // 5
		return bad("azp: expected our client id")
	case !plainSubject(c.Subject):
		return bad("sub: expected 1 to 255 printable characters")
	case want.subject != "" && c.Subject != want.subject: // section 12.2
		return bad("sub: expected the session's, found another")
	case times != nil:
		return bad("%v", times)
	case !want.notBefore.IsZero() && c.IssuedAt.Time().Before(want.notBefore): // 10
		return bad("iat: expected about now, found a token issued long before this sign-in")
	}
	if want.nonce != nil && (c.Nonce == nil || subtle.ConstantTimeCompare([]byte(*c.Nonce), []byte(*want.nonce)) != 1) { // 11
		return bad("nonce: missing, or another sign-in's")
	}
	if c.AccessHash != nil && *c.AccessHash != accessHash(algorithm, want.accessToken) { // 3.1.3.8
		return bad("at_hash: does not match the access token")
	}
	return IDTokenClaims{
		Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience, SessionID: c.SessionID, ACR: c.ACR, AMR: c.AMR,
		IssuedAt: c.IssuedAt.Time(), Expiry: c.Expiry.Time(), AuthTime: c.AuthTime.Time(), All: all,
	}, nil
}

// plainSubject: Core section 2 wants at most 255 ASCII characters. Others are
// let through, controls are not, nor is what stands for undecodable bytes:
// two subjects must not become one.
func plainSubject(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(c rune) bool { return c < 0x20 || c == 0x7f || c == '\uFFFD' })
}

// accessHash is the left half of the access token's hash, by the hash of the
// signature algorithm; SHA-512 for Ed25519 (Core 3.1.3.6, RFC 8032).
func accessHash(algorithm string, token secret.Value) string {
	hash := crypto.SHA256
	switch {
	case strings.HasSuffix(algorithm, "384"):
		hash = crypto.SHA384
	case strings.HasSuffix(algorithm, "512"), algorithm == jwks.EdDSA:
		hash = crypto.SHA512
	}
	h := hash.New()
	h.Write(token.Reveal())
	sum := h.Sum(nil)
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// idTokenAlgorithms is the narrow list for this provider.
func (rp *RelyingParty) idTokenAlgorithms(m *Metadata) ([]string, error) {
	algorithms := rp.o.IDTokenAlgorithms
	if len(algorithms) == 0 {
		algorithms = jwks.Acceptable(m.IDTokenAlgs)
	}
	if len(algorithms) == 0 {
		return nil, fmt.Errorf("%w: it signs ID tokens with none of the asymmetric algorithms", ErrMetadata)
	}
	return algorithms, nil
}
