package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Lease is a claim on a name that one replica has at a time, for as long as it
// renews it.
//
// It needs no clock that replicas share. Each renewal gives the entry on the
// board a new revision; who has seen the same revision for longer than the
// lease lasts, by its own clock, takes over, by compare-and-set. The owner counts
// from before it wrote, the others from after they have read, so the owner knows
// first that it is over.
//
// That saves work, and keeps two replicas out of each other's way. It is not
// what makes moves safe: a process can be paused between asking Held and acting.
// So what is done under a lease has to be a CompareAndSet from what was read
// under it, as [Vault.Update] is, which fails when anybody has moved on meanwhile.
type Lease struct {
	board Board
	name  string
	owner string
	ttl   time.Duration

	calls sync.Mutex // one Try or Release at a time

	mu    sync.Mutex // of what follows
	seen  Revision   // of somebody else's claim
	since time.Time  // when that was first seen
	until time.Time  // of our own claim
}

type claim struct {
	Owner string `json:"owner,omitempty"` // empty: released
}

// LeasePrefix begins the names of a [Lease]'s entries.
const LeasePrefix = "lease/"

// NewLease is owner's side of the lease called name. It does not claim it yet.
func NewLease(board Board, name, owner string, ttl time.Duration) *Lease {
	return &Lease{board: board, name: LeasePrefix + name, owner: owner, ttl: ttl}
}

// Try claims the lease, or renews it, and reports whether the owner has it now.
// Who has it calls Try every third of the ttl; who wants it as often as it likes
// to know, and will have it after at most a ttl and one more call when its owner
// is gone. An error leaves the lease as it was: held until it ends by itself.
func (l *Lease) Try(ctx context.Context) (bool, error) {
	l.calls.Lock()
	defer l.calls.Unlock()
	there, revision, err := l.read(ctx)
	if err != nil {
		return l.Held(), err
	}
	if there.Owner != "" && there.Owner != l.owner && !l.over(revision) {
		return false, nil
	}
	start := time.Now()
	err = l.write(ctx, revision, claim{Owner: l.owner})
	switch {
	case errors.Is(err, ErrConflict): // another one was faster
		l.set(time.Time{})
		return false, nil
	case err != nil:
		return l.Held(), err
	}
	l.set(start.Add(l.ttl - l.ttl/4))
	return true, nil
}

// Held reports whether the owner has the lease. It asks nobody.
func (l *Lease) Held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.until)
}

// Owner is who has the lease; empty: nobody. Who died with it is known to be gone
// once this side has seen the same claim for a ttl, by Try or by Owner.
func (l *Lease) Owner(ctx context.Context) (string, error) {
	l.calls.Lock()
	defer l.calls.Unlock()
	there, revision, err := l.read(ctx)
	switch {
	case err != nil:
		return "", err
	case there.Owner == l.owner && !l.Held(), there.Owner != l.owner && l.over(revision):
		return "", nil
	}
	return there.Owner, nil
}

// Release gives the lease up, for the next one to have it at once. It does
// nothing if the owner does not have it any more.
func (l *Lease) Release(ctx context.Context) error {
	l.calls.Lock()
	defer l.calls.Unlock()
	l.set(time.Time{})
	there, revision, err := l.read(ctx)
	if err != nil || there.Owner != l.owner {
		return err
	}
	if err := l.write(ctx, revision, claim{}); err != nil && !errors.Is(err, ErrConflict) {
		return err
	}
	return nil
}

// over notes that somebody else has the lease, and reports whether that has not
// been renewed for too long.
func (l *Lease) over(revision Revision) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Time{}
	if l.seen != revision {
		l.seen, l.since = revision, time.Now()
	}
	return time.Since(l.since) >= l.ttl
}

func (l *Lease) set(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = until
}

func (l *Lease) read(ctx context.Context) (claim, Revision, error) {
	value, revision, err := l.board.Get(ctx, l.name)
	if err != nil {
		return claim{}, "", fmt.Errorf("fleet: %s: %w", l.name, err)
	}
	var c claim
	if revision != "" {
		if err := json.Unmarshal(value, &c); err != nil {
			return claim{}, "", fmt.Errorf("fleet: %s can't be read: expected a claim as this release writes it, found something else", l.name)
		}
	}
	return c, revision, nil
}

func (l *Lease) write(ctx context.Context, revision Revision, c claim) error {
	value, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("fleet: %s: %w", l.name, err)
	}
	if _, err := l.board.CompareAndSet(ctx, l.name, revision, value); err != nil {
		return fmt.Errorf("fleet: %s: %w", l.name, err)
	}
	return nil
}
