package rotation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

// The peer changed first: it refuses the old secret, many times, until the new
// one is in use. That is no reason to go back to the old one.
func TestRefusalsOfTheOldVersionDoNotUndoTheNew(t *testing.T) {
	threat.Covers(t, 62)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1", "r2")
		w.former = map[string]Refusals{"v0": {InGuard: 400}}
		s := w.secret()
		s.Policy = func(keyring.Ring) Policy { return outward }
		s.Prove = func(context.Context, string) (Verdict, error) { return Accepted, nil }
		r := w.runner(t, "r1", s)
		ask(t, r)
		time.Sleep(time.Minute)
		if got := w.states(); got != "v1 active, v0 retiring" {
			t.Fatalf("after the peer changed first: %s", got)
		}
	})
}

func (w *world) put(t *testing.T, r keyring.Ring, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rings["k"] = r
}

func (w *world) ring() keyring.Ring {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rings["k"]
}

// A replica that lags, or a rotation that ends while it is asked for, is no reason
// to leave a version in use that somebody has stolen.
func TestACompromiseIsNotMetByAnOrdinaryRotation(t *testing.T) {
	candidate := keyring.Candidate{ID: "n1", Value: secret.NewValue([]byte("n1"))}
	stolenIsOver := func(t *testing.T, w *world) {
		t.Helper()
		if v, _ := w.ring().Find("v0"); v.State != keyring.Retired || !v.Compromised {
			t.Errorf("the stolen v0 is %s: %s", v.State, w.states())
		}
	}
	t.Run("asked at a replica that lags", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld("r1")
			r := w.runner(t, "r1", w.secret())
			ask(t, r)
			time.Sleep(time.Second) // v1 is active, v0 retiring
			for range 2 {           // whoever asks twice gets one version
				if _, err := r.Rotate(t.Context(), "k", Request{From: "v0", Compromised: true}); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
			stolenIsOver(t, w)
			if got := w.active(); got != "v2" {
				t.Errorf("in use is %s: %s", got, w.states())
			}
			if got := w.last(t); got.Outcome != OutcomeActive || !got.Compromised {
				t.Errorf("recorded %+v", got)
			}
		})
	})
	t.Run("while the pending one is activated", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld("r1")
			added, err := w.ring().Add(candidate, time.Now())
			w.put(t, added, err)
			// The ring is read, then somebody activates, then it is written.
			r, err := NewRunner(Options{Rings: &moved{world: w}, Journal: worldJournal{w}, Fleet: worldFleet{w, "r1"}, Secrets: []Secret{w.secret()}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Rotate(t.Context(), "k", Request{Compromised: true}); err != nil {
				t.Fatal(err)
			}
			r.pass(t.Context())
			stolenIsOver(t, w)
		})
	})
	t.Run("a newer value is handed in", func(t *testing.T) {
		ring := newWorld("r1").ring()
		first, err := HandIn(ring, keyring.Candidate{ID: "a", Value: candidate.Value, HandedIn: true}, nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if first, err = first.Urge("a"); err != nil {
			t.Fatal(err)
		}
		next, err := HandIn(first, keyring.Candidate{ID: "b", Value: candidate.Value, HandedIn: true}, nil, time.Now())
		if pending, _ := next.Pending(); err != nil || pending.ID != "b" || !pending.TakesOver {
			t.Errorf("%v: pending %+v", err, pending)
		}
	})
}

// moved activates what is pending just before the first write.
type moved struct {
	*world
	done bool
}

func (m *moved) Update(ctx context.Context, name string, change func(keyring.Ring) (keyring.Ring, error)) (keyring.Ring, error) {
	if pending, ok := m.ring().Pending(); ok && !m.done {
		m.done = true
		_, err := m.world.Update(ctx, name, func(r keyring.Ring) (keyring.Ring, error) { return r.Activate(pending.ID, time.Now()) })
		if err != nil {
			return keyring.Ring{}, err
		}
	}
	return m.world.Update(ctx, name, change)
}

// NAME_PREVIOUS with the same value as NAME is no reason to take neither.
func TestHandedInAsBoth(t *testing.T) {
	c := keyring.Candidate{ID: "a", Value: secret.NewValue([]byte("a")), HandedIn: true}
	next, err := HandIn(newWorld("r1").ring(), c, &c, time.Now())
	if pending, _ := next.Pending(); err != nil || pending.ID != "a" {
		t.Errorf("%v: pending %+v", err, pending)
	}
}

