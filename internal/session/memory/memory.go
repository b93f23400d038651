package memory

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"keyway/internal/session"
)

// ErrFull says that the store holds as many sessions as it may. Nobody's
// session is ended to make room for another's.
var ErrFull = errors.New("session store: full")

const (
	shards     = 64
	sweepEvery = 10 * time.Second
	// DefaultMaxItems is some 2 to 4 GB of sessions.
	DefaultMaxItems = 1_000_000
)

// Options of Open. The zero value is fine.
type Options struct {
	MaxItems int // items, and leases, held at once, and a quarter of the places in groups; DefaultMaxItems if 0
}

// Store is a session.Store in memory.
type Store struct {
	shards    [shards]shard
	leases    leases
	groups    groups
	listeners session.Listeners
	count     atomic.Int64 // items held, expired ones included until swept
	revision  atomic.Uint64
	max       int64
	closed    atomic.Bool
	stop      chan struct{}
	swept     sync.WaitGroup
}

type shard struct {
	mu    sync.RWMutex
	items map[session.Key]session.Item
	_     [64]byte // keeps neighbours' locks off one cache line
}

var _ session.Store = (*Store)(nil)

// Open makes an empty store. It runs one goroutine until Close.
func Open(o Options) *Store {
	if o.MaxItems <= 0 {
		o.MaxItems = DefaultMaxItems
	}
	s := &Store{max: int64(o.MaxItems), stop: make(chan struct{})}
	for i := range s.shards {
		s.shards[i].items = map[session.Key]session.Item{}
	}
	s.leases.held = map[string]lease{}
	s.leases.max = o.MaxItems
	s.groups.by = map[session.Key]map[session.Key]time.Time{}
	s.groups.max = groupsPerItem * o.MaxItems
	s.swept.Go(func() {
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
				s.sweep(time.Now())
			}
		}
	})
	return s
}

var errClosed = errors.New("session store: closed")

func (s *Store) ready(ctx context.Context) error {
	if s.closed.Load() {
		return errClosed
	}
	return ctx.Err()
}

func (s *Store) shard(k session.Key) *shard { return &s.shards[k[0]%shards] }

// live is for callers that hold the shard's lock.
func (sh *shard) live(k session.Key, now time.Time) (session.Item, bool) {
	it, ok := sh.items[k]
	return it, ok && now.Before(it.Expires)
}

// Get implements session.Records.
func (s *Store) Get(ctx context.Context, k session.Key) (session.Item, error) {
	if err := s.ready(ctx); err != nil {
		return session.Item{}, err
	}
	sh := s.shard(k)
	sh.mu.RLock()
	it, ok := sh.live(k, time.Now())
	sh.mu.RUnlock()
	if !ok {
		return session.Item{}, session.ErrNotFound
	}
	return it, nil
}

// Create implements session.Records. It fails with ErrFull when there is no room.
func (s *Store) Create(ctx context.Context, k session.Key, data []byte, ttl time.Duration) (session.Item, error) {
	if err := s.ready(ctx); err != nil {
		return session.Item{}, err
	}
	now := time.Now()
	if s.count.Load() >= s.max {
		s.sweep(now)
	}
	sh := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if _, ok := sh.live(k, now); ok {
		return session.Item{}, session.ErrExists
	}
	if _, expired := sh.items[k]; !expired {
		if s.count.Add(1) > s.max {
			s.count.Add(-1)
			return session.Item{}, ErrFull
		}
	}
	it := session.Item{Data: data, Revision: s.revision.Add(1), Expires: now.Add(ttl)}
	sh.items[k] = it
	return it, nil
}

// Replace implements session.Records.
func (s *Store) Replace(ctx context.Context, k session.Key, revision uint64, data []byte) (session.Item, error) {
	if err := s.ready(ctx); err != nil {
		return session.Item{}, err
	}
	it, err := s.shard(k).change(k, func(it *session.Item) error {
		if it.Revision != revision {
			return session.ErrConflict
		}
		it.Data, it.Revision = data, s.revision.Add(1)
		return nil
	})
	if err == nil {
		s.listeners.Fire([]session.Key{k}, false)
	}
	return it, err
}

// Extend implements session.Records.
func (s *Store) Extend(ctx context.Context, k session.Key, ttl time.Duration) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	_, err := s.shard(k).change(k, func(it *session.Item) error {
		it.Expires = time.Now().Add(ttl)
		return nil
	})
	return err
}

func (sh *shard) change(k session.Key, fn func(*session.Item) error) (session.Item, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	it, ok := sh.live(k, time.Now())
	if !ok {
		return session.Item{}, session.ErrNotFound
	}
	if err := fn(&it); err != nil {
		return session.Item{}, err
	}
	sh.items[k] = it
	return it, nil
}

// Delete implements session.Records.
func (s *Store) Delete(ctx context.Context, k session.Key) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	sh := s.shard(k)
	sh.mu.Lock()
	if _, ok := sh.items[k]; ok {
		delete(sh.items, k)
		s.count.Add(-1)
	}
	sh.mu.Unlock()
	s.listeners.Fire([]session.Key{k}, false)
	return nil
}

// Count implements session.Records. It may include items that expired in the
// last ten seconds.
func (s *Store) Count(ctx context.Context) (int, error) {
	return int(s.count.Load()), s.ready(ctx)
}

// Heads implements session.Records.
func (s *Store) Heads(ctx context.Context, n int, visit func(session.Key, []byte) error) error {
	type found struct {
		key  session.Key
		head []byte
	}
	var page []found
	for i := range s.shards {
		if err := s.ready(ctx); err != nil {
			return err
		}
		sh, now := &s.shards[i], time.Now()
		page = page[:0]
		sh.mu.RLock()
		for k, it := range sh.items {
			if now.Before(it.Expires) {
				page = append(page, found{k, it.Data[:min(n, len(it.Data)):min(n, len(it.Data))]}) // what is stored is never changed in place
			}
		}
		sh.mu.RUnlock()
		for _, f := range page {
			if err := visit(f.key, f.head); err != nil {
				return err
			}
		}
	}
	return nil
}

// Changes implements session.Notifier.
func (s *Store) Changes(fn func([]session.Key, bool)) (stop func()) { return s.listeners.Add(fn) }

// Ping implements session.Store.
func (s *Store) Ping(ctx context.Context) error { return s.ready(ctx) }

// Close implements session.Store.
func (s *Store) Close() error {
	if s.closed.CompareAndSwap(false, true) {
		close(s.stop)
	}
	s.swept.Wait()
	return nil
}

func (s *Store) sweep(now time.Time) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for k, it := range sh.items {
			if !now.Before(it.Expires) {
				delete(sh.items, k)
				s.count.Add(-1)
			}
		}
		sh.mu.Unlock()
	}
	s.leases.sweep(now)
	s.groups.mu.Lock()
	s.groups.sweep(now)
	s.groups.mu.Unlock()
}
