package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"keyway/internal/jwks"
	"keyway/internal/problem"
	"keyway/internal/secret"
)

// RefreshRequest names the grant to refresh.
type RefreshRequest struct {
	RefreshToken secret.Value
	// Subject is the session's sub: a new ID token must be about the same one.
	Subject string
}

// Refreshed is the result of a refresh.
type Refreshed struct {
	// Tokens.RefreshToken is the one to use from now on: the new one, or the one
	// that was sent, when the provider did not rotate it.
	Tokens Tokens
	// Claims of the new ID token; nil when none came, which is usual, and when it
	// could not be verified now: then Tokens.IDToken is empty too, and the one
	// that the session has stays.
	Claims *IDTokenClaims
	// Unproved: a new ID token came, and could not be verified now. What it would have
	// said is not known.
	Unproved bool
}

// keysAtRefresh bounds how long a refresh waits for the issuer's keys. The new
// tokens are in our hands alone by then, and the caller has a deadline.
const keysAtRefresh = 2 * time.Second

// Refresh exchanges a refresh token (RFC 6749 section 6, Core section 12). What
// its errors mean for a session: ErrGrantGone ends it, and after
// ErrTokensDiscarded it can't be refreshed any more. ErrUnavailable (with
// RetryAfter), ErrClientRefused and every other one leave it as it is.
//
// The answer of the token endpoint may have used up the refresh token that was
// sent. So a key that can't be had is no reason to lose the new one: that the
// tokens came from the issuer is proved by TLS (Core 3.1.3.7, item 6). The new
// ID token is then compared as far as section 12.2 goes, and left out.
func (rp *RelyingParty) Refresh(ctx context.Context, r RefreshRequest) (Refreshed, error) {
	m, err := rp.metadata(ctx)
	if err != nil {
		return Refreshed{}, err
	}
	algorithms, err := rp.idTokenAlgorithms(m)
	if err != nil {
		return Refreshed{}, problem.New(problem.IdPFailed, err)
	}
	tokens, err := rp.client.token(ctx, m, url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {string(r.RefreshToken.Reveal())},
	}, nil, rp.client.binds()) // that of a client with a credential is bound to no key (RFC 9449 section 5)
	switch {
	case errors.Is(err, ErrGrantGone):
		return Refreshed{}, problem.New(problem.SessionEnded, err)
	case err != nil:
		return Refreshed{}, coded(err, problem.IdPFailed)
	}
	if tokens.RefreshToken.IsZero() {
		tokens.RefreshToken = r.RefreshToken
	}
	result := Refreshed{Tokens: tokens}
	if tokens.IDToken.IsZero() {
		return result, nil
	}
	keysCtx, cancel := context.WithTimeout(ctx, keysAtRefresh)
	defer cancel()
	claims, err := verifyIDToken(keysCtx, rp.provider.Keys(), tokens.IDToken, expected{
		issuer: m.Issuer, clientID: rp.client.ID(), algorithms: algorithms, now: time.Now(),
		accessToken: tokens.AccessToken, subject: r.Subject,
	})
	switch {
	case err == nil:
		result.Claims = &claims
	case unproved(err):
		result.Tokens.IDToken, result.Unproved = secret.Value{}, true
	default:
		return Refreshed{}, problem.New(problem.IdPFailed, fmt.Errorf("%w: %w", ErrTokensDiscarded, err))
	}
	return result, nil
}

// unproved tells an ID token whose signature can't be judged from one that is
// wrong. An unknown key is among the first: a provider that has just begun to
// sign with a new one may not have published it.
func unproved(err error) bool {
	return errors.Is(err, jwks.ErrUnavailable) || errors.Is(err, jwks.ErrUnknownKey)
}

// ClientCredentials gets a token for ourselves (RFC 6749 section 4.4), for one
// audience if it is not empty. There are two ways to say for whom: `resource` is
// the standard's (RFC 8707 section 2) and takes an absolute URI only, `audience`
// is what many providers know instead. Both are sent where both can be, and who
// does not know one ignores it (RFC 6749 section 3.2).
func (rp *RelyingParty) ClientCredentials(ctx context.Context, audience string, scopes []string) (Tokens, error) {
	m, err := rp.metadata(ctx)
	if err != nil {
		return Tokens{}, err
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	if audience != "" {
		form.Set("audience", audience)
		if isResource(audience) {
			form.Set("resource", audience)
		}
	}
	tokens, err := rp.client.token(ctx, m, form, scopes, rp.client.binds())
	if err != nil {
		return Tokens{}, coded(err, problem.UpstreamAuthFailed)
	}
	return tokens, nil
}

// isResource: RFC 8707 section 2 wants an absolute URI (RFC 3986 section 4.3),
// which has no fragment.
func isResource(audience string) bool {
	u, err := url.Parse(audience)
	return err == nil && u.IsAbs() && u.Host+u.Path+u.Opaque != "" && !strings.ContainsAny(audience, "# ")
}

// Revoke tells the provider that a token is not needed any more (RFC 7009).
// hint is "refresh_token" or "access_token". ErrNotOffered when there is no such
// endpoint. What is already over is no error there.
func (rp *RelyingParty) Revoke(ctx context.Context, token secret.Value, hint string) error {
	m, err := rp.metadata(ctx)
	if err != nil {
		return err
	}
	if m.RevocationEndpoint == "" {
		return fmt.Errorf("%w: revocation", ErrNotOffered)
	}
	_, err = rp.client.Post(ctx, m, "revocation", m.RevocationEndpoint, url.Values{
		"token": {string(token.Reveal())}, "token_type_hint": {hint},
	}, maxSmallAnswer)
	return coded(err, problem.IdPFailed)
}

// EndSessionURL is where to send the browser to end the session at the provider
// too (OpenID Connect RP-Initiated Logout 1.0 section 2). Each part may be left
// out; the client id is always there, so that a provider can do without the
// hint. ErrNotOffered when there is no such endpoint.
func (rp *RelyingParty) EndSessionURL(ctx context.Context, idTokenHint secret.Value, postLogoutRedirectURI, state string) (string, error) {
	m, err := rp.metadata(ctx)
	if err != nil {
		return "", err
	}
	if m.EndSessionEndpoint == "" {
		return "", fmt.Errorf("%w: end_session", ErrNotOffered)
	}
	params := url.Values{"client_id": {rp.client.ID()}}
	for name, value := range map[string]string{
		"id_token_hint":            string(idTokenHint.Reveal()),
		"post_logout_redirect_uri": postLogoutRedirectURI,
		"state":                    state,
	} {
		if value != "" {
			params.Set(name, value)
		}
	}
	return withQuery(m.EndSessionEndpoint, params)
}
