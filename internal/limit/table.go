package limit

import (
	"hash/maphash"
	"sync"
)

// MaxKeys bounds what each table of this package holds: some 10 MB.
const MaxKeys = 100_000

const (
	shards = 64
	// sampled is how many entries are looked at for one to give up.
	sampled = 16
	// swept is how many entries each newcomer has looked at, to drop those that are
	// over: a table shrinks as it is used.
	swept = 2
)

// table has a time for each key, in ns on the owner's clock. One that is past says
// no more than none. Safe for concurrent use.
type table[K comparable] struct {
	seed   maphash.Seed
	each   int // bound of a shard
	shards [shards]shard[K]
}

type shard[K comparable] struct {
	mu sync.RWMutex
	m  map[K]int64
	_  [32]byte // a cache line of its own
}

func newTable[K comparable](keys int) *table[K] {
	return &table[K]{seed: maphash.MakeSeed(), each: max(keys/shards, 1)}
}

func (t *table[K]) shard(k K) *shard[K] {
	return &t.shards[maphash.Comparable(t.seed, k)%shards]
}

func (t *table[K]) get(k K) int64 {
	s := t.shard(k)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.m[k]
}

// step gives k the time that rate makes of the one that it has.
func (t *table[K]) step(k K, now int64, do func(at int64) int64) {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	at, known := s.m[k]
	if known {
		s.m[k] = do(at)
		return
	}
	if next := do(0); next > now && s.room(next, now, t.each) {
		s.m[k] = next
	}
}

// room makes room for one that is at next: it may push out one that is nearer to
// being over, never one that is farther from it.
func (s *shard[K]) room(next, now int64, bound int) bool {
	if s.m == nil {
		s.m = map[K]int64{}
	}
	look := swept
	full := len(s.m) >= bound
	if full {
		look = sampled
	}
	var least K
	leastAt, found := next, false
	for k, at := range s.m { // begins anywhere
		if look--; look < 0 {
			break
		}
		switch {
		case at <= now:
			delete(s.m, k)
			full = false
		case at < leastAt:
			least, leastAt, found = k, at, true
		}
	}
	if full && found {
		delete(s.m, least)
		full = false
	}
	return !full
}

// len is how many there are, those that are over included.
func (t *table[K]) len() (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		n += len(s.m)
		s.mu.RUnlock()
	}
	return n
}
