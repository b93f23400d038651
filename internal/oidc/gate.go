package oidc

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// Bounds of pushed authorization requests. Anybody can cause one, so that they
// must not take what those who are signed in need: the transport's connections
// (maxConnections, NewHTTPClient) are several times as many.
const (
	maxPushes      = 64
	silencesToOpen = 5
	shortestPause  = time.Second
	longestPause   = 2 * time.Second
)

var (
	errTooMany = errors.New("as many requests as it may get at once are waiting for an answer already")
	errSilent  = errors.New("it does not answer, and it is too soon to ask again")
)

// gate bounds the calls of one endpoint that strangers can cause. At most
// maxPushes wait at once; after silencesToOpen calls in a row that brought no
// answer, for a second or two none is made, and then one in each such pause,
// until one is answered. Who is not let through is told so at once. It belongs
// to the provider, and not to a generation, so that a rotation does not forget
// what is known of an endpoint. Safe for concurrent use.
type gate struct {
	endpoint string

	mu       sync.Mutex
	inFlight int
	silences int // calls without an answer, in a row
	nextTry  time.Time
}

// enter asks for leave to make a call, at now. The caller calls leave with what
// came of it, exactly once, unless there is an error: an *UnavailableError.
func (g *gate) enter(now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.silences >= silencesToOpen && now.Before(g.nextTry) {
		return &UnavailableError{Endpoint: g.endpoint, RetryAfter: g.nextTry.Sub(now), Cause: errSilent}
	}
	if g.inFlight >= maxPushes {
		return &UnavailableError{Endpoint: g.endpoint, RetryAfter: shortestPause, Cause: errTooMany}
	}
	if g.silences >= silencesToOpen {
		g.nextTry = now.Add(pauseOfGate()) // this one is the probe; the next is due then
	}
	g.inFlight++
	return nil
}

// leave notes what came of a call that was let through.
func (g *gate) leave(now time.Time, o outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight--
	switch o {
	case answered:
		g.silences = 0
	case silent:
		if g.silences++; g.silences == silencesToOpen {
			g.nextTry = now.Add(pauseOfGate())
		}
	}
}

// outcome is what a call says of its endpoint.
type outcome int

const (
	unknown  outcome = iota // whoever asked went away first
	answered                // whatever the answer was
	silent                  // none, or half of one
)

// outcomeOf: that somebody closed a browser is no sign that the provider is
// away, or strangers could keep everybody from signing in by that.
func outcomeOf(ctx context.Context, err error) outcome {
	away, ok := errors.AsType[*UnavailableError](err)
	switch {
	case !ok || away.Cause == nil: // there was an error response, or a status
		return answered
	case errors.Is(ctx.Err(), context.Canceled): // a deadline is ours, and not a stranger's
		return unknown
	}
	return silent
}

// pauseOfGate is spread, so that replicas don't ask in step.
func pauseOfGate() time.Duration {
	return shortestPause + rand.N(longestPause-shortestPause)
}
