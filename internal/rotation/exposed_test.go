package rotation

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

func handed(id string) keyring.Candidate {
	return keyring.Candidate{ID: id, Value: secret.NewValue([]byte(id)), HandedIn: true}
}

// byHand is a secret of which only a person can bring the next value.
func (w *world) byHand() Secret {
	s := w.secret()
	s.Make, s.HandIn = nil, "put a new value into /run/secrets/k"
	return s
}

func handIn(t *testing.T, r *Runner, id string) {
	t.Helper()
	if _, err := r.HandIn(t.Context(), "k", handed(id), nil); err != nil {
		t.Fatal(err)
	}
}

func compromised(t *testing.T, r *Runner, from string) Rotation {
	t.Helper()
	got, err := r.Rotate(t.Context(), "k", Request{From: from, AskedBy: "a test", Compromised: true})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (w *world) empty(journal History) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.journal["k"] = journal
}

// That a value is compromised which only a person can replace is remembered until
// it is replaced, and by nothing that somebody could forge or drop who can write to
// the store.
func TestACompromiseIsRememberedUntilAValueIsHandedIn(t *testing.T) {
	threat.Covers(t, 63)
	for name, c := range map[string]struct {
		between func(*testing.T, *world, *Runner)
		want    string
	}{
		"nothing between": {func(*testing.T, *world, *Runner) {}, "b active, v0 retired"},
		"the journal is emptied": {func(_ *testing.T, w *world, _ *Runner) {
			w.empty(History{})
		}, "b active, v0 retired"},
		"the leader dies, and the journal is emptied": {func(t *testing.T, w *world, _ *Runner) {
			w.mu.Lock()
			w.leader, w.replicas = "r2", []string{"r2"}
			w.mu.Unlock()
			w.runner(t, "r2", w.byHand())
			w.empty(History{})
		}, "b active, v0 retired"},
		"more happens than the journal holds": {func(t *testing.T, w *world, r *Runner) {
			h := History{}
			for n := range 2 * maxHistory {
				h.begin(Rotation{ID: fmt.Sprint(n), Outcome: OutcomeRejected})
			}
			w.empty(h)
		}, "b active, v0 retired"},
		"the first that came was rejected": {func(t *testing.T, w *world, r *Runner) {
			w.mu.Lock()
			w.lag["r1"] = -1
			w.mu.Unlock()
			handIn(t, r, "a")
			if _, err := r.RollBack(t.Context(), "k", "a test"); err != nil {
				t.Fatal(err)
			}
			w.mu.Lock()
			w.lag["r1"] = 0
			w.mu.Unlock()
		}, "b active, a rejected, v0 retired"},
		"the first that came was replaced": {func(t *testing.T, w *world, r *Runner) {
			w.mu.Lock()
			w.lag["r1"] = -1
			w.mu.Unlock()
			handIn(t, r, "a")
			handIn(t, r, "b")
			w.mu.Lock()
			w.lag["r1"] = 0
			w.mu.Unlock()
		}, "b active, a rejected, v0 retired"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld("r1")
				r := w.runner(t, "r1", w.byHand())
				first := compromised(t, r, "")
				if again := compromised(t, r, "v0"); first.Outcome != OutcomeNeedsOperator || again.ID != first.ID {
					t.Errorf("asked twice: %+v and %+v", first, again)
				}
				time.Sleep(time.Minute)
				if got := w.states(); got != "v0 active" {
					t.Fatalf("before there is another: %s", got)
				}
				c.between(t, w, r)
				handIn(t, r, "b")
				time.Sleep(5 * time.Second)
				if got := w.states(); got != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
				if v, _ := w.ring().Find("v0"); !v.Compromised {
					t.Errorf("v0: %+v", v)
				}
				if got := w.last(t); got.To != "b" || !got.Compromised || got.Outcome != OutcomeActive {
					t.Errorf("recorded %+v", got)
				}
				handIn(t, r, "c") // it is over with that
				time.Sleep(5 * time.Second)
				if v, _ := w.ring().Find("b"); v.State != keyring.Retiring {
					t.Errorf("the one after: %s", w.states())
				}
			})
		})
	}
}

// Whoever can write to the store can write into the journal what he likes.
func TestAForgedJournalDoesNothing(t *testing.T) {
	threat.Covers(t, 63)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		r := w.runner(t, "r1", w.byHand())
		h := History{}
		forged := h.begin(Rotation{ID: "x", Secret: "k", From: "v0", Compromised: true, StartedAt: time.Now()})
		forged.end(time.Now(), OutcomeNeedsOperator)
		h.begin(Rotation{ID: "y", Secret: "k", From: "v0", To: "b", Compromised: true, StartedAt: time.Now()})
		w.empty(h)
		handIn(t, r, "b")
		time.Sleep(5 * time.Second)
		if got := w.states(); got != "b active, v0 retiring" {
			t.Errorf("%s, and all who use v0 are out", got)
		}
	})
}

// Asked while one is pending that was handed in: the peer refuses that one, and what
// is handed in next takes over all the same.
func TestACompromiseOutlivesARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		w.lag["r1"] = -1
		r := w.runner(t, "r1", w.byHand())
		handIn(t, r, "a")
		if got := compromised(t, r, "v0"); got.To != "a" || got.Outcome != "" || !got.Compromised {
			t.Errorf("joined %+v", got)
		}
		rejected, err := w.ring().Reject("a")
		w.put(t, rejected, err)
		w.mu.Lock()
		w.lag["r1"] = 0
		w.mu.Unlock()
		handIn(t, r, "b")
		time.Sleep(5 * time.Second)
		if got := w.states(); got != "b active, a rejected, v0 retired" {
			t.Error(got)
		}
	})
}

// Asked for a version that is over already, nothing new is wanted of anybody.
func TestACompromiseOfWhatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1")
		r := w.runner(t, "r1", w.byHand())
		handIn(t, r, "b")
		time.Sleep(3 * time.Hour)
		if got := compromised(t, r, "v0"); got.Outcome == OutcomeNeedsOperator || w.ring().Urgent() {
			t.Errorf("%+v; %s", got, w.states())
		}
		got, err := r.Rotate(t.Context(), "k", Request{From: "v0"}) // somebody who had not heard
		if err != nil || got.To != "b" || got.Outcome != OutcomeActive {
			t.Errorf("%+v, %v", got, err)
		}
	})
}
