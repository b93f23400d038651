package oidc

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"slices"

	"keyway/internal/jwks"
)

// userInfo asks the UserInfo endpoint (OpenID Connect Core 5.3). Its sub must be
// the ID token's, exactly, or the claims are somebody else's (5.3.2). A signed
// or encrypted answer was not asked for, and is refused.
func (rp *RelyingParty) userInfo(ctx context.Context, m *Metadata, tokens Tokens, subject string) (map[string]any, error) {
	answer, err := rp.client.fetch(ctx, "userinfo", m.UserInfoEndpoint, tokens, maxUserInfo)
	if err != nil {
		return nil, err
	}
	if answer.Status != http.StatusOK {
		return nil, fmt.Errorf("%w: expected status 200, found %d", ErrUserInfo, answer.Status)
	}
	if kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type")); kind != "application/json" {
		// What was found is not quoted: it may be the token that we sent.
		return nil, fmt.Errorf("%w: expected the Content-Type application/json, found another", ErrUserInfo)
	}
	claims := map[string]any{}
	if err := jwks.DecodeObject(answer.Body, &claims); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUserInfo, err)
	}
	if found, ok := claims["sub"].(string); !ok || found != subject {
		return nil, fmt.Errorf("%w: sub is not the ID token's", ErrUserInfo)
	}
	return claims, nil
}

// wantsUserInfo: not without an endpoint, and not with a token that was granted
// without openid, which UserInfo would refuse (Core 5.3.1). At a refresh an answer
// without a scope means what was granted before (RFC 6749 section 6): nil is that.
func (rp *RelyingParty) wantsUserInfo(m *Metadata, tokens Tokens) bool {
	return m.UserInfoEndpoint != "" && !rp.o.SkipUserInfo && (tokens.Scopes == nil || slices.Contains(tokens.Scopes, "openid"))
}

// UserInfo asks the UserInfo endpoint about subject with the tokens that a session has,
// where Finish would ask it; asked is false where not.
func (rp *RelyingParty) UserInfo(ctx context.Context, tokens Tokens, subject string) (claims map[string]any, asked bool, err error) {
	m, err := rp.metadata(ctx)
	if err != nil || !rp.wantsUserInfo(m, tokens) {
		return nil, false, err
	}
	claims, err = rp.userInfo(ctx, m, tokens, subject)
	return claims, true, err
}
