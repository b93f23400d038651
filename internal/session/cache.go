package session

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// freshFor is how long the cache may answer for the store.
//
// A store tells of changes, which is what ends a cached session within
// milliseconds of its end elsewhere. This bound is for when that fails silently
// (a network that swallows packets, a fail-over whose old master lives on): it
// is what a logout then takes at most. Five seconds make a page's burst of
// requests one trip, and are over before anybody has walked to another desk.
const freshFor = 5 * time.Second

// cache is opened sessions by key, in bounded memory.
//
// It must not keep what a change has made stale, even when the change is told
// between a read and its put. So who reads takes a ticket first, and put refuses
// if a change of the same stripe was told since. Only reads fill the cache, never
// writes: a store such as Redis tells only of what was read through it.
type cache struct {
	entries *otter.Cache[Key, *Session]
	stripes [256]stripe
}

type stripe struct {
	mu  sync.Mutex
	gen atomic.Uint64
}

type ticket uint64

func newCache(maxBytes uint64) *cache {
	return &cache{entries: otter.Must(&otter.Options[Key, *Session]{
		MaximumWeight:    maxBytes,
		Weigher:          func(_ Key, s *Session) uint32 { return s.weight() },
		ExpiryCalculator: otter.ExpiryWriting[Key, *Session](freshFor), // frees the memory
	})}
}

func (c *cache) stripe(k Key) *stripe { return &c.stripes[k[0]] }

// get answers with what is fresh only.
func (c *cache) get(k Key, now time.Time) *Session {
	s, ok := c.entries.GetIfPresent(k)
	if !ok || !now.Before(s.freshTill) || s.ended(now) {
		return nil
	}
	return s
}

// ticket must be taken before the read whose result is put.
func (c *cache) ticket(k Key) ticket { return ticket(c.stripe(k).gen.Load()) }

// put reports whether it kept s.
func (c *cache) put(s *Session, t ticket) bool {
	st := c.stripe(s.key)
	st.mu.Lock()
	defer st.mu.Unlock()
	if ticket(st.gen.Load()) != t {
		return false
	}
	c.entries.Set(s.key, s)
	return true
}

func (c *cache) drop(keys ...Key) {
	for _, k := range keys {
		st := c.stripe(k)
		st.mu.Lock()
		st.gen.Add(1)
		c.entries.Invalidate(k)
		st.mu.Unlock()
	}
}

func (c *cache) dropAll() {
	for i := range c.stripes {
		st := &c.stripes[i]
		st.mu.Lock()
		st.gen.Add(1)
		st.mu.Unlock()
	}
	c.entries.InvalidateAll()
}

func (c *cache) close() {
	c.entries.InvalidateAll()
	c.entries.StopAllGoroutines()
}
