package rotation

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/threat"
)

// Anybody can fetch our keys, as often as he likes. A peer that counts wrong
// credentials must not be asked each time.
func TestStrangersWhoFetchDoNotHaveThePeerAsked(t *testing.T) {
	threat.Covers(t, 71)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		w.fetched = time.Now // there is always somebody
		s := w.secret()
		s.Policy = func(keyring.Ring) Policy { return outward }
		var asked atomic.Int64
		var accepts atomic.Bool
		s.Prove = func(context.Context, string) (Verdict, error) {
			asked.Add(1)
			if accepts.Load() {
				return Accepted, nil
			}
			return Refused, nil
		}
		ask(t, w.runner(t, "r1", s))
		time.Sleep(time.Hour)
		if n := asked.Load(); n < 20 || n > 80 {
			t.Errorf("the peer was asked %d times in an hour", n)
		}
		accepts.Store(true) // what it has fetched now it knows, and need not wait for long
		time.Sleep(proveLatest + 2*time.Second)
		if got := w.active(); got != "v1" {
			t.Errorf("a minute after the peer knows the key: %s", w.states())
		}
	})
}

// What a Runner has begun is over when it is: what it works with is closed then.
func TestNothingOutlivesARunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		s := w.secret()
		s.Policy = func(keyring.Ring) Policy { return outward }
		var proving, tending atomic.Int64
		until := func(ctx context.Context, n *atomic.Int64) {
			n.Add(1)
			defer n.Add(-1)
			<-ctx.Done()
			time.Sleep(100 * time.Millisecond) // it takes a moment to let go
		}
		s.Prove = func(ctx context.Context, _ string) (Verdict, error) {
			until(ctx, &proving)
			return Unknown, ctx.Err()
		}
		s.Tend = func(ctx context.Context, _ keyring.Ring) (map[string]int, error) {
			until(ctx, &tending)
			return nil, ctx.Err()
		}
		ring, err := w.ring().Accept(keyring.Candidate{ID: "before", Value: w.ring().Active().Value}, time.Now())
		w.put(t, ring, err)
		r, err := NewRunner(Options{Rings: w, Journal: worldJournal{w}, Fleet: worldFleet{w, "r1"}, Secrets: []Secret{s}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); r.Run(ctx) }()
		ask(t, r)
		time.Sleep(5 * time.Second)
		if proving.Load() != 1 || tending.Load() != 1 {
			t.Fatalf("expected one question and one count under way, found %d and %d", proving.Load(), tending.Load())
		}
		cancel()
		<-ended
		if proving.Load() != 0 || tending.Load() != 0 {
			t.Errorf("left behind: %d questions, %d counts", proving.Load(), tending.Load())
		}
	})
}

// A defect in what is done beside requests ends neither those nor the rotation.
func TestADefectBesideRequestsEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		s := w.secret()
		s.Policy = func(keyring.Ring) Policy { return outward }
		var asked, tended atomic.Int64
		s.Prove = func(context.Context, string) (Verdict, error) {
			if asked.Add(1) == 1 {
				panic("a defect")
			}
			return Accepted, nil
		}
		s.Tend = func(context.Context, keyring.Ring) (map[string]int, error) {
			if tended.Add(1) == 1 {
				panic("another")
			}
			return map[string]int{}, nil
		}
		ask(t, w.runner(t, "r1", s))
		time.Sleep(time.Minute)
		if got := w.states(); got != "v1 active, v0 retiring" || tended.Load() < 2 {
			t.Errorf("after defects: %s, counted %d times", got, tended.Load())
		}
	})
}
