package session

import (
	"sync"
	"testing"
	"time"
)

func cached(k Key, revision uint64) *Session {
	now := time.Now()
	return &Session{
		key: k, revision: revision, expires: now.Add(time.Hour), freshTill: now.Add(time.Hour),
		rec: &Record{AbsoluteExpiry: now.Add(time.Hour)},
	}
}

func TestAChangeDuringAReadWins(t *testing.T) {
	c := newCache(1 << 20)
	defer c.close()
	k := Key{1}
	for name, tell := range map[string]func(){
		"of the key":    func() { c.drop(k) },
		"of everything": func() { c.dropAll() },
	} {
		ticket := c.ticket(k)
		// Here the store is read, and then a change is told before the put.
		tell()
		if c.put(cached(k, 1), ticket) || c.get(k, time.Now()) != nil {
			t.Errorf("a change %s during the read left what it made stale", name)
		}
		if ticket = c.ticket(k); !c.put(cached(k, 2), ticket) || c.get(k, time.Now()) == nil {
			t.Errorf("after a change %s, what is read anew is not kept", name)
		}
	}
}

func TestCacheKeepsNothingBeyondItsTime(t *testing.T) {
	c := newCache(1 << 20)
	defer c.close()
	now := time.Now()
	for name, change := range map[string]func(*Session){
		"no longer fresh":     func(s *Session) { s.freshTill = now },
		"idle":                func(s *Session) { s.expires = now },
		"beyond the absolute": func(s *Session) { s.rec.AbsoluteExpiry = now },
	} {
		k := Key{2}
		s := cached(k, 1)
		change(s)
		c.put(s, c.ticket(k))
		if c.get(k, now) != nil {
			t.Errorf("%s: answered", name)
		}
	}
}

// One writer changes what "the store" holds and tells of it; readers read, and
// put. When the writer is done, nobody may find anything but the last.
func TestCacheUnderRace(t *testing.T) {
	c := newCache(1 << 20)
	defer c.close()
	const rounds = 2000
	k := Key{3}
	var mu sync.Mutex
	current := uint64(0)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ticket := c.ticket(k)
				mu.Lock()
				read := current
				mu.Unlock()
				c.put(cached(k, read), ticket)
			}
		})
	}
	for i := range uint64(rounds) {
		mu.Lock()
		current = i + 1
		mu.Unlock()
		c.drop(k)
		if s := c.get(k, time.Now()); s != nil && s.revision != i+1 {
			t.Fatalf("after change %d was told, the cache answers with %d", i+1, s.revision)
		}
	}
	close(stop)
	wg.Wait()
	if s := c.get(k, time.Now()); s != nil && s.revision != rounds {
		t.Errorf("the cache ends with %d, want %d", s.revision, rounds)
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(1 << 20)
	defer c.close()
	for i := range 20_000 {
		k := Key{byte(i), byte(i >> 8)}
		c.put(cached(k, 1), c.ticket(k))
	}
	c.entries.CleanUp()
	if w := c.entries.WeightedSize(); w > 1<<20 {
		t.Errorf("%d bytes in a cache of %d", w, 1<<20)
	}
}
