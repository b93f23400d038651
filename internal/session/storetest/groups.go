package storetest

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"time"

	"keyway/internal/session"
)

func sorted(keys []session.Key) []session.Key {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, func(a, b session.Key) int { return bytes.Compare(a[:], b[:]) })
	return keys
}

func wantMembers(t testing.TB, s session.Store, group session.Key, want ...session.Key) {
	t.Helper()
	got := must[[]session.Key](t)(s.Members(t.Context(), group))
	if !slices.Equal(sorted(got), sorted(want)) {
		t.Fatalf("%d members, want %d: %v, want %v", len(got), len(want), got, want)
	}
}

func join(t testing.TB, s session.Store, k session.Key, ttl time.Duration, groups ...session.Key) {
	t.Helper()
	if err := s.Join(t.Context(), k, groups, ttl); err != nil {
		t.Fatal(err)
	}
}

func groupMembers(t *testing.T, s session.Store) {
	a, b, group, other, none := NewKey(), NewKey(), NewKey(), NewKey(), NewKey()
	beside := group
	beside[31]++ // the next name there can be
	wantMembers(t, s, group)
	join(t, s, a, time.Minute, group, other)
	join(t, s, b, time.Minute, group)
	join(t, s, none, time.Minute, beside)
	join(t, s, none, time.Minute)
	wantMembers(t, s, group, a, b)
	wantMembers(t, s, other, a)
	wantMembers(t, s, none)
	// That there is a record, or none any more, is another matter.
	if err := s.Delete(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	wantMembers(t, s, group, a, b)
	if n := must[int](t)(s.Count(t.Context())); n != 0 {
		t.Errorf("Count = %d: it counts members", n)
	}
	err := s.Heads(t.Context(), 8, func(k session.Key, _ []byte) error { t.Errorf("Heads visits %v", k); return nil })
	if err != nil {
		t.Error(err)
	}
}

func memberExpires(t *testing.T, s session.Store) {
	short, long, group, alone := NewKey(), NewKey(), NewKey(), NewKey()
	// The one that stays shortest comes last: the group lives as long as the longest.
	join(t, s, long, time.Minute, group)
	join(t, s, short, 30*time.Millisecond, group, alone)
	Eventually(t, "the first is out", func() bool { return len(must[[]session.Key](t)(s.Members(t.Context(), group))) == 1 })
	wantMembers(t, s, group, long)
	Eventually(t, "the group is empty", func() bool { return len(must[[]session.Key](t)(s.Members(t.Context(), alone))) == 0 })
}

func joinAgain(t *testing.T, s session.Store) {
	k, group := NewKey(), NewKey()
	join(t, s, k, 30*time.Millisecond, group)
	join(t, s, k, time.Minute, group)
	other := NewKey()
	join(t, s, other, 60*time.Millisecond, group)
	Eventually(t, "the other is out", func() bool { return len(must[[]session.Key](t)(s.Members(t.Context(), group))) == 1 })
	wantMembers(t, s, group, k)
	join(t, s, k, 20*time.Millisecond, group)
	Eventually(t, "it is out, too", func() bool { return len(must[[]session.Key](t)(s.Members(t.Context(), group))) == 0 })
}

// joinMany has n keys join at once, by so many hands.
func joinMany(t *testing.T, s session.Store, n, hands int, group session.Key) []session.Key {
	t.Helper()
	keys := make([]session.Key, n)
	var joins sync.WaitGroup
	for hand := range hands {
		joins.Go(func() {
			for i := hand; i < n; i += hands {
				keys[i] = NewKey()
				if err := s.Join(t.Context(), keys[i], []session.Key{group, NewKey()}, time.Minute); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	joins.Wait()
	return keys
}

func manyMembers(t *testing.T, s session.Store) {
	group := NewKey()
	wantMembers(t, s, group, joinMany(t, s, 5000, 64, group)...)
}

func joinConcurrently(t *testing.T, s session.Store) {
	group := NewKey()
	wantMembers(t, s, group, joinMany(t, s, 100, 100, group)...)
}

func holders(t *testing.T, s session.Store) {
	ctx := t.Context()
	want := func(what, owner string, held bool) {
		t.Helper()
		if o, h, err := s.Holder(ctx, "h"); err != nil || o != owner || h != held {
			t.Fatalf("%s: %q, %v, %v; want %q, %v", what, o, h, err, owner, held)
		}
	}
	acquire := func(owner string, ttl time.Duration) {
		t.Helper()
		if ok, err := s.Acquire(ctx, "h", owner, ttl); err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
	want("before", "", false)
	acquire("a", time.Minute)
	want("held", "a", true)
	if err := s.Release(ctx, "h", "a"); err != nil {
		t.Fatal(err)
	}
	want("released", "", false)
	acquire("17,4", 30*time.Millisecond)
	Eventually(t, "it ends", func() bool { _, held, err := s.Holder(ctx, "h"); return err == nil && !held })
	want("over", "", false)
}
