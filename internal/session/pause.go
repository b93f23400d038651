package session

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// backoff keeps a session from asking an IdP that has just failed it.
type backoff struct {
	mu    sync.Mutex
	by    map[Key]pause
	swept time.Time // when what is over was last looked for
}

type pause struct {
	until time.Time
	tries int
}

const (
	backoffFirst = time.Second
	backoffMost  = 30 * time.Second
	backoffKeys  = 50_000 // beyond, only what is over is forgotten, and the rest not paused
	// sharedPause is for how long the other replicas don't ask at most. It is short: the
	// IdP may be away for one replica only, and then it is another that gets through.
	sharedPause = 2 * time.Second
)

func (b *backoff) active(k Key, now time.Time) bool { return b.left(k, now) > 0 }

// left is how long the pause goes on; 0: there is none.
func (b *backoff) left(k Key, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.by[k]
	if !ok {
		return 0
	}
	return max(0, p.until.Sub(now))
}

// failed is the pause after one more failure.
func (b *backoff) failed(k Key, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.by[k]
	left := min(backoffFirst<<min(p.tries, 10), backoffMost)
	b.put(k, pause{now.Add(left), p.tries + 1}, now)
	return left
}

// heard is a pause after the failure of another replica, which is none of our own.
func (b *backoff) heard(k Key, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.put(k, pause{now.Add(backoffFirst), b.by[k].tries}, now)
}

// put is where there is room. b.mu is held.
func (b *backoff) put(k Key, p pause, now time.Time) {
	if b.by == nil {
		b.by = map[Key]pause{}
	}
	if _, known := b.by[k]; !known && len(b.by) >= backoffKeys {
		// Not at each failure: when an IdP is away, none may be over for long.
		if now.Before(b.swept.Add(backoffFirst)) {
			return
		}
		b.swept = now
		for k, p := range b.by {
			if !now.Before(p.until) {
				delete(b.by, k)
			}
		}
		if len(b.by) >= backoffKeys {
			return
		}
	}
	b.by[k] = p
}

func (b *backoff) forget(k Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.by, k)
}

// pauseName is a lease that nobody releases: while somebody has it, a refresh of k has
// just failed. A release that does not know of it asks the IdP, as it would have.
func pauseName(k Key) string { return "refresh-failed:" + k.String() }

// paused fails if another replica has asked the IdP a moment ago, in vain: who waited
// for its answer has it then, and does not wait for another.
func (m *Manager) paused(ctx context.Context, k Key) error {
	_, held, err := m.store.Holder(ctx, pauseName(k))
	switch {
	case err != nil:
		return fromStore(err) // and what the IdP answers could not be saved
	case held:
		m.shared.backoff.heard(k, time.Now())
		return fmt.Errorf("%w: it has just failed another replica", ErrIdPUnavailable)
	}
	return nil
}

// tellPause has the others hear of a failure.
func (m *Manager) tellPause(ctx context.Context, k Key, left time.Duration) {
	_, _ = m.store.Acquire(ctx, pauseName(k), "failed", min(left, sharedPause)) // else each finds out for itself
}
