package fleet_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/fleet/fleettest"
	"keyway/internal/keyring"
)

// A replica that can't ask makes nothing: neither an error nor a lost answer is
// taken for there being nothing.
func TestCutOffIsNotAbsent(t *testing.T) {
	ctx := t.Context()
	for name, lose := range map[string]func(*fleettest.Link){"requests are lost": (*fleettest.Link).Cut, "answers are lost": (*fleettest.Link).LoseAnswers} {
		t.Run(name, func(t *testing.T) {
			m := fleettest.NewMemory()
			there := ringsOn(t, m.Link())
			must[keyring.Ring](t)(there.Agree(ctx, ringOf(t, "k", "theirs", "1")))
			link := m.Link()
			own := ringsOn(t, link)
			lose(link)
			offer := ringOf(t, "k", "ours", "2")
			for what, do := range map[string]func() (keyring.Ring, error){
				"find":  func() (keyring.Ring, error) { return own.Find(ctx, "k") },
				"agree": func() (keyring.Ring, error) { return own.Agree(ctx, offer) },
				"save":  func() (keyring.Ring, error) { _, err := own.Save(ctx, offer, ""); return keyring.Ring{}, err },
				"put if absent": func() (keyring.Ring, error) {
					_, err := fleet.PutIfAbsent(ctx, link, "k", []byte("junk"))
					return keyring.Ring{}, err
				},
				"reseal": func() (keyring.Ring, error) { _, err := own.Reseal(ctx, "k"); return keyring.Ring{}, err },
				"all": func() (keyring.Ring, error) {
					_, err := fleet.NewPresence(link, time.Hour).All(ctx)
					return keyring.Ring{}, err
				},
			} {
				if ring, err := do(); !errors.Is(err, fleettest.ErrCutOff) || !ring.IsZero() {
					t.Errorf("%s: %v, %v", what, ring, err)
				}
			}
			if ring, err := there.Find(ctx, "k"); tell(ring) != "theirs active 1" || err != nil {
				t.Errorf("then: %s, %v", tell(ring), err)
			}
			link.Mend()
			if ring, err := own.Agree(ctx, offer); tell(ring) != "theirs active 1" || err != nil {
				t.Errorf("once it can ask: %s, %v", tell(ring), err)
			}
		})
	}
}

// An answer that was lost: the new version is there, and asking again finds it
// rather than making another.
func TestAskingAgainAfterALostAnswer(t *testing.T) {
	ctx := t.Context()
	m := fleettest.NewMemory()
	link := m.Link()
	rings := ringsOn(t, link)
	must[keyring.Ring](t)(rings.Agree(ctx, ringOf(t, "k", "v1", "1")))
	add := func(id string) func(keyring.Ring) (keyring.Ring, error) {
		return func(now keyring.Ring) (keyring.Ring, error) {
			if _, ok := now.Pending(); ok {
				return now, fleet.ErrUnchanged
			}
			link.LoseAnswers() // from here on, so that it is the write's that gets lost
			return now.Add(keyring.Candidate{ID: id, Value: value(id)}, t0)
		}
	}
	if ring, err := rings.Update(ctx, "k", add("v2")); !errors.Is(err, fleettest.ErrCutOff) {
		t.Fatalf("%s, %v", tell(ring), err)
	}
	link.Mend()
	if ring, err := rings.Update(ctx, "k", add("v3")); tell(ring) != "v2 pending v2, v1 active 1" || err != nil {
		t.Errorf("%s, %v", tell(ring), err)
	}
}

// A fail-over loses the last write: who goes by what was lost is told so, and
// does not overwrite what came in its place.
func TestAStoreThatFellBack(t *testing.T) {
	ctx := t.Context()
	m := fleettest.NewMemory()
	rings := ringsOn(t, m.Link())
	ring := ringOf(t, "k", "v1", "1")
	revision := must[fleet.Revision](t)(rings.Save(ctx, ring, ""))
	restore := m.Snapshot()
	lost := must[keyring.Ring](t)(ring.Add(keyring.Candidate{ID: "lost", Value: value("2")}, t0))
	after := must[fleet.Revision](t)(rings.Save(ctx, lost, revision))
	restore()
	must[fleet.Revision](t)(rings.Save(ctx, must[keyring.Ring](t)(ring.Add(keyring.Candidate{ID: "other", Value: value("3")}, t0)), revision))
	next := must[keyring.Ring](t)(lost.Activate("lost", t0))
	if _, err := rings.Save(ctx, next, after); !errors.Is(err, fleet.ErrConflict) {
		t.Errorf("got %v", err)
	}
}

// Many replicas propose at once while their links break and mend. Each round
// makes one version, whoever was heard.
func TestRacersOnBadLinks(t *testing.T) {
	const replicas, rounds = 10, 50
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		good := ringsOn(t, m.Link())
		must[keyring.Ring](t)(good.Agree(t.Context(), ringOf(t, "k", "first", "1")))
		links := make([]*fleettest.Link, replicas)
		rings := make([]*fleet.Rings, replicas)
		for i := range links {
			links[i] = m.Link()
			rings[i] = ringsOn(t, links[i])
		}
		for round := range rounds {
			var mu sync.Mutex
			var made []string
			var group sync.WaitGroup
			for i, link := range links {
				link.Mend()
				link.Delay(time.Duration(rand.IntN(50)) * time.Millisecond)
				switch rand.IntN(4) {
				case 0:
					link.Cut()
				case 1:
					link.LoseAnswers()
				}
				group.Go(func() {
					id, err := propose(t.Context(), rings[i], "k")
					for errors.Is(err, fleettest.ErrCutOff) { // asks again, until it is heard
						time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
						link.Mend()
						id, err = propose(t.Context(), rings[i], "k")
					}
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					made = append(made, id)
					mu.Unlock()
				})
			}
			group.Wait()
			slices.Sort(made)
			if made = slices.Compact(made); len(made) != 1 || made[0] == "" {
				t.Fatalf("round %d: %v", round, made)
			}
			must[keyring.Ring](t)(good.Update(t.Context(), "k", func(now keyring.Ring) (keyring.Ring, error) {
				before := now.Active().ID
				next, err := now.Activate(made[0], time.Now())
				if err != nil {
					return next, fmt.Errorf("round %d: %w", round, err)
				}
				return next.Retire(before)
			}))
		}
	})
}
