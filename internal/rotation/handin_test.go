package rotation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/keyring"
)

// A file changes whenever it is looked at, for a day. The ring stays small, it is said loudly
// and not all the time, and the last value is in use in the end.
func TestASourceThatHandsInEverNewValues(t *testing.T) {
	for name, c := range map[string]struct {
		lag      time.Duration // <0: none gets beyond pending
		previous bool          // each as the previous one, too
	}{
		"each is put to use":     {0, false},
		"none is put to use":     {-1, false},
		"with the one before it": {0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld("r1")
				w.lag["r1"] = c.lag
				var log bytes.Buffer
				s := w.byHand()
				s.Policy = func(keyring.Ring) Policy {
					p := inward
					p.Guard, p.Lifetime = time.Minute, 12*time.Hour
					return p
				}
				r, err := NewRunner(Options{
					Rings: w, Journal: worldJournal{w}, Fleet: worldFleet{w, "r1"}, Secrets: []Secret{s},
					Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError})),
				})
				if err != nil {
					t.Fatal(err)
				}
				most, live := 0, 0
				look := func(n int) {
					t.Helper()
					var previous *keyring.Candidate
					if c.previous && n > 0 {
						p := handed(fmt.Sprint("p", n-1))
						previous = &p
					}
					if _, err := r.HandIn(t.Context(), "k", handed(fmt.Sprint("n", n)), previous); err != nil {
						t.Fatal(err)
					}
					r.pass(t.Context())
					ring := w.ring()
					most = max(most, len(slices.Collect(ring.All())))
					live = max(live, len(slices.Collect(ring.Live())))
				}
				const last = 24 * 60 * 3
				for n := range last {
					look(n)
					time.Sleep(20 * time.Second)
				}
				if live > keyring.MaxLive/2+40 || most > live+3*keyring.MaxEnded {
					t.Errorf("a ring of up to %d versions, %d of them live", most, live)
				}
				if c.lag < 0 && live > 2+maxSuperseded {
					t.Errorf("%d versions live, though none was ever used", live)
				}
				said := strings.Count(log.String(), "faster than the fleet should follow")
				if said == 0 || said > 24*6+1 {
					t.Errorf("said %d times:\n%.1000s", said, log.String())
				}
				w.mu.Lock()
				w.lag["r1"] = 0
				w.mu.Unlock()
				for range 70 {
					look(last)
					time.Sleep(time.Minute)
				}
				if got := w.active(); got != fmt.Sprint("n", last) {
					t.Errorf("in use in the end: %s", got)
				}
			})
		})
	}
}

// Whoever changes a value by hand, and again because the first was wrong, waits for
// nothing.
func TestAFewValuesAreTakenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		r := w.runner(t, "r1", w.byHand())
		for n := range hastyAfter {
			id := fmt.Sprint("n", n)
			handIn(t, r, id)
			time.Sleep(3 * time.Second)
			if got := w.active(); got != id {
				t.Fatalf("after %s: %s", id, got)
			}
		}
		began := time.Now()
		for w.active() != "last" {
			handIn(t, r, "last") // as each look of each replica does
			time.Sleep(time.Second)
			if time.Since(began) > time.Minute {
				t.Fatalf("never: %s", w.states())
			}
		}
		if took := time.Since(began); took < 5*time.Second || took > 15*time.Second {
			t.Errorf("the next one came after %v", took)
		}
	})
}

// What a clock that was off has dated does not hold anything up, and neither does
// what is not handed in.
func TestHold(t *testing.T) {
	ring := func(n int, at time.Time, byHand bool) keyring.Ring {
		r := newWorld("r1").ring()
		for i := range n {
			c := handed(fmt.Sprint("n", i))
			c.HandedIn = byHand
			next, err := r.Add(c, at)
			if err == nil {
				next, err = next.Reject(c.ID)
			}
			if err != nil {
				t.Fatal(err)
			}
			r = next
		}
		return r
	}
	now := time.Now()
	for name, c := range map[string]struct {
		ring keyring.Ring
		want time.Duration
	}{
		"few":                    {ring(31, now, true), 0},
		"many":                   {ring(32, now, true), 10 * time.Second},
		"many, a while ago":      {ring(32, now.Add(-7*time.Second), true), 3 * time.Second},
		"many, long ago":         {ring(60, now.Add(-2*time.Hour), true), 0},
		"more":                   {ring(40, now, true), 20 * time.Second},
		"very many":              {ring(64, now, true), 2 * time.Minute},
		"by a clock that is off": {ring(60, now.Add(48*time.Hour), true), 0},
		"made by Keyway":         {ring(60, now, false), 0},
	} {
		if got := Hold(c.ring, now); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	full := newWorld("r1").ring()
	for n := range keyring.MaxLive {
		next, err := full.Accept(keyring.Candidate{ID: fmt.Sprint("n", n), Value: handed("x").Value}, now)
		if err == nil {
			full = next
		}
	}
	if Hold(full, now) == 0 {
		t.Error("a full ring takes more")
	}
	next, err := full.Expose("v0")
	if err != nil {
		t.Fatal(err)
	}
	previous := handed("previous")
	if next, err = HandIn(next, handed("b"), &previous, now); err != nil {
		t.Fatalf("what ends the compromised ones is not taken: %v", err)
	}
	if pending, _ := next.Pending(); pending.ID != "b" {
		t.Errorf("pending %+v", pending)
	}
}

// Asking again and again is refused with a reason before there is more than the
// fleet can hold; not so when it is to end them all.
func TestAskingForTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		s := w.secret()
		s.Policy = func(keyring.Ring) Policy { p := signed; p.Lifetime = 30 * 24 * time.Hour; return p }
		made := s.Make
		s.Make = func(ctx context.Context) (keyring.Candidate, error) { return made(ctx) }
		r := w.runner(t, "r1", s)
		var refused *RefusedError
		n := 0
		for ; refused == nil && n < 2*keyring.MaxLive; n++ {
			_, err := r.Rotate(t.Context(), "k", Request{})
			if err != nil && !errors.As(err, &refused) {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if n != keyring.MaxLive || !strings.Contains(fmt.Sprint(refused), "keyway rotate k --compromised") {
			t.Fatalf("after %d: %v", n, refused)
		}
		compromised(t, r, "")
		time.Sleep(time.Second)
		if live := len(slices.Collect(w.ring().Live())); live != 1 {
			t.Errorf("%d live after a compromise", live)
		}
	})
}
