package rotation

import (
	"context"
	"errors"
	"sync"
	"time"

	"keyway/internal/keyring"
)

const (
	// tendWithin bounds one look at all that depends on a secret.
	tendWithin = 10 * time.Minute
	// A look follows the one before after tendSoonest, twice that, up to
	// tendLatest; and not before ten times as long as that took.
	tendSoonest = time.Second
	tendLatest  = 30 * time.Second
)

// tended is what was last counted.
type tended struct {
	mu     sync.Mutex
	counts map[string]int
	at     time.Time // when that count began, by the store's clock
	busy   bool
	next   time.Time
	pause  time.Duration
	forced bool // look even if nothing retires: something was just ended
}

// again has the next look come soon: the ring has been moved.
func (t *tended) again() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next, t.pause, t.forced = time.Time{}, 0, true
	t.counts = nil // what was counted before says nothing of what was issued since
}

// look returns what is known, and has it counted again when that is due. It does
// not wait.
func (t *tended) look(ctx context.Context, r *Runner, s *turning, ring keyring.Ring, now time.Time) (counts map[string]int, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	retiring := t.forced
	for v := range ring.Live() {
		retiring = retiring || v.State == keyring.Retiring
	}
	if retiring && !t.busy && !time.Now().Before(t.next) {
		t.busy, t.forced = true, false
		r.beside(ctx, tendWithin, func(ctx context.Context) { t.tend(ctx, r, s, ring, now) })
	}
	return t.counts, t.at
}

func (t *tended) tend(ctx context.Context, r *Runner, s *turning, ring keyring.Ring, at time.Time) {
	began := time.Now()
	counts, err := map[string]int(nil), errDefect
	defer func() {
		t.tended(counts, err, at, time.Since(began))
		if err == nil && counts != nil {
			r.wakeLater()
		}
	}()
	counts, err = s.Tend(ctx, ring)
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		r.o.Log.Warn("what depends on older versions of a secret could not be counted; they are kept until it has expired", "secret", s.Name, "error", err.Error())
	}
}

// tended notes what a look has brought.
func (t *tended) tended(counts map[string]int, err error, at time.Time, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy = false
	t.pause = max(min(max(2*t.pause, tendSoonest), tendLatest), 10*took)
	if t.forced { // moved meanwhile
		t.pause, counts = 0, nil
	}
	t.next = time.Now().Add(t.pause)
	if err == nil {
		t.counts, t.at = counts, at
	}
}

// wakeLater has the Runner look without being eager.
func (r *Runner) wakeLater() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
