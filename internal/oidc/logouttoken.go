package oidc

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	josejson "github.com/go-jose/go-jose/v4/json"

	"keyway/internal/jwks"
	"keyway/internal/problem"
)

// ErrLogoutToken: a logout token fails a check of OpenID Connect Back-Channel
// Logout 1.0 section 2.6, or was used before.
var ErrLogoutToken = errors.New("oidc: the logout token is not acceptable")

// logoutEvent is the member of `events` that makes a token a logout token.
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// maxLogoutAge is how long ago a logout token may have been issued, however long it
// lives: a use has to be remembered for as long.
const maxLogoutAge = 10 * time.Minute

// Bounds of a logout token's names, in bytes.
const (
	maxTokenID   = 1024
	maxSessionID = 1024
)

// LogoutToken is a verified logout token: the provider says that Subject, or its
// session SessionID, or both, signed out there.
type LogoutToken struct {
	Issuer    string
	Subject   string // empty: not said; then SessionID is
	SessionID string // sid; empty: not said
	ID        string // jti
	IssuedAt  time.Time
	Expiry    time.Time
}

// logoutClaims are read by exact names and types. RawMessage tells a member that is
// there, be it null, from one that is not.
type logoutClaims struct {
	jwks.Times
	Issuer    string                         `json:"iss"`
	Audience  jwks.Audience                  `json:"aud"`
	Subject   *string                        `json:"sub"`
	SessionID *string                        `json:"sid"`
	ID        string                         `json:"jti"`
	Events    map[string]josejson.RawMessage `json:"events"`
	Nonce     josejson.RawMessage            `json:"nonce"`
}

// LogoutToken makes the checks of OpenID Connect Back-Channel Logout 1.0 section
// 2.6, the cheap ones before a key is looked for. It does not ask whether the token
// was used before: see ClaimLogout. Errors are coded: ErrLogoutToken
// (invalid_logout_token), or idp_unavailable and idp_failed when it can't be known. A
// key that is not known while it is too soon to look for it is of the latter
// (jwks.CoolDownError): a provider that is refused may not try again.
func (rp *RelyingParty) LogoutToken(ctx context.Context, token string) (LogoutToken, error) {
	m, err := rp.metadata(ctx)
	if err != nil {
		return LogoutToken{}, err
	}
	algorithms, err := rp.idTokenAlgorithms(m) // as section 2.6 has it
	if err != nil {
		return LogoutToken{}, problem.New(problem.IdPFailed, err)
	}
	parsed, err := jwks.Parse(token, algorithms)
	if err != nil {
		return LogoutToken{}, problem.New(problem.InvalidLogoutToken, fmt.Errorf("%w: %w", ErrLogoutToken, err))
	}
	// The type is optional (section 2.4, for providers from before it was defined),
	// but a token that is of another type is another token (RFC 8725 section 3.11).
	switch strings.TrimPrefix(strings.ToLower(parsed.Header.Type), "application/") {
	case "logout+jwt", "jwt", "":
	default:
		return LogoutToken{}, fail(problem.InvalidLogoutToken, ErrLogoutToken, "typ: expected logout+jwt, found another")
	}
	now := time.Now()
	if _, err := parseLogoutClaims(parsed.Unproved(), m.Issuer, rp.client.ID(), now); err != nil {
		return LogoutToken{}, problem.New(problem.InvalidLogoutToken, err)
	}
	payload, err := rp.provider.Keys().Check(ctx, parsed)
	if err != nil {
		return LogoutToken{}, codedIDToken(fmt.Errorf("%w: %w", ErrLogoutToken, err), problem.InvalidLogoutToken)
	}
	t, err := parseLogoutClaims(payload, m.Issuer, rp.client.ID(), now)
	if err != nil {
		return LogoutToken{}, problem.New(problem.InvalidLogoutToken, err)
	}
	return t, nil
}

