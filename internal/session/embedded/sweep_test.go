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
func entries(t *testing.T, s *Store) (n [3]int) {
	t.Helper()
	err := s.db.View(func(tx *bolt.Tx) error {
		for i, b := range [][]byte{bucketRecords, bucketExpiry, bucketLeases} {
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
	if got, want := entries(t, s), [3]int{n + 1, n + 2, 1}; got != want {
		t.Fatalf("before: %v records, expiries, leases; want %v", got, want)
	}
	s.sweep(time.Now().Add(3 * time.Hour))
	if got, want := entries(t, s), [3]int{1, 1, 0}; got != want {
		t.Errorf("after: %v records, expiries, leases; want %v", got, want)
	}
	if _, err := s.Get(ctx, session.Key{0}); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Get of what was swept: %v", err)
	}
	if _, err := s.Get(ctx, session.Key{99}); err != nil {
		t.Errorf("Get of what lives: %v", err)
	}
}
