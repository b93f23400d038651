package rotation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/secret"
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
