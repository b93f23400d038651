package idp

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestShelf(t *testing.T) {
	now := time.Unix(1e9, 0)
	later := now.Add(time.Minute)
	t.Run("evicts the oldest", func(t *testing.T) {
		s := newShelf[int](2, true)
		for i, key := range []string{"a", "b", "c"} {
			if !s.put(key, i, now, later) {
				t.Fatal("want room")
			}
		}
		if _, ok := s.get("a", now); ok {
			t.Error("want the oldest gone")
		}
		if v, ok := s.get("c", now); !ok || v != 2 {
			t.Error("want the newest there")
		}
	})
	t.Run("refuses the newest", func(t *testing.T) {
		s := newShelf[int](2, false)
		s.put("long", 0, now, now.Add(time.Hour))
		s.put("short", 0, now, later)
		if s.put("c", 0, now, later) {
			t.Error("want no room")
		}
		if !s.put("c", 0, later, later.Add(time.Minute)) {
			t.Error("want room when an entry behind a longer one has expired")
		}
	})
	t.Run("take is once", func(t *testing.T) {
		s := newShelf[int](2, false)
		s.put("a", 1, now, later)
		if v, ok := s.take("a", now); !ok || v != 1 {
			t.Error("want it the first time")
		}
		if _, ok := s.take("a", now); ok {
			t.Error("want nothing the second time")
		}
	})
}

// A shelf answers like a map of the live entries, and never holds more than its
// bound.
func TestShelfModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, model, now := newShelf[int](4, false), map[string]time.Time{}, time.Unix(1e9, 0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			key := fmt.Sprint(rapid.IntRange(0, 7).Draw(t, "key"))
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0:
				expires := now.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "life")) * time.Second)
				if s.put(key, 0, now, expires) {
					model[key] = expires
				} else {
					delete(model, key)
				}
			case 1:
				s.delete(key)
				delete(model, key)
			case 2:
				now = now.Add(time.Duration(rapid.IntRange(1, 5).Draw(t, "wait")) * time.Second)
			}
			_, ok := s.get(key, now)
			if want := now.Before(model[key]); ok != want {
				t.Fatalf("key %s: want %v, found %v", key, want, ok)
			}
			if len(s.items) > 4 || len(s.items) != s.order.Len() {
				t.Fatalf("%d items, %d in order", len(s.items), s.order.Len())
			}
		}
	})
}