// Whoever asked was paused between the journal and the ring, for longer than a
// rotation is given to appear. The record tells what came of it all the same.
func TestARotationThatWasGivenUpTooSoon(t *testing.T) {
	w := newWorld("r1")
	now := w.ring().Active().CreatedAt
	h := History{}
	h.begin(Rotation{ID: "x", Secret: "k", From: "v0", To: "v1", StartedAt: now})
	if h.reconcile(w.ring(), newID, now.Add(2*time.Minute)); h.Rotations[0].Outcome != OutcomeFailed {
		t.Fatalf("recorded %+v", h.Rotations)
	}
	next, err := w.ring().Add(keyring.Candidate{ID: "v1", Value: secret.NewValue([]byte("v1"))}, now)
	if err != nil {
		t.Fatal(err)
	}
	if ended, _ := h.reconcile(next, newID, now.Add(3*time.Minute)); len(ended) > 0 || h.Open() == nil {
		t.Errorf("under way again: %+v", h.Rotations)
	}
	if next, err = next.Activate("v1", now.Add(4*time.Minute)); err != nil {
		t.Fatal(err)
	}
	h.reconcile(next, newID, now.Add(5*time.Minute))
	if got := h.Rotations; len(got) != 1 || got[0].Outcome != OutcomeActive {
		t.Errorf("recorded %+v", got)
	}
}

// A step that is tried again and again neither fills the record nor has it written
// for ever.
func TestTheRecordIsBounded(t *testing.T) {
	h := History{}
	r := h.begin(Rotation{ID: "x", To: "v1"})
	for range 3 * maxSteps {
		r.step(time.Now(), StepActivating, "every live replica holds it")
	}
	if len(r.Steps) != 1 {
		t.Errorf("%d steps of the same", len(r.Steps))
	}
	for n := range 3 * maxSteps {
		r.step(time.Now(), StepActivating, fmt.Sprint(n))
	}
	if len(r.Steps) != maxSteps || h.note("v1", StepGuarded, "", time.Now()) {
		t.Errorf("%d steps, and another is written each time", len(r.Steps))
	}
	for n := range 3 * maxHistory {
		h.begin(Rotation{ID: fmt.Sprint(n)})
	}
	if len(h.Rotations) != maxHistory {
		t.Errorf("%d rotations", len(h.Rotations))
	}
}

// What a peer said is not good for ever: it may say something else by the time
// that the replicas are ready, or that the one who asked leads again.
func TestWhatAPeerSaidGrowsOld(t *testing.T) {
	threat.Covers(t, 62)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1", "r2")
		var accepts atomic.Bool
		accepts.Store(true)
		s := w.secret()
		s.Policy = func(keyring.Ring) Policy { return outward }
		s.Prove = func(context.Context, string) (Verdict, error) {
			time.Sleep(time.Second) // so that the pass which asks does not meet the answer
			if accepts.Load() {
				return Accepted, nil
			}
			return Refused, nil
		}
		// The ring can't be written when the peer says yes.
		r, err := NewRunner(Options{Rings: w, Journal: worldJournal{w}, Fleet: worldFleet{w, "r1"}, Secrets: []Secret{s}})
		if err != nil {
			t.Fatal(err)
		}
		ask(t, r)
		lead := func() { r.pass(t.Context()); time.Sleep(2 * time.Second) }
		lead()
		if got := w.states(); got != "v1 pending, v0 active" {
			t.Fatal(got)
		}
		accepts.Store(false)
		time.Sleep(time.Hour) // another one leads, and waits for a replica that lags
		lead()
		lead()
		if got := w.states(); got != "v1 pending, v0 active" {
			t.Fatalf("by what the peer said an hour ago: %s", got)
		}
		time.Sleep(2 * outward.Patience) // and again
		accepts.Store(true)
		lead()
		lead()
		if got := w.states(); got != "v1 active, v0 retiring" {
			t.Errorf("refused two days ago, accepted now: %s", got)
		}
	})
}

