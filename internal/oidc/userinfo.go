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

// UserInfo asks the UserInfo endpoint about subject with new tokens, where Finish would
// ask it; asked is false where not.
func (rp *RelyingParty) UserInfo(ctx context.Context, tokens Tokens, subject string) (claims map[string]any, asked bool, err error) {
	m, err := rp.metadata(ctx)
	if err != nil || m.UserInfoEndpoint == "" || rp.o.SkipUserInfo {
		return nil, false, err
	}
	// An answer without a scope means the one that was asked for (RFC 6749 section 6).
	if tokens.Scopes != nil && !slices.Contains(tokens.Scopes, "openid") {
		return nil, false, nil
	}
	claims, err = rp.userInfo(ctx, m, tokens, subject)
	return claims, true, err
}
