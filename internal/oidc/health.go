package oidc

import (
	"errors"
	"net/http"
	"slices"
	"sync/atomic"

	"keyway/internal/jwks"
)

// Health says why sign-ins are not possible now, from what is known already; it asks
// nobody. nil: the metadata was had, and of the last two calls, by the Provider or by
// a [Client] At it, one at least had an answer.
func (p *Provider) Health() error {
	if p.metadata.Load() != nil {
		if p.reach.lost() {
			return errLost
		}
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lastErr != nil {
		return p.lastErr
	}
	return &UnavailableError{Endpoint: "discovery", Cause: errors.New("not asked yet")}
}

// Known is the metadata that was last fetched well; nil: none was.
func (p *Provider) Known() *Metadata { return p.metadata.Load() }

var errLost = &UnavailableError{Endpoint: "every", Cause: errors.New("the last calls had no answer, or a server's failure")}

// lostAfter is how many calls in a row fail before a provider counts as lost: one is a
// hiccup.
const lostAfter = 2

// reach is whether a provider can be reached, by what its calls came to. Only what is
// sure counts: no answer, and the statuses of servers that fail (5xx), are failures;
// whoever hangs up before the answer, 408 and 429 say nothing. A nil reach counts
// nothing. It is safe for concurrent use, and costs a load where all is well.
type reach struct {
	failures atomic.Int64  // in a row
	doubts   chan struct{} // told when it is lost
}

func newReach() *reach { return &reach{doubts: make(chan struct{}, 1)} }

func (r *reach) lost() bool { return r.failures.Load() >= lostAfter }

func (r *reach) answered(status int) {
	switch {
	case r == nil:
	case status >= 500:
		r.failed()
	case status != http.StatusRequestTimeout && status != http.StatusTooManyRequests && r.failures.Load() != 0:
		r.failures.Store(0)
	}
}

func (r *reach) failed() {
	if r == nil || r.failures.Add(1) != lostAfter {
		return
	}
	select {
	case r.doubts <- struct{}{}:
	default:
	}
}

// BestSigningAlgorithm is what a new key for private_key_jwt should sign with:
// the best that the provider takes. One that does not say takes RS256 (RFC 8414
// section 2, as OpenID Connect Discovery 1.0 section 3 recommends).
func (m *Metadata) BestSigningAlgorithm() string {
	for _, algorithm := range []string{jwks.ES256, jwks.PS256, jwks.EdDSA} {
		if slices.Contains(m.TokenAuthAlgs, algorithm) {
			return algorithm
		}
	}
	return jwks.RS256
}
