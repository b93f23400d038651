package app

import (
	"context"
	"time"

	"keyway/internal/gateway"
	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/secret"
	"keyway/internal/session"
	"keyway/internal/telemetry"
)

// observer turns what the relying party tells into metrics.
type observer struct{ metrics *telemetry.Metrics }

func (o observer) IdPRequest(_, endpoint string, status int, _ time.Duration) {
	o.metrics.IdPRequest(endpoint, status)
}

func (o observer) ClientAuth(idp, version, outcome string) {
	o.metrics.ClientAuth(idp, version, outcome)
}

// currentClient fetches service tokens with the credentials of the generation
// that is current when it is asked.
type currentClient struct {
	current func() *gateway.Generation
}

func (c currentClient) ClientCredentials(ctx context.Context, audience string, scopes []string) (secret.Value, time.Time, error) {
	generation := c.current()
	if generation == nil || generation.SignIn == nil {
		return secret.Value{}, time.Time{}, problem.Newf(problem.UpstreamAuthFailed, "no IdP is configured")
	}
	tokens, err := generation.SignIn.ClientCredentials(ctx, audience, scopes)
	return tokens.AccessToken, tokens.Expiry, err
}

// oneTime marks sign-ins as used in the session store, so that every replica
// knows.
type oneTime struct{ leases session.Leases }

// Claim implements oidc.OneTime.
func (o oneTime) Claim(ctx context.Context, id string, ttl time.Duration) (bool, error) {
	return o.leases.Acquire(ctx, "signin:"+id, "used", ttl)
}

var _ oidc.OneTime = oneTime{}
