package redis

import (
	"context"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"keyway/internal/fleet"
)

// hearAgain is how long after a lost subscription the next is tried, and
// hearAgainRefused the longest that it is put off while Redis refuses it.
const (
	hearAgain        = 500 * time.Millisecond
	hearAgainRefused = time.Minute
)

// ears are who watches a board, and the subscription that they share while there
// is anybody.
type ears struct {
	watchers fleet.Watchers

	mu   sync.Mutex
	stop context.CancelFunc // nil: nobody listens
}

var _ fleet.Watcher = (*Board)(nil)

// channel has the names of entries that were set.
func (b *Board) channel() string { return b.store.prefix + "b" }

// Watch implements fleet.Watcher. Each change is published by the script that
// makes it.
func (b *Board) Watch(fn func(name string)) (stop func()) {
	e := &b.ears
	remove := e.watchers.Add(fn)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stop == nil {
		var ctx context.Context
		ctx, e.stop = context.WithCancel(context.Background())
		go b.listen(ctx)
	}
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if remove() && e.stop != nil {
			e.stop()
			e.stop = nil
		}
	}
}

// listen subscribes, again and again, until nobody watches any more or the store
// is closed. It holds a slot as a call does, so that closing waits for it.
func (b *Board) listen(ctx context.Context) {
	s := b.store
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-s.stop:
		return
	case <-ctx.Done():
		return
	}
	go func() {
		select {
		case <-s.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	wait, said := hearAgain, false
	for !s.closed.Load() && ctx.Err() == nil {
		if client := s.client.Load(); client != nil && s.away.Load() == nil {
			var err error
			s.contained(func() { err = b.subscribe(ctx, *client) })
			if _, refused := rueidis.IsRedisErr(err); !refused {
				wait, said = hearAgain, false
			} else {
				if !said {
					s.log.Warn("redis refuses to tell of changes; secrets are polled, and a change takes longer to arrive", "channel", b.channel(), "error", err.Error())
				}
				wait, said = min(2*wait, hearAgainRefused), true
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// tell is called on the client's reading goroutine, which a watcher's defect must
// not end.
func (b *Board) tell(name string) { b.store.contained(func() { b.ears.watchers.Tell(name) }) }

// subscribe listens until the connection is lost or ctx ends. The connection is
// one of its own, so that who is slow to take a word holds nothing else up; it is
// not subscribed again by itself (redis/rueidis#819). Once the subscription stands
// it is told that words may have been missed: those before it were.
func (b *Board) subscribe(ctx context.Context, client rueidis.Client) error {
	dedicated, release := client.Dedicate()
	defer release()
	lost := dedicated.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: func(m rueidis.PubSubMessage) { b.tell(m.Message) },
		OnSubscription: func(s rueidis.PubSubSubscription) {
			if s.Kind == "subscribe" {
				b.tell("")
			}
		},
	})
	if err := dedicated.Do(ctx, dedicated.B().Subscribe().Channel(b.channel()).Build()).Error(); err != nil {
		return err
	}
	select {
	case err := <-lost:
		return err
	case <-ctx.Done():
		dedicated.SetPubSubHooks(rueidis.PubSubHooks{})
		return ctx.Err()
	}
}
