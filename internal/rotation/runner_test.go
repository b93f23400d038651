package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

// A whole life, on a fleet in which one replica takes its time and another dies
// without a word.
func TestARotationFromMadeToRetired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1", "r2")
		w.lag["r2"] = 3 * time.Second
		r := w.runner(t, "r1", w.secret())
		began := ask(t, r)
		if began.Outcome != "" || began.From != "v0" || began.To != "v1" {
			t.Fatalf("began %+v", began)
		}
		time.Sleep(2 * time.Second)
		if got := w.states(); got != "v1 pending, v0 active" {
			t.Fatalf("while a replica lags: %s", got)
		}
		if now := w.last(t); !slices.Equal(now.Blocked, []string{"r2"}) || !strings.Contains(now.Waiting, "r2") {
			t.Errorf("waits for %v: %q", now.Blocked, now.Waiting)
		}
		time.Sleep(2 * time.Second)
		if got := w.states(); got != "v1 active, v0 retiring" {
			t.Fatalf("when all hold it: %s", got)
		}
		time.Sleep(2 * time.Hour)
		if got := w.states(); got != "v1 active, v0 retired" {
			t.Fatalf("later: %s", got)
		}
		got := w.last(t)
		if got.ID != began.ID || got.Outcome != OutcomeActive || got.TookMS() < 2900 || got.TookMS() > 3500 {
			t.Errorf("recorded %+v", got)
		}
		if s := steps(got); s != "made held activating activated guarded retiring_old retired_old" {
			t.Errorf("steps: %s", s)
		}
	})
}

// Whoever asks while a rotation is under way, or has seen the version that it has
// replaced already, gets that one.
func TestAskingAtOnceMakesOneVersion(t *testing.T) {
	threat.Covers(t, 57)
	for range 10 { // fleets
		askAtOnce(t, 100)
	}
}

func askAtOnce(t *testing.T, rounds int) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1", "r2")
		runners := []*Runner{w.runner(t, "r1", w.secret()), w.runner(t, "r2", w.secret())}
		for round := range rounds {
			from := w.active()
			results := make([]Rotation, 4)
			var group sync.WaitGroup
			for i := range results {
				group.Go(func() {
					var err error
					results[i], err = runners[i%2].Rotate(t.Context(), "k", Request{From: from, AskedBy: fmt.Sprint(i)})
					if err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
			for _, got := range results {
				if got.ID != results[0].ID || got.To != results[0].To {
					t.Fatalf("round %d: %+v and %+v", round, got, results[0])
				}
			}
			time.Sleep(time.Second)
			if active := w.active(); active != results[0].To {
				t.Fatalf("round %d: %s is active, want %s", round, active, results[0].To)
			}
			late, err := runners[1].Rotate(t.Context(), "k", Request{From: from})
			if err != nil || late.To != results[0].To {
				t.Fatalf("round %d: who was late got %+v, %v", round, late, err)
			}
		}
		if versions := strings.Count(w.states(), ",") + 1; versions != rounds+1 {
			t.Errorf("%d versions of %d rotations", versions, rounds)
		}
	})
}

// The process dies at each write in turn. Whoever comes next finishes, and the
// record tells it.
func TestDyingAtAnyWrite(t *testing.T) {
	threat.Covers(t, 58)
	for at := range 12 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld("r1")
			r := w.runner(t, "r1", w.secret())
			n := 0
			stop := func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				if n++; n == at {
					w.away = errAway
				}
			}
			go func() {
				for range 2000 {
					time.Sleep(time.Millisecond)
					stop()
				}
			}()
			_, _ = r.Rotate(t.Context(), "k", Request{})
			time.Sleep(time.Minute)
			w.mu.Lock()
			w.away, w.leader = nil, "r2"
			w.replicas = []string{"r2"}
			w.mu.Unlock()
			next := w.runner(t, "r2", w.secret())
			if _, err := next.Rotate(t.Context(), "k", Request{From: "v0"}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Hour)
			if got := w.states(); w.active() == "v0" || strings.Contains(got, "pending") || strings.Contains(got, "retiring") {
				t.Errorf("died at %d: %s", at, w.states())
			}
			if got := w.last(t); got.Outcome != OutcomeActive {
				t.Errorf("died at %d: %+v", at, got)
			}
		})
	}
}

