package fleet

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// farewell bounds the last word of a replica that ends.
const farewell = 2 * time.Second

// Announcer says what a replica holds: when it changes, and often enough for the
// others to know that it lives. It is safe for concurrent use.
type Announcer struct {
	presence *Presence
	id, host string
	started  time.Time
	log      *slog.Logger
	changed  chan struct{}

	mu      sync.Mutex
	secrets map[string]Held
	until   time.Time // of the last report that was heard
}

// NewAnnouncer speaks for the replica id; log may be nil.
func NewAnnouncer(p *Presence, id string, log *slog.Logger) *Announcer {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	host, _ := os.Hostname() // it is for people; without one they have the id
	return &Announcer{presence: p, id: id, host: host, started: time.Now(), log: log, changed: make(chan struct{}, 1)}
}

// Hold sets what the replica holds from now on. It does not wait until that was
// said.
func (a *Announcer) Hold(secrets map[string]Held) {
	own := make(map[string]Held, len(secrets))
	for name, held := range secrets {
		own[name] = held.clone()
	}
	a.mu.Lock()
	same := maps.EqualFunc(a.secrets, own, Held.equal)
	a.secrets = own
	a.mu.Unlock()
	if same {
		return
	}
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// Counted reports whether the others still count on this replica. When it is
// false they may have moved on without it, so it has to read the rings before it
// issues again.
func (a *Announcer) Counted() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Now().Before(a.until)
}

// Run speaks until ctx ends, and then says that the replica is gone. Call it
// once.
func (a *Announcer) Run(ctx context.Context) {
	// What was promised in a report has to be kept: the next one is due by the size
	// of the fleet that the last one was written for.
	promised, live := 1, 1
	failing := false
	for {
		n, err := a.say(ctx, live)
		var next time.Duration
		if err != nil {
			next = retryAfter(live)
			if !failing && ctx.Err() == nil {
				a.log.Warn("can't tell the other replicas which versions are held; they wait, or move on without this one", "error", err.Error())
			}
		} else {
			promised, live = live, max(1, n)
			next = KeepAlive(min(promised, live))
			if failing {
				a.log.Info("the other replicas know again which versions are held")
			}
		}
		failing = err != nil
		if !a.wait(ctx, jitter(next), live, failing) {
			a.leave(ctx)
			return
		}
	}
}

// wait ends when it is time to speak; false: ctx has ended. While nothing gets
// through, a change is no reason to try sooner.
func (a *Announcer) wait(ctx context.Context, due time.Duration, live int, failing bool) bool {
	timer := time.NewTimer(due)
	defer timer.Stop()
	changed := a.changed
	if failing {
		changed = nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	case <-changed:
	}
	spread := time.NewTimer(rand.N(Spread(live))) //nolint:gosec // to be apart from others, not to be unguessable
	defer spread.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-spread.C:
	}
	return true
}

func (a *Announcer) say(ctx context.Context, live int) (int, error) {
	// What changes from here on is said next time.
	select {
	case <-a.changed:
	default:
	}
	now := time.Now()
	until := now.Add(Gone(live))
	a.mu.Lock()
	report := Report{ID: a.id, Host: a.host, Started: a.started, Seen: now, Until: until, Secrets: a.secrets}
	a.mu.Unlock()
	n, err := a.presence.Say(ctx, report)
	if err == nil {
		a.mu.Lock()
		a.until = until
		a.mu.Unlock()
	}
	return n, err
}

// leave is best effort: without it, the others wait until the replica is gone.
func (a *Announcer) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	now := time.Now()
	a.mu.Lock()
	a.until = now
	report := Report{ID: a.id, Host: a.host, Started: a.started, Seen: now, Until: now, Secrets: a.secrets}
	a.mu.Unlock()
	if _, err := a.presence.Say(ctx, report); err != nil {
		a.log.Warn("can't tell the other replicas that this one ends", "error", err.Error())
	}
}

// jitter keeps replicas that were started together from speaking together for
// ever: 0.9 to 1 times d.
func jitter(d time.Duration) time.Duration {
	return d - rand.N(d/10+1) //nolint:gosec // as above
}
