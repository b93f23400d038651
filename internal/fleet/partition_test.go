package fleet_test

import (
	"context"
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
			there := openVault(t, m.Link(), "s1")
			putRing(t, there, ringOf(t, "k", "theirs", "1"))
			link := m.Link()
			own := openVault(t, link, "s1")
			lose(link)
			offer := ringOf(t, "k", "ours", "2")
			for what, do := range map[string]func() (keyring.Ring, error){
				"open": func() (keyring.Ring, error) {
					_, err := fleet.OpenVault(ctx, fleet.VaultOptions{Board: link, Unseal: []fleet.UnsealKey{unsealKey("s1")}})
					return keyring.Ring{}, err
				},
				"load":    func() (keyring.Ring, error) { ring, _, err := own.Load(ctx, "k"); return ring, err },
				"agree":   func() (keyring.Ring, error) { return agree(ctx, own, offer) },
				"admit":   func() (keyring.Ring, error) { return keyring.Ring{}, own.Admit(ctx, unsealKey("s2")) },
				"restore": func() (keyring.Ring, error) { return keyring.Ring{}, own.Restore(ctx) },
				"set": func() (keyring.Ring, error) {
					_, err := link.CompareAndSet(ctx, "k", "", []byte("junk"))
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
			wantRing(t, "then", there, "k", "theirs active 1")
			link.Mend()
			if ring, err := agree(ctx, own, offer); tell(ring) != "theirs active 1" || err != nil {
				t.Errorf("once it can ask: %s, %v", tell(ring), err)
			}
		})
	}
}

// losing loses the answers to writes of one entry.
type losing struct {
	*fleettest.Link
	entry string
}

func (l *losing) CompareAndSet(ctx context.Context, name string, revision fleet.Revision, value []byte) (fleet.Revision, error) {
	if name == l.entry {
		l.LoseAnswers()
		defer l.Mend()
	}
	return l.Link.CompareAndSet(ctx, name, revision, value)
}

// An answer that was lost: the new version is there, and asking again finds it
// rather than making another.
func TestAskingAgainAfterALostAnswer(t *testing.T) {
	ctx := t.Context()
	m := fleettest.NewMemory()
	putRing(t, openVault(t, m.Link(), "s1"), ringOf(t, "k", "v1", "1"))
	link := &losing{m.Link(), "k"}
	v := openVault(t, link, "s1")
	add := func(id string) func(keyring.Ring) (keyring.Ring, error) {
		return func(now keyring.Ring) (keyring.Ring, error) {
			if _, ok := now.Pending(); ok {
				return now, fleet.ErrUnchanged
			}
			return now.Add(keyring.Candidate{ID: id, Value: value(id)}, t0)
		}
	}
	if ring, err := v.Update(ctx, "k", add("v2")); !errors.Is(err, fleettest.ErrCutOff) {
		t.Fatalf("%s, %v", tell(ring), err)
	}
	if ring, err := v.Update(ctx, "k", add("v3")); tell(ring) != "v2 pending v2, v1 active 1" || err != nil {
		t.Errorf("%s, %v", tell(ring), err)
	}

	link.entry = fleet.KeyEncryptionKey
	if _, err := v.Update(ctx, fleet.KeyEncryptionKey, addKEK); !errors.Is(err, fleettest.ErrCutOff) {
		t.Fatal(err)
	}
	if n := count(must[keyring.Ring](t)(v.Update(ctx, fleet.KeyEncryptionKey, addKEK))); n != 2 {
		t.Errorf("%d versions of the %s", n, fleet.KeyEncryptionKey)
	}
}

// A fail-over loses the last write while somebody is about to write again: it is
// asked anew, with what is there now, and nothing of what was lost comes along.
func TestAStoreThatFellBack(t *testing.T) {
	ctx := t.Context()
	m := fleettest.NewMemory()
	v := openVault(t, m.Link(), "s1")
	putRing(t, v, ringOf(t, "k", "v1", "1"))
	add := func(id string) func(keyring.Ring) (keyring.Ring, error) {
		return func(now keyring.Ring) (keyring.Ring, error) {
			return now.Add(keyring.Candidate{ID: id, Value: value(id)}, t0)
		}
	}
	fallBack := m.Snapshot()
	must[keyring.Ring](t)(v.Update(ctx, "k", add("lost")))
	var seen []string
	must[keyring.Ring](t)(v.Update(ctx, "k", func(now keyring.Ring) (keyring.Ring, error) {
		seen = append(seen, tell(now))
		if len(seen) == 1 {
			fallBack()
			must[keyring.Ring](t)(v.Update(ctx, "k", add("other")))
		}
		pending, _ := now.Pending()
		return now.Activate(pending.ID, t0)
	}))
	if len(seen) != 2 || seen[1] != "other pending other, v1 active 1" {
		t.Errorf("asked with %q", seen)
	}
	wantRing(t, "then", v, "k", "other active other, v1 retiring 1")
}

// Many replicas propose at once while their links break and mend. Each round
// makes one version, whoever was heard.
func TestRacersOnBadLinks(t *testing.T) {
	const replicas, rounds = 10, 50
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		good := openVault(t, m.Link(), "s1")
		putRing(t, good, ringOf(t, "k", "first", "1"))
		links := make([]*fleettest.Link, replicas)
		rings := make([]*fleet.Vault, replicas)
		for i := range links {
			links[i] = m.Link()
			rings[i] = openVault(t, links[i], "s1")
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