// Nobody moves while the store is away, and nothing is lost.
func TestTheStoreIsAway(t *testing.T) {
	threat.Covers(t, 67)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		w.lag["r1"] = 5 * time.Second
		r := w.runner(t, "r1", w.secret())
		ask(t, r)
		w.mu.Lock()
		w.away = errAway
		w.mu.Unlock()
		time.Sleep(time.Minute)
		if got := w.states(); got != "v1 pending, v0 active" {
			t.Fatalf("while it is away: %s", got)
		}
		if _, err := r.Rotate(t.Context(), "k", Request{}); !errors.Is(err, errAway) {
			t.Errorf("asked while it is away: %v", err)
		}
		w.mu.Lock()
		w.away = nil
		w.mu.Unlock()
		time.Sleep(10 * time.Second)
		if got := w.states(); got != "v1 active, v0 retiring" {
			t.Fatalf("when it is back: %s", got)
		}
	})
}

// Refusals in the guard window bring the old version back, and the record says
// why.
func TestRollsBackByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		r := w.runner(t, "r1", w.secret())
		ask(t, r)
		time.Sleep(time.Second)
		w.mu.Lock()
		w.refusals = Refusals{InGuard: 40, Before: 1}
		w.mu.Unlock()
		time.Sleep(10 * time.Second)
		if got := w.states(); got != "v1 retiring, v0 active" {
			t.Fatalf("after refusals: %s", got)
		}
		got := w.last(t)
		if got.Outcome != OutcomeRolledBack || !strings.Contains(got.Steps[len(got.Steps)-2].Detail, "40 refusals") {
			t.Errorf("recorded %+v", got)
		}
		time.Sleep(3 * time.Hour)
		if got := w.states(); got != "v1 retired, v0 active" {
			t.Errorf("later: %s", got)
		}
		if _, err := r.RollBack(t.Context(), "k", "a test"); err == nil {
			t.Error("rolled back to nothing")
		}
	})
}

// What is found to be no good goes the way that the guard sends it, and is recorded
// as that; but only while it is what is in use.
func TestWithdraw(t *testing.T) {
	threat.Covers(t, 54)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		r := w.runner(t, "r1", w.secret())
		ask(t, r)
		time.Sleep(5 * time.Second)
		if got := w.states(); got != "v1 active, v0 retiring" {
			t.Fatal(got)
		}
		if err := r.Withdraw(t.Context(), "k", "v0", "a check"); err != nil || w.states() != "v1 active, v0 retiring" {
			t.Errorf("of what is not in use: %v, %s", err, w.states())
		}
		if err := r.Withdraw(t.Context(), "k", "v1", "a check"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if got := w.states(); got != "v1 retiring, v0 active" {
			t.Errorf("afterwards: %s", got)
		}
		got := w.last(t)
		if got.Outcome != OutcomeRolledBack || !strings.HasSuffix(steps(got), "rolling_back rolled_back") || got.Steps[len(got.Steps)-2].Detail != "a check" {
			t.Errorf("recorded %+v", got)
		}
		if refused := new(RefusedError); !errors.As(r.Withdraw(t.Context(), "k", "v0", "a check"), &refused) {
			t.Error("back to what was withdrawn")
		}
	})
}