// The peer refuses the pending version, and another replica comes to lead, for
// which it has been published for long.
func TestANewLeaderAsksBeforeItGoesByTime(t *testing.T) {
	threat.Covers(t, 54)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		s := w.secret()
		s.Policy = func(keyring.Ring) Policy { return outward }
		s.Prove = func(context.Context, string) (Verdict, error) {
			time.Sleep(time.Second)
			return Refused, nil
		}
		ask(t, w.runner(t, "r1", s))
		time.Sleep(time.Hour)
		w.mu.Lock()
		w.leader = "r2"
		w.mu.Unlock()
		w.runner(t, "r2", s)
		time.Sleep(time.Hour)
		if got := w.states(); got != "v1 pending, v0 active" {
			t.Errorf("although the peer refuses it: %s", got)
		}
	})
}

// By age, and it has to be rolled back each time: not again at once.
func TestWhatFailsIsNotTriedAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		w.former = map[string]Refusals{"v0": {}}
		w.refusals = Refusals{InGuard: 40}
		s := w.secret()
		s.Policy = func(keyring.Ring) Policy { p := signed; p.Every = 5 * time.Hour; return p }
		w.runner(t, "r1", s)
		time.Sleep(10 * time.Hour)
		if n := strings.Count(w.states(), ",") + 1; n < 10 || n > 30 {
			t.Errorf("%d versions within five hours", n)
		}
	})
}

// A pending version that nobody had written down yet is given up.
func TestGivenUpBeforeItWasRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		added, err := w.ring().Add(keyring.Candidate{ID: "a", Value: secret.NewValue([]byte("a")), HandedIn: true}, time.Now())
		w.put(t, added, err)
		w.leader = "r2"
		r := w.runner(t, "r1", w.secret())
		got, err := r.RollBack(t.Context(), "k", "a test")
		if err != nil || got.ID == "" || got.To != "a" || got.Outcome != OutcomeRejected || w.last(t).ID != got.ID {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// What one has handed in and another gives up says so: who asked for the rotation is
// not who ended it.
func TestGivenUpBySomebodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		w.lag["r1"] = -1
		r := w.runner(t, "r1", w.secret())
		if _, err := r.HandIn(t.Context(), "k", keyring.Candidate{ID: "a", Value: secret.NewValue([]byte("a")), HandedIn: true}, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := w.last(t); got.AskedBy != "whoever handed the value in" || got.Outcome != "" {
			t.Fatalf("%+v", got)
		}
		got, err := r.RollBack(t.Context(), "k", "admin API, from this machine")
		if err != nil || got.Outcome != OutcomeRejected || got.AskedBy != "whoever handed the value in" {
			t.Fatalf("%+v, %v", got, err)
		}
		rejecting := got.Steps[slices.IndexFunc(got.Steps, func(s Step) bool { return s.What == StepRejecting })]
		if rejecting.Detail != "given up by admin API, from this machine" || rejecting.By != "admin API, from this machine" {
			t.Errorf("%+v", rejecting)
		}
	})
}

// Whoever leads may see in the ring that a version was given up, and write that down,
// before the one who gave it up has.
func TestGivenUpAndWrittenDownByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		w.lag["r1"] = -1
		r := w.runner(t, "r1", w.secret())
		ask(t, r)
		time.Sleep(time.Second)
		rejected, err := w.ring().Reject("v1")
		w.put(t, rejected, err)
		time.Sleep(time.Minute)
		if got := w.last(t); got.Outcome != OutcomeRejected {
			t.Fatalf("%+v", got)
		}
		got, err := r.gaveUp(t.Context(), w.ring(), "v1", "somebody", time.Now())
		if last := got.Steps[len(got.Steps)-1]; err != nil || last.What != StepRejected || last.By != "somebody" || last.Detail != "given up by somebody" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// What was in use elsewhere is handed in as the previous value, at a replica with a
// clock that is an hour behind.
func TestThePreviousValueDoesNotDependOnOneClock(t *testing.T) {
	threat.Covers(t, 63)
	old := v("old", keyring.Retiring, 0, 0, 0)
	old.ActivatedAt, old.Withdrawn = time.Time{}, true
	r := replica("r1", 2*time.Hour, "a", 0, "a")
	r.Holds["old"] = at(90 * time.Minute)
	versions := ring(t, v("a", keyring.Active, 0, 0, 0), old)
	if d := Decide(versions, Knowledge{Replicas: []Replica{r}}, inward, at(2*time.Hour)); d.Move != Wait {
		t.Errorf("%+v", d)
	}
	if d := Decide(versions, Knowledge{Replicas: []Replica{r}}, inward, at(3*time.Hour)); d.Move != Retire {
		t.Errorf("%+v", d)
	}
}
