package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"keyway/internal/demo/api"
	"keyway/internal/jwks"
)

// verifier checks access tokens as any API behind the gateway would: by the
// IdP's keys (RFC 9068 section 4). It trusts the gateway for nothing.
type verifier struct {
	issuer string
	keys   *jwks.Remote
}

func newVerifier(issuer string) *verifier {
	return &verifier{issuer: issuer, keys: jwks.NewRemote(jwks.RemoteOptions{
		Locate: func(context.Context) (string, error) { return issuer + "/jwks", nil },
		Client: &http.Client{Timeout: 5 * time.Second},
	})}
}

func (v *verifier) verify(ctx context.Context, token string) (api.Subject, error) {
	payload, header, err := v.keys.Verify(ctx, token, []string{jwks.ES256})
	if errors.Is(err, jwks.ErrUnavailable) {
		return api.Subject{}, fmt.Errorf("%w: %w", api.ErrUnavailable, err)
	}
	if err != nil {
		return api.Subject{}, err
	}
	var claims struct {
		Issuer   string        `json:"iss"`
		Subject  string        `json:"sub"`
		Audience jwks.Audience `json:"aud"`
		Expires  int64         `json:"exp"`
		ClientID string        `json:"client_id"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return api.Subject{}, errors.New("claims can't be read")
	}
	switch {
	case header.Type != "at+jwt" && header.Type != "application/at+jwt":
		return api.Subject{}, errors.New("not an access token")
	case claims.Issuer != v.issuer, !slices.Contains(claims.Audience, audience):
		return api.Subject{}, errors.New("not for this API")
	case time.Now().Unix() >= claims.Expires:
		return api.Subject{}, errors.New("expired")
	}
	return api.Subject{ID: claims.Subject, ClientID: claims.ClientID}, nil
}
