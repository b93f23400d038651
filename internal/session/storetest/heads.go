package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"keyway/internal/session"
)

func heads(t *testing.T, s session.Store) {
	ctx := t.Context()
	if err := s.Heads(ctx, 8, func(session.Key, []byte) error { return errors.New("visited") }); err != nil {
		t.Fatalf("of an empty store: %v", err)
	}
	want := map[session.Key]string{}
	for i := range 1200 { // more than any page
		want[NewKey()] = fmt.Sprintf("head %04d", i)
	}
	var group sync.WaitGroup // a store on disk writes those that come together in one go
	for k, head := range want {
		group.Go(func() {
			if _, err := s.Create(ctx, k, []byte(head+" and the rest"), time.Minute); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	short, over, deleted := NewKey(), NewKey(), NewKey()
	must[session.Item](t)(s.Create(ctx, short, []byte("abc"), time.Minute))
	want[short] = "abc"
	must[session.Item](t)(s.Create(ctx, over, []byte("over"), 20*time.Millisecond))
	must[session.Item](t)(s.Create(ctx, deleted, []byte("deleted"), time.Minute))
	if err := s.Delete(ctx, deleted); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "one expires", gone(t, s, over))
	got := map[session.Key]string{}
	err := s.Heads(ctx, 9, func(k session.Key, head []byte) error {
		got[k] = string(head)
		_, err := s.Get(ctx, k) // which may be called
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Errorf("%d items visited, want %d", len(got), len(want))
	}
	for k, head := range want {
		if got[k] != head {
			t.Fatalf("head %q, want %q", got[k], head)
		}
	}
	stop, visits := errors.New("stop"), 0
	err = s.Heads(ctx, 9, func(session.Key, []byte) error { visits++; return stop })
	if !errors.Is(err, stop) || visits != 1 {
		t.Errorf("an error of visit: %v after %d visits, want it after one", err, visits)
	}
}

// What is there all the time is visited, whatever is done to it, and to others.
func headsUnderChange(t *testing.T, s session.Store) {
	ctx := t.Context()
	var keys []session.Key
	for range 300 {
		k := NewKey()
		must[session.Item](t)(s.Create(ctx, k, []byte("there"), time.Minute))
		keys = append(keys, k)
	}
	done := make(chan struct{})
	var busy sync.WaitGroup
	for n := range 4 {
		busy.Go(func() {
			for i := n; ; i = (i + 4) % len(keys) {
				select {
				case <-done:
					return
				default:
				}
				other := NewKey()
				_, _ = s.Create(ctx, other, []byte("other"), time.Minute)
				if it, err := s.Get(ctx, keys[i]); err == nil {
					_, _ = s.Replace(ctx, keys[i], it.Revision, []byte("there"))
				}
				_ = s.Extend(ctx, keys[i], time.Duration(1+i%7)*time.Minute)
				_ = s.Delete(ctx, other)
			}
		})
	}
	for range 5 {
		seen := map[session.Key]bool{}
		if err := s.Heads(ctx, 5, func(k session.Key, _ []byte) error { seen[k] = true; return nil }); err != nil {
			t.Fatal(err)
		}
		missed := 0
		for _, k := range keys {
			if !seen[k] {
				missed++
			}
		}
		if missed > 0 {
			t.Errorf("%d of %d were missed", missed, len(keys))
		}
	}
	close(done)
	busy.Wait()
}
