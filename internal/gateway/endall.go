package gateway

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"keyway/internal/problem"
	"keyway/internal/secret"
	"keyway/internal/session"
)

const (
	// endAllTries is how often ending all sessions of somebody is tried. It fails half
	// done, when the store is away for a moment, and goes on where it was.
	endAllTries = 3
	// endAllPause is the time between two tries.
	endAllPause = 300 * time.Millisecond
)

// endAll ends all sessions of w whose ID token was issued at until or before; a zero
// until is all. It counts them for reason, and returns what they were, those that it
// ended before it failed included. The error is coded, and is never one to serve the
// request again for: its body is read.
func (c *call) endAll(ctx context.Context, w session.Whose, until time.Time, reason string) ([]session.Record, error) {
	var all []session.Record
	for try := 1; ; try++ {
		ended, err := c.gen.Sessions.EndAll(ctx, w, until)
		all = append(all, ended...)
		for range ended {
			c.gateway.metrics.SessionDestroyed(reason)
		}
		if err == nil {
			return all, nil
		}
		if try == endAllTries || !c.beforeNextTry(ctx, err) {
			return all, problem.Newf(problem.StoreUnavailable, "ending all sessions of somebody, try %d: %s", try, err.Error())
		}
	}
}

// beforeNextTry waits. A record may be sealed with a key that came since, so the next
// try is with what there is then. It reports whether there is time for one.
func (c *call) beforeNextTry(ctx context.Context, err error) bool {
	if id, unknown := unknownVersion(err); unknown {
		if _, err := c.gateway.rereads.wait(ctx, id, c.client.Addr); err != nil {
			return false
		}
		c.gen = c.gateway.current()
		return true
	}
	pause := time.NewTimer(endAllPause)
	defer pause.Stop()
	select {
	case <-pause.C:
		c.gen = c.gateway.current()
		return true
	case <-ctx.Done():
		return false
	}
}

const (
	// revokeWithin bounds telling the IdP that a token is of no use any more.
	revokeWithin = 5 * time.Second
	// revokeAllWithin bounds telling it of all of somebody's; a stop waits for it.
	revokeAllWithin = 15 * time.Second
	// revokersEach bounds how many an IdP is told of at once because of one request,
	// and revokersMax because of all.
	revokersEach, revokersMax = 4, 16
)

// revoker is who tells an IdP: *oidc.RelyingParty.
type revoker interface {
	Revoke(ctx context.Context, token secret.Value, hint string) error
}

// revokeAll tells the IdP, beside the request, that the refresh tokens of ended
// sessions are finished (RFC 7009). The user does not wait for it, and an IdP that is
// away has no say in whether somebody is signed out.
func (c *call) revokeAll(records []session.Record) {
	if c.gen.SignIn == nil {
		return
	}
	var tokens []secret.Value
	for _, r := range records {
		if !r.RefreshToken.IsZero() {
			tokens = append(tokens, r.RefreshToken)
		}
	}
	if len(tokens) == 0 {
		return
	}
	g, rp, id := c.gateway, c.gen.SignIn, c.id
	ctx := context.WithoutCancel(c.r.Context())
	g.beside(func() {
		if failed, err := g.revokeEach(ctx, rp, tokens); failed > 0 {
			g.log.Info("refresh tokens of ended sessions could not be revoked", "correlation_id", id, "count", failed, "error", err.Error())
		}
	})
}

// revokeEach revokes tokens, a few at a time, and says how many could not be, and
// why the first could not. After a few failures in a row it gives up: the tokens
// expire.
func (g *Gateway) revokeEach(ctx context.Context, rp revoker, tokens []secret.Value) (failed int, first error) {
	ctx, cancel := context.WithTimeout(ctx, revokeAllWithin)
	defer cancel()
	var next, inRow, done atomic.Int64
	var once sync.Once
	first = errors.New("gave up")
	var workers sync.WaitGroup
	for range min(revokersEach, len(tokens)) {
		workers.Go(func() {
			for inRow.Load() < revokersEach {
				i := int(next.Add(1)) - 1
				if i >= len(tokens) {
					return
				}
				select {
				case g.revokers <- struct{}{}:
				case <-ctx.Done():
					return
				}
				err := revokeOne(ctx, rp, tokens[i])
				<-g.revokers
				if err != nil {
					inRow.Add(1)
					once.Do(func() { first = err })
					continue
				}
				inRow.Store(0)
				done.Add(1)
			}
		})
	}
	workers.Wait()
	return len(tokens) - int(done.Load()), first
}

func revokeOne(ctx context.Context, rp revoker, token secret.Value) error {
	ctx, cancel := context.WithTimeout(ctx, revokeWithin)
	defer cancel()
	return rp.Revoke(ctx, token, "refresh_token")
}
