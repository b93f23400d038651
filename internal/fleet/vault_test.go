package fleet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/fleet/fleettest"
	"keyway/internal/keyring"
	"keyway/internal/seal"
	"keyway/internal/secret"
)

var t0 = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func value(text string) secret.Value { return secret.NewValue([]byte(text)) }

func ringOf(t testing.TB, name, id, text string) keyring.Ring {
	t.Helper()
	return must[keyring.Ring](t)(keyring.New(name, keyring.Version{ID: id, State: keyring.Active, Value: value(text)}))
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// tell a ring in one line: newest first, id, state and value.
func tell(ring keyring.Ring) string {
	var all []string
	for v := range ring.All() {
		all = append(all, fmt.Sprintf("%s %s %s", v.ID, v.State, v.Value.Reveal()))
	}
	return strings.Join(all, ", ")
}

// agree offers ring, and returns the one that the fleet has.
func agree(ctx context.Context, v *fleet.Vault, ring keyring.Ring) (keyring.Ring, error) {
	return v.Update(ctx, ring.Name(), func(there keyring.Ring) (keyring.Ring, error) {
		if !there.IsZero() {
			return there, fleet.ErrUnchanged
		}
		return ring, nil
	})
}

func TestReplicasThatComeAtOnceEndWithOneRing(t *testing.T) {
	forms(t, func(t *testing.T, where string) {
		board := openBoard(t, where)
		if ring, _, err := openVault(t, board, "s1").Load(t.Context(), "session-key"); err != nil || !ring.IsZero() {
			t.Fatalf("an empty board: %v, %v", ring, err)
		}
		got := make([]string, 16)
		var group sync.WaitGroup
		for i := range got {
			v, own := openVault(t, openBoard(t, where), "s1"), ringOf(t, "session-key", fmt.Sprintf("v%d", i), fmt.Sprintf("value %d", i))
			group.Go(func() {
				ring, err := agree(t.Context(), v, own)
				if err != nil {
					t.Error(err)
					return
				}
				got[i] = tell(ring)
			})
		}
		group.Wait()
		for _, g := range got {
			if g != got[0] || g == "" {
				t.Fatalf("replicas disagree: %v", got)
			}
		}
		stored, _, err := board.Get(t.Context(), "session-key")
		if err != nil || bytes.Contains(stored, []byte("value")) {
			t.Errorf("the store can read the ring: %q, %v", stored, err)
		}
	})
}

func TestARingCantBePutInAnothersPlace(t *testing.T) {
	board := fleettest.NewMemory().Link()
	v := openVault(t, board, "s1")
	putRing(t, v, ringOf(t, "csrf-key", "a", "1"))
	sealed, _, err := board.Get(t.Context(), "csrf-key")
	if err != nil {
		t.Fatal(err)
	}
	must[fleet.Revision](t)(board.CompareAndSet(t.Context(), "state-key", "", sealed))
	if ring, _, err := v.Load(t.Context(), "state-key"); !errors.Is(err, seal.ErrForged) {
		t.Errorf("%v, %v", ring, err)
	}
	for name, junk := range map[string]string{"empty": "", "junk": "junk", "torn": string(sealed[:len(sealed)/2])} {
		must[fleet.Revision](t)(board.CompareAndSet(t.Context(), name, "", []byte(junk)))
		if ring, revision, err := v.Load(t.Context(), name); err == nil {
			t.Errorf("%s: %v at %q", name, ring, revision)
		}
	}
}

func TestUpdate(t *testing.T) {
	board := fleettest.NewMemory().Link()
	v := openVault(t, board, "s1")
	ctx := t.Context()
	putRing(t, v, ringOf(t, "k", "a", "1"))

	calls := 0
	ring, err := v.Update(ctx, "k", func(now keyring.Ring) (keyring.Ring, error) {
		if calls++; calls == 1 { // somebody else is faster
			must[keyring.Ring](t)(v.Update(ctx, "k", func(now keyring.Ring) (keyring.Ring, error) {
				return now.Add(keyring.Candidate{ID: "b", Value: value("2")}, t0)
			}))
		}
		if _, ok := now.Pending(); ok {
			return now, fleet.ErrUnchanged
		}
		return now.Add(keyring.Candidate{ID: "c", Value: value("3")}, t0)
	})
	if err != nil || calls != 2 || tell(ring) != "b pending 2, a active 1" {
		t.Errorf("%s after %d, %v", tell(ring), calls, err)
	}
	sorry := errors.New("sorry")
	if _, err := v.Update(ctx, "k", func(keyring.Ring) (keyring.Ring, error) { return keyring.Ring{}, sorry }); !errors.Is(err, sorry) {
		t.Errorf("got %v", err)
	}
	if _, err := v.Update(ctx, "k", func(keyring.Ring) (keyring.Ring, error) { return ringOf(t, "other", "a", "1"), nil }); err == nil {
		t.Error("another ring in its place")
	}
}

func TestLoad(t *testing.T) {
	v, ctx := openVault(t, fleettest.NewMemory().Link(), "s1"), t.Context()
	if ring, revision, err := v.Load(ctx, "k"); !ring.IsZero() || revision != "" || err != nil {
		t.Fatalf("nothing there: %v at %q, %v", ring, revision, err)
	}
	putRing(t, v, ringOf(t, "k", "a", "1"))
	_, r1, _ := v.Load(ctx, "k")
	must[keyring.Ring](t)(v.Update(ctx, "k", func(now keyring.Ring) (keyring.Ring, error) {
		return now.Add(keyring.Candidate{ID: "b", Value: value("2")}, t0)
	}))
	if ring, r2, err := v.Load(ctx, "k"); tell(ring) != "b pending 2, a active 1" || r1 == "" || r2 == r1 || err != nil {
		t.Errorf("%s at %q after %q, %v", tell(ring), r2, r1, err)
	}
	for _, name := range []string{"k", "nothing there", fleet.KeyEncryptionKey} {
		if done, err := v.Reseal(ctx, name); done || err != nil {
			t.Errorf("resealing %s, which needs none: %v, %v", name, done, err)
		}
	}
}

// Nothing comes back from the dead, whoever writes it: an older backup, a replica
// with a bug (what threat 63 rests on).
func TestUpdateRefusesWhatWouldUndo(t *testing.T) {
	first := ringOf(t, "k", "a", "1")
	pending := must[keyring.Ring](t)(first.Add(keyring.Candidate{ID: "b", Value: value("2")}, t0))
	active := must[keyring.Ring](t)(pending.Activate("b", t0))
	retired := must[keyring.Ring](t)(active.Retire("a"))
	rejected := must[keyring.Ring](t)(pending.Reject("b"))
	put := func(t *testing.T, v *fleet.Vault, ring keyring.Ring) error {
		_, err := v.Update(t.Context(), "k", func(keyring.Ring) (keyring.Ring, error) { return ring, nil })
		return err
	}
	for name, c := range map[string]struct {
		there, next keyring.Ring
		version     string
	}{
		"a version is missing":      {pending, first, "b"},
		"retired, and retiring now": {retired, active, "a"},
		"rejected, and pending now": {rejected, pending, "b"},
		"active, and pending now":   {active, pending, "b"},
		"rejected, and active now":  {rejected, active, "b"},
		"retired, and missing now":  {retired, ringOf(t, "k", "b", "2"), "a"},
	} {
		t.Run(name, func(t *testing.T) {
			v := openVault(t, fleettest.NewMemory().Link(), "s1")
			putRing(t, v, c.there)
			_, before, _ := v.Load(t.Context(), "k")
			refused, ok := errors.AsType[*fleet.SuccessionError](put(t, v, c.next))
			if !ok || refused.Version != c.version {
				t.Errorf("got %v", refused)
			}
			if ring, now, _ := v.Load(t.Context(), "k"); now != before || tell(ring) != tell(c.there) {
				t.Errorf("it was changed to %s", tell(ring))
			}
		})
	}
	rolledBack := must[keyring.Ring](t)(active.RollBack(t0))
	for name, next := range map[string]keyring.Ring{"rolled back": rolledBack, "retired": retired, "the same": active} {
		v := openVault(t, fleettest.NewMemory().Link(), "s1")
		putRing(t, v, active)
		if err := put(t, v, next); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	v := openVault(t, fleettest.NewMemory().Link(), "s1")
	before := kekOf(t, v)
	turnKEK(t, v)
	_, err := v.Update(t.Context(), fleet.KeyEncryptionKey, func(keyring.Ring) (keyring.Ring, error) { return before, nil })
	if _, ok := errors.AsType[*fleet.SuccessionError](err); !ok {
		t.Errorf("the key-encryption key as it was before: %v", err)
	}
}

// A fleet of two releases: the older one writes what the newer one added.
func TestUpdateKeepsWhatANewerReleaseAdded(t *testing.T) {
	board := fleettest.NewMemory().Link()
	v := openVault(t, board, "s1")
	sealer := must[*seal.Sealer](t)(seal.NewSealer(kekOf(t, v), "fleet ring"))
	newer := `{"format":1,"name":"k","added":1,"versions":[{"id":"a","state":"active","value":"MQ==","added":2}]}`
	must[fleet.Revision](t)(board.CompareAndSet(t.Context(), "k", "", sealer.Seal([]byte(newer), []byte("k"))))
	must[keyring.Ring](t)(v.Update(t.Context(), "k", func(now keyring.Ring) (keyring.Ring, error) {
		return now.Add(keyring.Candidate{ID: "b", Value: value("2")}, t0)
	}))
	sealed, _, err := board.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	content := string(must[[]byte](t)(sealer.Open(sealed, []byte("k"))))
	for _, want := range []string{`"added":1`, `"added":2`, `"id":"b"`} {
		if !strings.Contains(content, want) {
			t.Errorf("%s is gone: %s", want, content)
		}
	}
}
