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

// signed is the policy of what is issued and not sealed: what a compromised
// version issued is simply over.
var signed = func() Policy { p := inward; p.Condemned, p.Every = 0, 0; return p }()

// world is a store and a fleet in memory, for Runners.
type world struct {
	mu       sync.Mutex
	rings    map[string]keyring.Ring
	journal  map[string]History
	replicas []string
	lag      map[string]time.Duration // until a replica holds what is in the store; <0: never
	since    map[string]map[string]time.Time
	refusals Refusals            // of the version that is active
	former   map[string]Refusals // as replicas count them that still issue with it
	fetched  func() time.Time    // when a peer last fetched what is published
	leader   string
	away     error
	made     int
	writes   []string
	crash    string // the write at which the process dies
}

var errAway = errors.New("the store is away")

func newWorld(replicas ...string) *world {
	w := &world{
		rings: map[string]keyring.Ring{}, journal: map[string]History{}, replicas: replicas, leader: replicas[0],
		lag: map[string]time.Duration{}, since: map[string]map[string]time.Time{},
	}
	ring, err := keyring.New("k", keyring.Version{
		ID: "v0", State: keyring.Active, CreatedAt: time.Now(), ActivatedAt: time.Now().Add(-time.Hour), Value: secret.NewValue([]byte("v0")),
	})
	if err != nil {
		panic(err)
	}
	w.rings["k"] = ring
	return w
}

func (w *world) write(what string) error {
	w.writes = append(w.writes, what)
	if w.crash == what {
		return errAway
	}
	return w.away
}

func (w *world) Load(_ context.Context, name string) (keyring.Ring, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rings[name], w.away
}

func (w *world) Update(_ context.Context, name string, change func(keyring.Ring) (keyring.Ring, error)) (keyring.Ring, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next, err := change(w.rings[name])
	switch {
	case errors.Is(err, ErrUnchanged):
		return w.rings[name], nil
	case err != nil:
		return keyring.Ring{}, err
	}
	if err := w.write("ring"); err != nil {
		return keyring.Ring{}, err
	}
	w.rings[name] = next
	return next, nil
}

type worldJournal struct{ *world }

func (w worldJournal) Load(_ context.Context, name string) (History, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.journal[name].Clone(), w.away
}

func (w worldJournal) Update(_ context.Context, name string, change func(*History) bool) (History, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.journal[name].Clone()
	if !change(&h) {
		return h, nil
	}
	if err := w.write("journal"); err != nil {
		return History{}, err
	}
	w.journal[name] = h
	return h.Clone(), nil
}

type worldFleet struct {
	*world
	id string
}

func (w worldFleet) Lead(context.Context) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.leader == w.id, w.away
}

func (w worldFleet) Roll(context.Context) (Roll, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	return Roll{
		Now: now, Replicas: func(name string) []Replica {
			w.mu.Lock()
			defer w.mu.Unlock()
			var all []Replica
			for _, id := range w.replicas {
				if w.since[id] == nil {
					w.since[id] = map[string]time.Time{}
				}
				r := Replica{ID: id, Seen: now, Holds: map[string]time.Time{}}
				for v := range w.rings[name].Live() {
					since, seen := w.since[id][v.ID]
					if !seen {
						since = now
						w.since[id][v.ID] = now
					}
					if lag := w.lag[id]; v.ID == "v0" || lag >= 0 && !now.Before(since.Add(lag)) {
						r.Holds[v.ID] = since
					}
				}
				r.Issues, r.Since = w.rings[name].Active().ID, w.rings[name].Active().ActivatedAt
				all = append(all, r)
			}
			return all
		},
		Refusals: func(_, version string) Refusals { return w.refused(version) },
		Fetched: func(string) time.Time {
			if w.fetched == nil {
				return time.Time{}
			}
			return w.fetched()
		},
	}, w.away
}

func (w *world) secret() Secret {
	return Secret{
		Name:   "k",
		Policy: func(keyring.Ring) Policy { return signed },
		Make: func(context.Context) (keyring.Candidate, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.made++
			id := fmt.Sprintf("v%d", w.made)
			return keyring.Candidate{ID: id, Value: secret.NewValue([]byte(id))}, nil
		},
	}
}

func (w *world) runner(t *testing.T, id string, s Secret) *Runner {
	t.Helper()
	r, err := NewRunner(Options{Rings: w, Journal: worldJournal{w}, Fleet: worldFleet{w, id}, Secrets: []Secret{s}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

func (w *world) refused(version string) Refusals {
	if former, ok := w.former[version]; ok {
		return former
	}
	return w.refusals
}

func (w *world) states() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for v := range w.rings["k"].All() {
		all = append(all, v.ID+" "+string(v.State))
	}
	return strings.Join(all, ", ")
}

func (w *world) active() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rings["k"].Active().ID
}

func (w *world) last(t *testing.T) Rotation {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.journal["k"].Rotations) == 0 {
		t.Fatal("no rotation is on record")
	}
	return w.journal["k"].Clone().Rotations[0]
}

func steps(r Rotation) string {
	var all []string
	for _, s := range r.Steps {
		all = append(all, s.What)
	}
	return strings.Join(all, " ")
}

func ask(t *testing.T, r *Runner) Rotation {
	t.Helper()
	rotation, err := r.Rotate(t.Context(), "k", Request{AskedBy: "a test"})
	if err != nil {
		t.Fatal(err)
	}
	return rotation
}

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
		old := candidate("older")
		if v := in("a", &old); v.State != keyring.Pending {
			t.Errorf("a: %+v", v)
		}
		if v := in("b", nil); v.State != keyring.Pending || w.states() != "b pending, a retiring, v0 active, older retiring" {
			t.Errorf("a newer one before the first was used: %s", w.states())
		}
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