// parseLogoutClaims reads and checks the payload. Numbers in the comments are the
// steps of section 2.6. What was found is not quoted: anybody may have sent it.
func parseLogoutClaims(payload []byte, issuer, clientID string, now time.Time) (LogoutToken, error) {
	bad := func(format string, args ...any) (LogoutToken, error) {
		return LogoutToken{}, fmt.Errorf("%w: %s", ErrLogoutToken, fmt.Sprintf(format, args...))
	}
	var c logoutClaims
	if err := jwks.DecodeObject(payload, &c); err != nil {
		return bad("claims: %v", err)
	}
	times := c.Check(now, jwks.TimesWanted{Skew: Skew, IssuedAt: true, Expiry: true})
	switch {
	case c.Issuer != issuer: // 3
		return bad("iss: expected %q, found another", issuer)
	case !slices.Contains(c.Audience, clientID):
		return bad("aud: expected it to contain our client id")
	case times != nil:
		return bad("%v", times)
	case c.IssuedAt.Time().Before(now.Add(-maxLogoutAge)):
		return bad("iat: over %s ago", maxLogoutAge)
	case c.Subject == nil && c.SessionID == nil: // 4
		return bad("expected sub, sid or both, found neither")
	case c.Subject != nil && !plainSubject(*c.Subject):
		return bad("sub: expected 1 to 255 printable characters")
	case c.SessionID != nil && (*c.SessionID == "" || len(*c.SessionID) > maxSessionID):
		return bad("sid: expected 1 to %d bytes", maxSessionID)
	case c.Nonce != nil: // 6: an ID token must not pass for a logout token
		return bad("nonce: must not be there")
	case c.ID == "" || len(c.ID) > maxTokenID:
		return bad("jti: expected 1 to %d bytes", maxTokenID)
	}
	event, ok := c.Events[logoutEvent] // 5
	if !ok {
		return bad("events: expected the member %s", logoutEvent)
	}
	var members map[string]josejson.RawMessage
	if err := jwks.DecodeObject(event, &members); err != nil {
		return bad("events: expected the member %s to be an object", logoutEvent)
	}
	t := LogoutToken{Issuer: c.Issuer, ID: c.ID, IssuedAt: c.IssuedAt.Time(), Expiry: c.Expiry.Time()}
	if c.Subject != nil {
		t.Subject = *c.Subject
	}
	if c.SessionID != nil {
		t.SessionID = *c.SessionID
	}
	return t, nil
}

// claimName is under which name the use of t is remembered: a hash, since an issuer
// may put anything into a jti. The length keeps issuer and jti apart.
func (t LogoutToken) claimName() string {
	h := sha256.New()
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(t.Issuer)))
	h.Write(length[:])
	h.Write([]byte(t.Issuer))
	h.Write([]byte(t.ID))
	return "logout." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// acceptedUntil is when t stops being acceptable by any replica's clock.
func (t LogoutToken) acceptedUntil() time.Time {
	until := t.Expiry.Add(Skew)
	if aged := t.IssuedAt.Add(maxLogoutAge); aged.Before(until) {
		until = aged
	}
	return until.Add(replicaSkew)
}

// ClaimLogout marks t as used, for as long as it would be accepted. It fails with
// ErrLogoutToken (invalid_logout_token) if it was used before (section 2.6, step 7),
// and with ErrStore (sessions_unavailable) if that can't be known.
func (rp *RelyingParty) ClaimLogout(ctx context.Context, t LogoutToken) error {
	first, err := rp.o.OneTime.Claim(ctx, t.claimName(), max(time.Until(t.acceptedUntil()), time.Second))
	switch {
	case err != nil:
		return problem.New(problem.StoreUnavailable, fmt.Errorf("%w: %w", ErrStore, err))
	case !first:
		return fail(problem.InvalidLogoutToken, ErrLogoutToken, "jti: used before")
	}
	return nil
}

// UnclaimLogout takes a claim back, so that the provider can send t again: nothing
// was done with it.
func (rp *RelyingParty) UnclaimLogout(ctx context.Context, t LogoutToken) error {
	if err := rp.o.OneTime.Unclaim(ctx, t.claimName()); err != nil {
		return problem.New(problem.StoreUnavailable, fmt.Errorf("%w: %w", ErrStore, err))
	}
	return nil
}