// What is not going to be rolled back is not recorded as on its way back: another
// version is in use by then, or nothing is left to go back to.
func TestWithdrawRecordsOnlyWhatItBegins(t *testing.T) {
	for name, c := range map[string]struct {
		again   Request
		refused bool
	}{
		"another one is in use":     {Request{From: "v1", AskedBy: "ada"}, false},
		"there is nothing to go to": {Request{From: "v1", AskedBy: "ada", Compromised: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld("r1")
				r := w.runner(t, "r1", w.secret())
				ask(t, r)
				time.Sleep(5 * time.Second)
				if _, err := r.Rotate(t.Context(), "k", c.again); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Second)
				version := "v1"
				if c.refused {
					version = "v2"
				}
				err := r.Withdraw(t.Context(), "k", version, "a check")
				if _, refused := errors.AsType[*RefusedError](err); refused != c.refused || err != nil && !refused {
					t.Errorf("%v; %s", err, w.states())
				}
				time.Sleep(5 * time.Second)
				history, err := r.History(t.Context(), "k")
				if err != nil || len(history.Rotations) != 2 {
					t.Fatalf("%+v, %v", history, err)
				}
				for _, one := range history.Rotations {
					if strings.Contains(steps(one), "rolling_back") {
						t.Errorf("recorded of %s: %s", one.To, steps(one))
					}
				}
			})
		})
	}
}

func TestRollBack(t *testing.T) {
	threat.Covers(t, 63)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		r := w.runner(t, "r1", w.secret())
		refused := func(why string) {
			t.Helper()
			_, err := r.RollBack(t.Context(), "k", "a test")
			if e, ok := errors.AsType[*RefusedError](err); !ok || !strings.Contains(e.Error(), "keyway rotate k") {
				t.Errorf("%s: %v", why, err)
			}
		}
		refused("nothing before it")
		w.mu.Lock()
		w.lag["r1"] = -1
		w.mu.Unlock()
		ask(t, r)
		time.Sleep(time.Second)
		if got, err := r.RollBack(t.Context(), "k", "a test"); err != nil || got.Outcome != OutcomeRejected || w.states() != "v1 rejected, v0 active" {
			t.Fatalf("what is pending is given up: %+v, %v: %s", got, err, w.states())
		}
		w.mu.Lock()
		w.lag["r1"] = 0
		w.mu.Unlock()
		ask(t, r)
		time.Sleep(time.Second)
		back, err := r.RollBack(t.Context(), "k", "a test")
		if err != nil || back.From != "v2" || back.To != "v0" || w.states() != "v2 retiring, v1 rejected, v0 active" {
			t.Fatalf("%+v, %v: %s", back, err, w.states())
		}
		refused("to what was withdrawn")
		time.Sleep(3 * time.Hour)
		ask(t, r)
		time.Sleep(3 * time.Hour)
		refused("to what is retired")
		if _, err := r.Rotate(t.Context(), "k", Request{Compromised: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := w.states(); !strings.HasPrefix(got, "v4 active, v3 retired") {
			t.Fatalf("after a compromise: %s", got)
		}
		refused("to what is compromised")
	})
}

// The peer refuses at first, as when the operator was faster than it.
func TestAProofIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		s := w.secret()
		s.Policy = func(keyring.Ring) Policy { return outward }
		var mu sync.Mutex
		asked, accepts := 0, false
		s.Prove = func(context.Context, string) (Verdict, error) {
			mu.Lock()
			defer mu.Unlock()
			asked++
			if asked == 1 {
				return Unknown, errAway
			}
			if accepts {
				return Accepted, nil
			}
			return Refused, nil
		}
		s.Operator = func(_ keyring.Version, p Proof) string {
			if !p.FirstRefused.IsZero() {
				return "register it at the peer"
			}
			return ""
		}
		r := w.runner(t, "r1", s)
		ask(t, r)
		time.Sleep(time.Hour)
		mu.Lock()
		if asked < 20 || asked > 80 {
			t.Errorf("asked %d times in an hour", asked)
		}
		accepts = true
		mu.Unlock()
		if got := w.last(t); got.Outcome != "" || !strings.Contains(got.Waiting, "register it at the peer") {
			t.Errorf("recorded %+v", got)
		}
		time.Sleep(7 * time.Minute)
		if got := w.last(t); got.Outcome != OutcomeActive || !strings.Contains(steps(got), "proved activating activated") {
			t.Errorf("recorded %+v", got)
		}
	})
}

