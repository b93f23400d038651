package embedded

import (
	"errors"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"keyway/internal/session"
)

// A defect in what one caller writes is that caller's, and the store goes on.
func TestADefectEndsNobodyElse(t *testing.T) {
	s, err := Open(t.TempDir() + "/data")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.write(t.Context(), func(*bolt.Tx) error { panic("hush") })
	if !errors.Is(err, errDefect) || strings.Contains(err.Error(), "hush") {
		t.Errorf("got %v", err)
	}
	k := session.Key{1}
	if _, err := s.Create(t.Context(), k, []byte("x"), time.Minute); err != nil {
		t.Errorf("after it: %v", err)
	}
	if it, err := s.Get(t.Context(), k); err != nil || string(it.Data) != "x" {
		t.Errorf("after it: %q, %v", it.Data, err)
	}
}
