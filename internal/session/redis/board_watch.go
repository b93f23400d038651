package redis

import (
	"context"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"keyway/internal/fleet"
)

// hearAgain is how long after a lost subscription the next is tried.
const hearAgain = time.Second

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
		b.store.probe.Go(func() { b.listen(ctx) })
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
// is closed.
func (b *Board) listen(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-b.store.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	for ctx.Err() == nil {
		if client := b.store.client.Load(); client != nil && b.store.away.Load() == nil {
			b.subscribe(ctx, *client)
			b.ears.watchers.Tell("") // what was said meanwhile was not heard
		}
		select {
		case <-ctx.Done():
		case <-time.After(hearAgain):
		}
	}
}

// subscribe listens until the connection is lost or ctx ends. Words that were said
// before the subscription stood were not heard, so that is told once it does.
func (b *Board) subscribe(ctx context.Context, client rueidis.Client) {
	dedicated, release := client.Dedicate()
	defer release()
	lost := dedicated.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: func(m rueidis.PubSubMessage) { b.ears.watchers.Tell(m.Message) },
		OnSubscription: func(s rueidis.PubSubSubscription) {
			if s.Kind == "subscribe" {
				b.ears.watchers.Tell("")
			}
		},
	})
	if err := dedicated.Do(ctx, dedicated.B().Subscribe().Channel(b.channel()).Build()).Error(); err != nil {
		return
	}
	select {
	case <-lost:
	case <-ctx.Done():
		dedicated.SetPubSubHooks(rueidis.PubSubHooks{})
	}
}
