package embedded

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"keyway/internal/session"
)

// entries is how many keys are in each bucket.
func entries(t *testing.T, s *Store) (n [4]int) {
	t.Helper()
	err := s.db.View(func(tx *bolt.Tx) error {
		for i, b := range [][]byte{bucketRecords, bucketExpiry, bucketLeases, bucketGroups} {
			n[i] = tx.Bucket(b).Stats().KeyN
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSweepLeavesNothingOfWhatExpired(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	const n = 5
	for i := range n {
		k := session.Key{byte(i)}
		it, err := s.Create(ctx, k, []byte("x"), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Replace(ctx, k, it.Revision, []byte("y")); err != nil {
			t.Fatal(err)
		}
		if err := s.Extend(ctx, k, 2*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Create(ctx, session.Key{99}, []byte("x"), 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Acquire(ctx, "lease", "a", time.Hour); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Renew(ctx, "lease", "a", 2*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	for _, ttl := range []time.Duration{time.Hour, 2 * time.Hour} { // the later one counts
		if err := s.Join(ctx, session.Key{1}, []session.Key{{7}, {8}}, ttl); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Join(ctx, session.Key{2}, []session.Key{{7}}, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	if got, want := entries(t, s), [4]int{n + 1, n + 2 + 3, 1, 3}; got != want {
		t.Fatalf("before: %v records, expiries, leases, members; want %v", got, want)
	}
	s.sweep(time.Now().Add(3 * time.Hour))
	if got, want := entries(t, s), [4]int{1, 2, 0, 1}; got != want {
		t.Errorf("after: %v records, expiries, leases, members; want %v", got, want)
	}
	if keys, err := s.Members(ctx, session.Key{7}); err != nil || len(keys) != 1 || keys[0] != (session.Key{2}) {
		t.Errorf("members after the sweep: %v, %v", keys, err)
	}
	if _, err := s.Get(ctx, session.Key{0}); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Get of what was swept: %v", err)
	}
	if _, err := s.Get(ctx, session.Key{99}); err != nil {
		t.Errorf("Get of what lives: %v", err)
	}
}
