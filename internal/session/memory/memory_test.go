package memory_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"keyway/internal/session"
	"keyway/internal/session/memory"
	"keyway/internal/session/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) session.Store {
		s := memory.Open(memory.Options{})
		t.Cleanup(func() { s.Close() })
		return s
	})
}

func TestFullStoreEndsNobodysSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s := memory.Open(memory.Options{MaxItems: 3})
		defer s.Close()
		first := storetest.NewKey()
		for i, k := range []session.Key{first, storetest.NewKey(), storetest.NewKey()} {
			if _, err := s.Create(ctx, k, []byte("x"), time.Duration(i+1)*time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Create(ctx, storetest.NewKey(), []byte("x"), time.Minute); !errors.Is(err, memory.ErrFull) {
			t.Fatalf("the fourth Create: %v, want ErrFull", err)
		}
		if _, err := s.Get(ctx, first); err != nil {
			t.Fatalf("the first item made room: %v", err)
		}
		<-time.After(time.Second + time.Millisecond) // the first has expired, and nothing has swept yet
		if _, err := s.Create(ctx, storetest.NewKey(), []byte("x"), time.Minute); err != nil {
			t.Fatalf("Create when one has expired: %v", err)
		}
	})
}

func TestWhatExpiredIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s := memory.Open(memory.Options{})
		defer s.Close()
		for range 100 {
			if _, err := s.Create(ctx, storetest.NewKey(), []byte("x"), time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if n, _ := s.Count(ctx); n != 100 {
			t.Fatalf("Count = %d, want 100", n)
		}
		<-time.After(12 * time.Second)
		if n, _ := s.Count(ctx); n != 0 {
			t.Errorf("Count = %d after all expired, want 0", n)
		}
	})
}
