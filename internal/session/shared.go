package session

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultCacheBytes holds some 20,000 sessions in use with tokens of usual size.
const DefaultCacheBytes = 64 << 20

// SharedOptions of NewShared. The zero value is fine.
type SharedOptions struct {
	CacheBytes uint64       // about the most that opened sessions may take; DefaultCacheBytes if 0
	Log        *slog.Logger // of defects only; nil: none
}

// Shared is what outlives a generation: the store, the cache of opened sessions,
// refreshes under way, and who watches for the end of a session. One process has
// one for each store.
type Shared struct {
	store    Store
	log      *slog.Logger
	cache    *cache
	watchers watchers
	flights  flights
	backoff  backoff
	rights   learning
	work     sync.WaitGroup // Extend, refresh and learning rights, which outlive their requests
	newest   atomic.Pointer[Manager]
	unlisten func()

	mu      sync.Mutex
	closing chan struct{}
	closed  bool
}

// NewShared starts to listen to the store. The store stays the caller's to close,
// after Close.
func NewShared(store Store, o SharedOptions) *Shared {
	if o.CacheBytes == 0 {
		o.CacheBytes = DefaultCacheBytes
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Shared{store: store, log: o.Log, cache: newCache(o.CacheBytes), closing: make(chan struct{})}
	s.unlisten = store.Changes(func(keys []Key, all bool) {
		if all {
			s.cache.dropAll()
			s.watchers.tellAll()
			return
		}
		s.cache.drop(keys...)
		s.watchers.tell(keys)
	})
	return s
}

// Count is the number of live sessions in the store, about.
func (s *Shared) Count(ctx context.Context) (int, error) {
	n, err := s.store.Count(ctx)
	return n, fromStore(err)
}

// Ping asks whether the store can be used now.
func (s *Shared) Ping(ctx context.Context) error { return fromStore(s.store.Ping(ctx)) }

// Close waits, until ctx ends, for refreshes that are under way: a refresh token
// that the IdP has just replaced must be saved. No manager on s may be used any
// more, except by what is waited for.
func (s *Shared) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.work.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.unlisten()
	s.cache.close()
	return err
}

// errDefect is what a panic is to those who wait.
var errDefect = fmt.Errorf("%w: met a defect", ErrUnavailable)

// defect logs what a goroutine of ours has recovered from, if anything: it must not
// end everybody's requests. Not the panic's own text, which may have anything.
func (s *Shared) defect(panicked any) {
	if panicked != nil {
		s.log.Error("what is done beside requests met a defect; please report it", "stack", string(debug.Stack()))
	}
}

// background runs fn beside the request that asked for it, with the request's
// values but not its end, for at most limit. It does nothing, and says so, once
// s is closing.
func (s *Shared) background(ctx context.Context, limit time.Duration, fn func(context.Context)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Go(func() {
		defer func() { s.defect(recover()) }()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		fn(ctx)
	})
	return true
}

// watchers is who wants to know of changes to a key.
type watchers struct {
	mu sync.Mutex
	by map[Key]map[chan struct{}]struct{}
}

// add returns a channel that gets a value when the key may have changed since
// the last one was taken.
func (w *watchers) add(k Key) (changed <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.by == nil {
		w.by = map[Key]map[chan struct{}]struct{}{}
	}
	if w.by[k] == nil {
		w.by[k] = map[chan struct{}]struct{}{}
	}
	w.by[k][ch] = struct{}{}
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.by[k], ch)
		if len(w.by[k]) == 0 {
			delete(w.by, k)
		}
	}
}

func poke(chs map[chan struct{}]struct{}) {
	for ch := range chs {
		select {
		case ch <- struct{}{}:
		default: // it has been told, and has not looked yet
		}
	}
}

func (w *watchers) tell(keys []Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range keys {
		poke(w.by[k])
	}
}

func (w *watchers) tellAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, chs := range w.by {
		poke(chs)
	}
}
