package gateway

import (
	"context"
	"time"

	"keyway/internal/problem"
	"keyway/internal/secret"
	"keyway/internal/session"
)

// endAll ends all sessions of w whose ID token was issued at until or before; a zero
// until is all. It counts them for reason, and returns what they were, those that it
// ended before it failed included. The error is coded, and is never one to serve the
// request again for: its body is read.
func (c *call) endAll(ctx context.Context, w session.Whose, until time.Time, reason string) ([]session.Record, error) {
	ending := session.Ending{
		Current: func() *session.Manager {
			c.gen = c.gateway.current()
			return c.gen.Sessions
		},
		Missing: func(ctx context.Context, err error) error {
			id, _ := unknownVersion(err)
			_, failed := c.gateway.rereads.wait(ctx, id, c.client.Addr)
			return failed
		},
	}
	ended, err := ending.EndAll(ctx, w, until)
	for range ended {
		c.gateway.metrics.SessionDestroyed(reason)
	}
	if err != nil {
		return ended, problem.Newf(problem.StoreUnavailable, "ending all sessions of somebody: %s", err.Error())
	}
	return ended, nil
}

// revokeAll tells the IdP, beside the request, that the refresh tokens of ended
// sessions are finished.
func (c *call) revokeAll(records []session.Record) {
	if c.gen.SignIn == nil {
		return
	}
	tokens := make([]secret.Value, len(records))
	for i, r := range records {
		tokens[i] = r.RefreshToken
	}
	log, id := c.gateway.log, c.id
	c.gateway.revoker.Begin(c.r.Context(), c.gen.SignIn, tokens, func(failed int, err error) {
		log.Info("refresh tokens of ended sessions could not be revoked", "correlation_id", id, "count", failed, "error", err.Error())
	})
}