// What depends on the old version is counted, and when nothing does it goes,
// long before it would by time.
func TestRetiredWhenDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		s := w.secret()
		left := 3
		s.Tend = func(context.Context, keyring.Ring) (map[string]int, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return map[string]int{"v0": left}, nil
		}
		r := w.runner(t, "r1", s)
		ask(t, r)
		time.Sleep(20 * time.Minute)
		if got := w.states(); got != "v1 active, v0 retiring" {
			t.Fatalf("while something depends: %s", got)
		}
		w.mu.Lock()
		left = 0
		w.mu.Unlock()
		time.Sleep(time.Minute)
		if got := w.states(); got != "v1 active, v0 retired" {
			t.Fatalf("when nothing does: %s", got)
		}
	})
}

func TestHandedIn(t *testing.T) {
	candidate := func(id string) keyring.Candidate {
		return keyring.Candidate{ID: id, Value: secret.NewValue([]byte(id)), HandedIn: true}
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		s := w.secret()
		s.Make, s.HandIn = nil, "put a new value into /run/secrets/k"
		r := w.runner(t, "r1", s)
		if got := ask(t, r); got.Outcome != OutcomeNeedsOperator || got.Waiting != s.HandIn {
			t.Errorf("asked for what only others can make: %+v", got)
		}
		in := func(current string, previous *keyring.Candidate) keyring.Version {
			t.Helper()
			v, err := r.HandIn(t.Context(), "k", candidate(current), previous)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		hold := func(lag time.Duration) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.lag["r1"] = lag
		}
		hold(-1) // or the first may be in use before the second comes
		old := candidate("older")
		if v := in("a", &old); v.State != keyring.Pending {
			t.Errorf("a: %+v", v)
		}
		if v := in("b", nil); v.State != keyring.Pending || w.states() != "b pending, a retiring, v0 active, older retiring" {
			t.Errorf("a newer one before the first was used: %s", w.states())
		}
		hold(0)
		in("b", nil)
		in("a", nil) // a replica that still has it in its file
		time.Sleep(time.Second)
		if got := w.states(); got != "b active, a retiring, v0 retiring, older retiring" {
			t.Errorf("used: %s", got)
		}
		if v := in("v0", nil); v.State != keyring.Retiring {
			t.Errorf("the file was put back: %+v", v)
		}
		if got := w.last(t); got.Outcome != OutcomeActive || !strings.HasPrefix(steps(got), "handed_in") {
			t.Errorf("recorded %+v", got)
		}
	})
}

func TestTally(t *testing.T) {
	tally := NewTally(10 * time.Minute)
	for n := range 20 {
		tally.Add("", at(time.Duration(n)*time.Minute))
	}
	for range 100 {
		tally.Add("one client", at(15*time.Minute))
	}
	if got := tally.Compare(at(10*time.Minute), at(20*time.Minute)); got != (Refusals{InGuard: 11, Before: 10}) {
		t.Errorf("%+v", got)
	}
	if got := tally.Compare(at(18*time.Minute), at(20*time.Minute)); got.InGuard != 2 || got.Before != 2 {
		t.Errorf("%+v", got)
	}
}

// By age, with nobody asking: one at a time, a little before the age is reached,
// and not what others hand in.
func TestTurnsByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1", "r2")
		s := w.secret()
		const every = 24 * time.Hour
		s.Policy = func(keyring.Ring) Policy { p := signed; p.Every = every; return p }
		w.runner(t, "r1", s)
		w.runner(t, "r2", s)
		began := time.Now()
		time.Sleep(10*every + time.Hour)
		w.mu.Lock()
		history := w.journal["k"].Clone()
		w.mu.Unlock()
		if n := len(history.Rotations); n != 10 {
			t.Fatalf("%d rotations in ten times the age", n)
		}
		last := began
		for i := len(history.Rotations) - 1; i >= 0; i-- {
			r := history.Rotations[i]
			if age := r.StartedAt.Sub(last); age > every+time.Minute || age < every-every/20 {
				t.Errorf("%s came after %v", r.To, age)
			}
			if r.Outcome != OutcomeActive || !strings.HasPrefix(r.AskedBy, "schedule: ") {
				t.Errorf("recorded %+v", r)
			}
			last = r.StartedAt
		}
	})
}
