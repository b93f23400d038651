package oidc

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"keyway/internal/secret"
)

// Bounds of a Revoker.
const (
	// RevokeWithin bounds telling the provider of one token.
	RevokeWithin = 5 * time.Second
	// RevokeAllWithin bounds telling it of all that one Begin was given.
	RevokeAllWithin = 15 * time.Second
	// RevokersEach is how many it is told of at once because of one Begin, and
	// RevokersMax because of all.
	RevokersEach, RevokersMax = 4, 16
)

// TokenRevoker is a provider that can be told that a token is of no use any more:
// *RelyingParty.
type TokenRevoker interface {
	Revoke(ctx context.Context, token secret.Value, hint string) error
}

// Revoker has the provider forget the refresh tokens of sessions that ended (RFC 7009),
// beside whoever ended them. Nobody waits for it, and a provider that is away has no
// say in whether somebody is signed out: what can't be revoked expires. It is safe for
// concurrent use.
type Revoker struct {
	log   *slog.Logger
	slots chan struct{}

	mu     sync.Mutex
	closed bool
	next   int
	work   sync.WaitGroup
	cancel map[int]context.CancelFunc // of what is under way
}

// NewRevoker is one for a process: RevokersMax bounds what goes on in all of it. log
// hears of defects.
func NewRevoker(log *slog.Logger) *Revoker {
	return &Revoker{log: log, slots: make(chan struct{}, RevokersMax), cancel: map[int]context.CancelFunc{}}
}

// Begin revokes refresh tokens at provider, a few at once, and returns at once. Zero
// tokens are skipped. After RevokersEach failures in a row it gives up. ctx lends its
// values only: its end ends nothing. If some could not be revoked, failed is told how
// many, and why the first could not. After Wait, and on a nil Revoker, nothing is
// begun.
func (r *Revoker) Begin(ctx context.Context, provider TokenRevoker, tokens []secret.Value, failed func(count int, first error)) {
	var all []secret.Value
	for _, t := range tokens {
		if !t.IsZero() {
			all = append(all, t)
		}
	}
	if r == nil || len(all) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), RevokeAllWithin)
	id := r.next
	r.next++
	r.cancel[id] = cancel
	r.work.Go(func() {
		defer func() {
			cancel()
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.cancel, id)
		}()
		if left, err := r.each(ctx, provider, all); left > 0 {
			failed(left, err)
		}
	})
}

// Wait has nothing more begin, and waits for what is under way, for at most limit.
func (r *Revoker) Wait(limit time.Duration) {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	stop := time.AfterFunc(limit, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, cancel := range r.cancel {
			cancel()
		}
	})
	defer stop.Stop()
	r.work.Wait()
}

// revocations are what one Begin was given.
type revocations struct {
	mu     sync.Mutex
	tokens []secret.Value // not yet taken
	left   int            // not revoked
	inRow  int            // failures since something was revoked
	err    error          // the first
}

func (a *revocations) take() (secret.Value, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.tokens) == 0 || a.inRow >= RevokersEach {
		return secret.Value{}, false
	}
	t := a.tokens[0]
	a.tokens = a.tokens[1:]
	return t, true
}

func (a *revocations) done(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		a.left--
		a.inRow = 0
		return
	}
	a.inRow++
	if a.err == nil {
		a.err = err
	}
}

func (r *Revoker) each(ctx context.Context, provider TokenRevoker, tokens []secret.Value) (left int, first error) {
	all := revocations{tokens: tokens, left: len(tokens)}
	var workers sync.WaitGroup
	for range min(RevokersEach, len(tokens)) {
		workers.Go(func() {
			for token, ok := all.take(); ok; token, ok = all.take() {
				select {
				case r.slots <- struct{}{}:
				case <-ctx.Done():
					all.done(ctx.Err())
					return
				}
				err := r.one(ctx, provider, token)
				<-r.slots
				all.done(err)
			}
		})
	}
	workers.Wait()
	return all.left, all.err
}

var errRevoking = errors.New("oidc: revoking met a defect")

// one is also where a defect ends: it must not end the process.
func (r *Revoker) one(ctx context.Context, provider TokenRevoker, token secret.Value) (err error) {
	defer func() {
		if recover() != nil { // not the panic's own text: it may have anything
			r.log.Error("revoking a token met a defect; please report it", "stack", string(debug.Stack()))
			err = errRevoking
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, RevokeWithin)
	defer cancel()
	return provider.Revoke(ctx, token, "refresh_token")
}
