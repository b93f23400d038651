package rotation

import (
	"sync"
	"time"
)

const (
	// spans is how finely refusals are counted: this many to a window.
	spans = 60
	// maxAccused bounds whom a tally remembers to have counted.
	maxAccused = 10_000
)

// Tally counts refusals of one secret on one replica, for long enough to compare
// a window with what was before it. It is safe for concurrent use.
type Tally struct {
	span time.Duration

	mu      sync.Mutex
	counts  map[int64]int // by span
	accused map[string]time.Time
}

// NewTally counts for windows up to window.
func NewTally(window time.Duration) *Tally {
	return &Tally{span: max(time.Second, window/spans), counts: map[int64]int{}, accused: map[string]time.Time{}}
}

// Add counts a refusal. Who, when not empty, is counted once in a window: one
// client that sends the same bad thing again and again is one refusal, or it
// could undo a rotation by itself.
func (t *Tally) Add(who string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	window := t.span * spans
	if who != "" {
		if last, ok := t.accused[who]; ok && now.Sub(last) < window {
			return
		}
		if len(t.accused) >= maxAccused {
			clear(t.accused)
		}
		t.accused[who] = now
	}
	t.counts[now.UnixNano()/int64(t.span)]++
	if len(t.counts) > 3*spans {
		oldest := now.Add(-2*window).UnixNano() / int64(t.span)
		for span := range t.counts {
			if span < oldest {
				delete(t.counts, span)
			}
		}
	}
}

// Compare counts the refusals since a moment, and in as long before it.
func (t *Tally) Compare(since, now time.Time) Refusals {
	t.mu.Lock()
	defer t.mu.Unlock()
	var r Refusals
	from := since.Add(since.Sub(now))
	for span, n := range t.counts {
		switch at := time.Unix(0, span*int64(t.span)).Add(t.span / 2); {
		case !at.Before(since):
			r.InGuard += n
		case !at.Before(from):
			r.Before += n
		}
	}
	return r
}
