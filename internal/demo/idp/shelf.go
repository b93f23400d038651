package idp

import (
	"container/list"
	"time"
)

// shelf is a map with a bound and an expiry for each entry. It has no lock of
// its own: what belongs together (a code, its grant, its tokens) changes under
// the provider's one lock, so that a replay cannot slip between two shelves.
type shelf[V any] struct {
	max   int
	evict bool // when full: drop the oldest, rather than refuse the newest
	items map[string]*list.Element
	order *list.List // oldest first
	swept time.Time  // last full sweep
}

type shelved[V any] struct {
	key     string
	value   V
	expires time.Time
}

func newShelf[V any](max int, evict bool) *shelf[V] {
	return &shelf[V]{max: max, evict: evict, items: make(map[string]*list.Element), order: list.New()}
}

// put stores v until expires; false when there is no room. Where evict is not
// set, a flood of new entries can therefore never push out one that somebody
// is about to use.
func (s *shelf[V]) put(key string, v V, now, expires time.Time) bool {
	if el, ok := s.items[key]; ok {
		s.drop(el)
	}
	for el := s.order.Front(); el != nil && !now.Before(el.Value.(*shelved[V]).expires); el = s.order.Front() {
		s.drop(el)
	}
	if len(s.items) >= s.max {
		s.sweep(now)
	}
	if len(s.items) >= s.max {
		if !s.evict {
			return false
		}
		s.drop(s.order.Front())
	}
	s.items[key] = s.order.PushBack(&shelved[V]{key: key, value: v, expires: expires})
	return true
}

// sweep drops everything that expired. It costs the whole shelf, so it runs
// once a second at most, however many requests find the shelf full.
func (s *shelf[V]) sweep(now time.Time) {
	if now.Sub(s.swept) < time.Second {
		return
	}
	s.swept = now
	for el := s.order.Front(); el != nil; {
		next := el.Next()
		if !now.Before(el.Value.(*shelved[V]).expires) {
			s.drop(el)
		}
		el = next
	}
}

func (s *shelf[V]) get(key string, now time.Time) (V, bool) {
	if el, ok := s.items[key]; ok {
		if e := el.Value.(*shelved[V]); now.Before(e.expires) {
			return e.value, true
		}
		s.drop(el)
	}
	var zero V
	return zero, false
}

// take is get for things that work once.
func (s *shelf[V]) take(key string, now time.Time) (V, bool) {
	v, ok := s.get(key, now)
	s.delete(key)
	return v, ok
}

func (s *shelf[V]) delete(key string) {
	if el, ok := s.items[key]; ok {
		s.drop(el)
	}
}

func (s *shelf[V]) drop(el *list.Element) {
	delete(s.items, el.Value.(*shelved[V]).key)
	s.order.Remove(el)
}
