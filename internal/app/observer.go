package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"keyway/internal/gateway"
	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/rotation"
	"keyway/internal/session"
	"keyway/internal/telemetry"
	"keyway/internal/upstream"
)

// observer turns what the relying party tells into metrics.
type observer struct {
	metrics *telemetry.Metrics
	refused func(version string) // may be nil
}

func (o observer) IdPRequest(_, endpoint string, status int, _ time.Duration) {
	o.metrics.IdPRequest(endpoint, status)
}

func (o observer) ClientAuth(idp, version, outcome string) {
	o.metrics.ClientAuth(idp, version, outcome)
	if outcome == oidc.Refused && o.refused != nil {
		o.refused(version)
	}
}

// discovery says when what the provider tells of itself changes for the worse or
// the better. The first outcome is the start's to tell.
type discovery struct {
	log    *slog.Logger
	issuer string

	mu  sync.Mutex
	was string // "": nothing yet
}

func (d *discovery) told(err error) {
	now := "good"
	switch {
	case err == nil:
	case errors.Is(err, oidc.ErrUnavailable):
		now = "away"
	case errors.Is(err, oidc.ErrIssuerMismatch):
		now = "another issuer"
	default:
		now = "unusable"
	}
	d.mu.Lock()
	was := d.was
	d.was = now
	d.mu.Unlock()
	switch {
	case was == "" || was == now:
	case now == "good":
		d.log.Info("the identity provider's metadata can be had again", "issuer", d.issuer)
	case now == "away":
		d.log.Warn("the identity provider's metadata can't be fetched; the last good one stays in use", "issuer", d.issuer, "error", err.Error())
	default:
		d.log.Error("the identity provider's metadata was refused; the last good one stays in use", "issuer", d.issuer, "error", err.Error())
	}
}

// currentClient fetches service tokens with the credentials of the generation
// that is current when it is asked.
type currentClient struct {
	current func() *gateway.Generation
	metrics *telemetry.Metrics
}

func (c currentClient) ClientCredentials(ctx context.Context, audience string, scopes []string) (upstream.Token, time.Time, error) {
	generation := c.current()
	if generation == nil || generation.SignIn == nil {
		return upstream.Token{}, time.Time{}, problem.Newf(problem.UpstreamAuthFailed, "no IdP is configured")
	}
	tokens, err := generation.SignIn.ClientCredentials(ctx, audience, scopes)
	c.metrics.TokenRefresh("service", refreshStatus(err))
	return upstream.Token{Value: tokens.AccessToken, Key: tokens.Key}, tokens.Expiry, err
}

// refreshStatus is how an attempt at a token is counted.
func refreshStatus(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, oidc.ErrUnavailable):
		return "unavailable"
	}
	return "failed"
}

// oneTime marks sign-ins as used in the session store, so that every replica
// knows.
type oneTime struct{ leases session.Leases }

// Claim implements oidc.OneTime.
func (o oneTime) Claim(ctx context.Context, id string, ttl time.Duration) (bool, error) {
	return o.leases.Acquire(ctx, "signin:"+id, "used", ttl)
}

// Unclaim implements oidc.OneTime.
func (o oneTime) Unclaim(ctx context.Context, id string) error {
	return o.leases.Release(ctx, "signin:"+id, "used")
}

var _ oidc.OneTime = oneTime{}

// rotations turns what happens to secrets into metrics.
type rotations struct{ metrics *telemetry.Metrics }

// Moved implements rotation.Observer.
func (r rotations) Moved(secret, outcome string) { r.metrics.Rotation(secret, outcome) }

var _ rotation.Observer = rotations{}
