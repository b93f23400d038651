package fleet_test

import (
	"bytes"
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

const salt = "the salt that every replica has, 32+"

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

func sealerOf(t testing.TB, ring keyring.Ring) *seal.Sealer {
	t.Helper()
	return must[*seal.Sealer](t)(seal.NewSealer(ring, fleet.SealPurpose))
}

func ringsOn(t testing.TB, board fleet.Board) *fleet.Rings {
	t.Helper()
	return fleet.NewRings(board, sealerOf(t, ringOf(t, "token-hash-salt", "s1", salt)))
}

// tell a ring in one line: newest first, id, state and value.
func tell(ring keyring.Ring) string {
	var all []string
	for v := range ring.All() {
		all = append(all, fmt.Sprintf("%s %s %s", v.ID, v.State, v.Value.Reveal()))
	}
	return strings.Join(all, ", ")
}

func TestReplicasThatComeAtOnceEndWithOneRing(t *testing.T) {
	forms(t, func(t *testing.T, where string) {
		board := openBoard(t, where)
		if ring, err := ringsOn(t, board).Find(t.Context(), "session-key"); err != nil || !ring.IsZero() {
			t.Fatalf("an empty board: %v, %v", ring, err)
		}
		got := make([]string, 16)
		var group sync.WaitGroup
		for i := range got {
			rings, own := ringsOn(t, board), ringOf(t, "session-key", fmt.Sprintf("v%d", i), fmt.Sprintf("value %d", i))
			group.Go(func() {
				ring, err := rings.Agree(t.Context(), own)
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
		other := fleet.NewRings(board, sealerOf(t, ringOf(t, "token-hash-salt", "s1", "another salt, of 32 bytes and more..")))
		if _, err = other.Find(t.Context(), "session-key"); !errors.Is(err, seal.ErrForged) || !strings.Contains(err.Error(), "TOKEN_HASH_SALT") {
			t.Errorf("another salt: %v", err)
		}
	})
}

func TestLoadAndSave(t *testing.T) {
	rings := ringsOn(t, fleettest.NewMemory().Link())
	ctx := t.Context()
	if ring, revision, err := rings.Load(ctx, "k"); !ring.IsZero() || revision != "" || err != nil {
		t.Fatalf("nothing there: %v at %q, %v", ring, revision, err)
	}
	first := ringOf(t, "k", "a", "1")
	r1 := must[fleet.Revision](t)(rings.Save(ctx, first, ""))
	second := must[keyring.Ring](t)(first.Add(keyring.Candidate{ID: "b", Value: value("2")}, t0))
	r2 := must[fleet.Revision](t)(rings.Save(ctx, second, r1))
	ring, revision, err := rings.Load(ctx, "k")
	if tell(ring) != "b pending 2, a active 1" || revision != r2 || err != nil {
		t.Errorf("%s at %q, %v", tell(ring), revision, err)
	}
	for name, revision := range map[string]fleet.Revision{"at an old revision": r1, "as the first": ""} {
		if _, err := rings.Save(ctx, second, revision); !errors.Is(err, fleet.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Nothing comes back from the dead, whoever writes it: an older backup, a replica
// with a bug (what threat 63 rests on).
func TestSaveRefusesWhatWouldUndo(t *testing.T) {
	first := ringOf(t, "k", "a", "1")
	pending := must[keyring.Ring](t)(first.Add(keyring.Candidate{ID: "b", Value: value("2")}, t0))
	active := must[keyring.Ring](t)(pending.Activate("b", t0))
	retired := must[keyring.Ring](t)(active.Retire("a"))
	rejected := must[keyring.Ring](t)(pending.Reject("b"))
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
			rings := ringsOn(t, fleettest.NewMemory().Link())
			revision := must[fleet.Revision](t)(rings.Save(t.Context(), c.there, ""))
			_, err := rings.Save(t.Context(), c.next, revision)
			refused, ok := errors.AsType[*fleet.SuccessionError](err)
			if !ok || refused.Version != c.version {
				t.Errorf("got %v", err)
			}
			if ring, now, _ := rings.Load(t.Context(), "k"); now != revision || tell(ring) != tell(c.there) {
				t.Errorf("it was changed to %s", tell(ring))
			}
		})
	}
	rolledBack := must[keyring.Ring](t)(active.RollBack(t0))
	for name, next := range map[string]keyring.Ring{"rolled back": rolledBack, "retired": retired, "the same": active} {
		rings := ringsOn(t, fleettest.NewMemory().Link())
		revision := must[fleet.Revision](t)(rings.Save(t.Context(), active, ""))
		if _, err := rings.Save(t.Context(), next, revision); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A fleet of two releases: the older one writes what the newer one added.
func TestSaveKeepsWhatANewerReleaseAdded(t *testing.T) {
	board := fleettest.NewMemory().Link()
	sealer := sealerOf(t, ringOf(t, "token-hash-salt", "s1", salt))
	rings := fleet.NewRings(board, sealer)
	newer := `{"format":1,"name":"k","added":1,"versions":[{"id":"a","state":"active","value":"MQ==","added":2}]}`
	must[fleet.Revision](t)(board.CompareAndSet(t.Context(), "k", "", sealer.Seal([]byte(newer), []byte("k"))))
	ring, revision, err := rings.Load(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	must[fleet.Revision](t)(rings.Save(t.Context(), must[keyring.Ring](t)(ring.Add(keyring.Candidate{ID: "b", Value: value("2")}, t0)), revision))
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

func TestARingCantBePutInAnothersPlace(t *testing.T) {
	board := fleettest.NewMemory().Link()
	rings := ringsOn(t, board)
	must[fleet.Revision](t)(rings.Save(t.Context(), ringOf(t, "csrf-key", "a", "1"), ""))
	sealed, _, err := board.Get(t.Context(), "csrf-key")
	if err != nil {
		t.Fatal(err)
	}
	must[fleet.Revision](t)(board.CompareAndSet(t.Context(), "state-key", "", sealed))
	if ring, _, err := rings.Load(t.Context(), "state-key"); !errors.Is(err, seal.ErrForged) {
		t.Errorf("%v, %v", ring, err)
	}
	for name, junk := range map[string]string{"empty": "", "junk": "junk", "torn": string(sealed[:len(sealed)/2])} {
		must[fleet.Revision](t)(board.CompareAndSet(t.Context(), name, "", []byte(junk)))
		if ring, revision, err := rings.Load(t.Context(), name); err == nil {
			t.Errorf("%s: %v at %q", name, ring, revision)
		}
	}
}

// The key-encryption key turns while rings are on the board.
func TestTheSealingKeyTurns(t *testing.T) {
	board := fleettest.NewMemory().Link()
	ctx := t.Context()
	kek := ringOf(t, "token-hash-salt", "s1", salt)
	before := fleet.NewRings(board, sealerOf(t, kek))
	must[fleet.Revision](t)(before.Save(ctx, ringOf(t, "k", "a", "1"), ""))

	kek = must[keyring.Ring](t)(kek.Add(keyring.Candidate{ID: "s2", Value: value("the salt that comes next, 32 bytes +")}, t0))
	lagging := fleet.NewRings(board, sealerOf(t, kek)) // holds s2, seals under s1
	kek = must[keyring.Ring](t)(kek.Activate("s2", t0))
	after := fleet.NewRings(board, sealerOf(t, kek))
	if ring, _, err := after.Load(ctx, "k"); tell(ring) != "a active 1" || err != nil {
		t.Fatalf("under the version before: %s, %v", tell(ring), err)
	}
	if done, err := after.Reseal(ctx, "k"); !done || err != nil {
		t.Errorf("resealing: %v, %v", done, err)
	}
	if done, err := after.Reseal(ctx, "k"); done || err != nil {
		t.Errorf("resealing again: %v, %v", done, err)
	}
	if done, err := after.Reseal(ctx, "nothing there"); done || err != nil {
		t.Errorf("resealing nothing: %v, %v", done, err)
	}
	sealed, _, err := board.Get(ctx, "k")
	if id, _ := seal.VersionOf(sealed); id != "s2" || err != nil {
		t.Errorf("sealed under %s, %v", id, err)
	}
	if ring, _, err := lagging.Load(ctx, "k"); tell(ring) != "a active 1" || err != nil {
		t.Errorf("a replica that lags: %s, %v", tell(ring), err)
	}
	if _, _, err := before.Load(ctx, "k"); !errors.Is(err, keyring.ErrUnknownVersion) {
		t.Errorf("a replica without the new version: %v", err)
	}
	kek = must[keyring.Ring](t)(kek.Retire("s1"))
	last := fleet.NewRings(board, sealerOf(t, kek))
	if ring, _, err := last.Load(ctx, "k"); tell(ring) != "a active 1" || err != nil {
		t.Errorf("once the version before is retired: %s, %v", tell(ring), err)
	}
}

func TestUpdate(t *testing.T) {
	board := fleettest.NewMemory().Link()
	rings := ringsOn(t, board)
	ctx := t.Context()
	must[keyring.Ring](t)(rings.Agree(ctx, ringOf(t, "k", "a", "1")))

	calls := 0
	ring, err := rings.Update(ctx, "k", func(now keyring.Ring) (keyring.Ring, error) {
		if calls++; calls == 1 { // somebody else is faster
			must[keyring.Ring](t)(rings.Update(ctx, "k", func(now keyring.Ring) (keyring.Ring, error) {
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
	if _, err := rings.Update(ctx, "k", func(keyring.Ring) (keyring.Ring, error) { return keyring.Ring{}, sorry }); !errors.Is(err, sorry) {
		t.Errorf("got %v", err)
	}
	if _, err := rings.Update(ctx, "k", func(keyring.Ring) (keyring.Ring, error) { return ringOf(t, "other", "a", "1"), nil }); err == nil {
		t.Error("another ring in its place")
	}
}
