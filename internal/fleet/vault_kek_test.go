package fleet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/fleet/fleettest"
	"keyway/internal/keyring"
	"keyway/internal/threat"
)

func unsealKey(id string) fleet.UnsealKey {
	return fleet.UnsealKey{ID: id, Value: value("the value of " + id + ", 32 bytes and more")}
}

func openVault(t testing.TB, board fleet.Board, ids ...string) *fleet.Vault {
	t.Helper()
	var keys []fleet.UnsealKey
	for _, id := range ids {
		keys = append(keys, unsealKey(id))
	}
	return must[*fleet.Vault](t)(fleet.OpenVault(t.Context(), fleet.VaultOptions{Board: board, Unseal: keys}))
}

// putRing puts a ring where there is none.
func putRing(t testing.TB, v *fleet.Vault, ring keyring.Ring) {
	t.Helper()
	must[keyring.Ring](t)(v.Update(t.Context(), ring.Name(), func(there keyring.Ring) (keyring.Ring, error) {
		if !there.IsZero() {
			return there, fmt.Errorf("%s is there", ring.Name())
		}
		return ring, nil
	}))
}

func wantRing(t testing.TB, what string, v *fleet.Vault, name, want string) {
	t.Helper()
	if ring, _, err := v.Load(t.Context(), name); err != nil || tell(ring) != want {
		t.Errorf("%s: %s is %q, %v; want %q", what, name, tell(ring), err, want)
	}
}

func kekOf(t testing.TB, v *fleet.Vault) keyring.Ring {
	t.Helper()
	ring, _, err := v.Load(t.Context(), fleet.KeyEncryptionKey)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func moveKEK(t testing.TB, v *fleet.Vault, move func(keyring.Ring) (keyring.Ring, error)) keyring.Ring {
	t.Helper()
	return must[keyring.Ring](t)(v.Update(t.Context(), fleet.KeyEncryptionKey, move))
}

func addKEK(now keyring.Ring) (keyring.Ring, error) {
	if _, ok := now.Pending(); ok {
		return now, fleet.ErrUnchanged
	}
	return now.Add(fleet.NewKeyEncryptionKey(), time.Now())
}
func activateKEK(now keyring.Ring) (keyring.Ring, error) {
	pending, _ := now.Pending()
	return now.Activate(pending.ID, time.Now())
}
func retireKEK(now keyring.Ring) (keyring.Ring, error) {
	for v := range now.All() {
		if v.State == keyring.Retiring {
			return now.Retire(v.ID)
		}
	}
	return now, fleet.ErrUnchanged
}

// turnKEK is a whole rotation.
func turnKEK(t testing.TB, v *fleet.Vault, names ...string) {
	t.Helper()
	before := moveKEK(t, v, addKEK).Active().ID
	after := moveKEK(t, v, activateKEK).Active().ID
	for _, name := range names {
		must[bool](t)(v.Reseal(t.Context(), name))
	}
	count := must[map[string]int](t)(v.SealedUnder(t.Context(), append(names, fleet.KeyEncryptionKey, "nothing there")))
	if count[before] != 0 || count[after] != len(names) {
		t.Fatalf("sealed under: %v", count)
	}
	moveKEK(t, v, retireKEK)
}

// The salt turns: of three replicas one started with the newest value only, one
// lags and has the oldest only.
func TestAnyOneValueIsEnough(t *testing.T) {
	forms(t, func(t *testing.T, where string) {
		both := openVault(t, openBoard(t, where), "old")
		putRing(t, both, ringOf(t, "token-hash-salt", "a", "1"))
		if err := both.Admit(t.Context(), unsealKey("new"), unsealKey("old")); err != nil {
			t.Fatal(err)
		}
		newest, oldest := openVault(t, openBoard(t, where), "new"), openVault(t, openBoard(t, where), "old")
		wantRing(t, "with the newest only", newest, "token-hash-salt", "a active 1")
		wantRing(t, "with the oldest only", oldest, "token-hash-salt", "a active 1")
		turnKEK(t, newest, "token-hash-salt") // wraps for the oldest, too
		wantRing(t, "with the oldest only, the key turned", openVault(t, openBoard(t, where), "old"), "token-hash-salt", "a active 1")
		if ids := must[[]string](t)(oldest.Unseals(t.Context())); !slices.Equal(ids, []string{"new", "old"}) {
			t.Errorf("unseals %v", ids)
		}

		if err := newest.Dismiss(t.Context(), "old", "never there"); err != nil {
			t.Fatal(err)
		}
		_, err := fleet.OpenVault(t.Context(), fleet.VaultOptions{Board: openBoard(t, where), Unseal: []fleet.UnsealKey{unsealKey("old"), unsealKey("x")}})
		sealed, ok := errors.AsType[*fleet.SealedError](err)
		if !ok || !slices.Equal(sealed.Wraps, []string{"new"}) || !slices.Equal(sealed.Given, []string{"old", "x"}) {
			t.Fatalf("with a dismissed value only: %v", err)
		}
		for _, want := range []string{"new", "old and x", "TOKEN_HASH_SALT_PREVIOUS"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the error lacks %q: %v", want, err)
			}
		}
		if strings.Contains(err.Error(), "the value of") {
			t.Errorf("the error tells a value: %v", err)
		}
		turnKEK(t, both, "token-hash-salt")
		wantRing(t, "a replica that runs, and was given the dismissed value only", oldest, "token-hash-salt", "a active 1")
		if err := newest.Dismiss(t.Context(), "new"); err == nil || !strings.Contains(err.Error(), "nobody could open") {
			t.Errorf("dismissing the last: %v", err)
		}
		wantRing(t, "then", openVault(t, openBoard(t, where), "new"), "token-hash-salt", "a active 1")
	})
}

// What lies in the store shows no value, and can't be changed or swapped.
func TestTheStoreCantReadOrForge(t *testing.T) {
	board := fleettest.NewMemory().Link()
	v := openVault(t, board, "s1")
	putRing(t, v, ringOf(t, "csrf-key", "a", "hush"))
	wraps, revision, _ := board.Get(t.Context(), fleet.KeyEncryptionKey)
	sealed, _, _ := board.Get(t.Context(), "csrf-key")
	for _, secret := range [][]byte{[]byte("hush"), []byte("the value of"), kekOf(t, v).Active().Value.Reveal()} {
		if bytes.Contains(wraps, secret) || bytes.Contains(sealed, secret) {
			t.Error("the store shows a value")
		}
	}
	other := fleettest.NewMemory().Link()
	openVault(t, other, "s2")
	theirs, _, _ := other.Get(t.Context(), fleet.KeyEncryptionKey)
	for name, content := range map[string][]byte{
		"another's":  theirs,
		"torn":       wraps[:len(wraps)/2],
		"changed":    bytes.Replace(wraps, []byte(`"sealed":"A`), []byte(`"sealed":"B`), 1),
		"nobody's":   []byte(`{"format":1,"wraps":[],"sealed":""}`),
		"newer":      []byte(`{"format":2}`),
		"wrong wrap": []byte(`{"format":1,"wraps":[{"id":"s1","key":"AAAA"}],"sealed":"AAAA"}`),
	} {
		revision = must[fleet.Revision](t)(board.CompareAndSet(t.Context(), fleet.KeyEncryptionKey, revision, content))
		if _, err := fleet.OpenVault(t.Context(), fleet.VaultOptions{Board: board, Unseal: []fleet.UnsealKey{unsealKey("s1")}}); err == nil {
			t.Errorf("%s: opened", name)
		}
		if _, err := v.Update(t.Context(), "csrf-key", func(r keyring.Ring) (keyring.Ring, error) { return r, nil }); err == nil {
			t.Errorf("%s: written under a key that the fleet may not have", name)
		}
		wantRing(t, name, v, "csrf-key", "a active hush") // from memory
	}
}

// Replicas that start at once make one key-encryption key.
func TestReplicasThatComeAtOnceMakeOneKey(t *testing.T) {
	threat.Covers(t, 57)
	forms(t, func(t *testing.T, where string) {
		for round := range 10 {
			board := prefixed{openBoard(t, where), fmt.Sprint(round, " ")}
			ids := make([]string, 8)
			var group sync.WaitGroup
			for i := range ids {
				group.Go(func() {
					v, err := fleet.OpenVault(t.Context(), fleet.VaultOptions{Board: board, Unseal: []fleet.UnsealKey{unsealKey("s1")}})
					if err != nil {
						t.Error(err)
						return
					}
					ring, _, err := v.Load(t.Context(), fleet.KeyEncryptionKey)
					if err != nil {
						t.Error(err)
						return
					}
					ids[i] = ring.Active().ID
				})
			}
			group.Wait()
			if got := slices.Compact(slices.Sorted(slices.Values(ids))); len(got) != 1 || len(got[0]) != 16 {
				t.Fatalf("versions %v", got)
			}
		}
	})
}

// prefixed is a board beside others on the same one.
type prefixed struct {
	fleet.Board
	prefix string
}

func (p prefixed) Get(ctx context.Context, name string) ([]byte, fleet.Revision, error) {
	return p.Board.Get(ctx, p.prefix+name)
}

func (p prefixed) CompareAndSet(ctx context.Context, name string, revision fleet.Revision, value []byte) (fleet.Revision, error) {
	return p.Board.CompareAndSet(ctx, p.prefix+name, revision, value)
}

// The key-encryption key turns again and again, with no time between the steps,
// while replicas that have not heard of it read, write and make rings.
func TestNothingIsUnreadableWhileTheKeyTurns(t *testing.T) {
	const writers, turns = 4, 15
	m := fleettest.NewMemory()
	leader := openVault(t, m.Link(), "s1")
	names := make([]string, 3)
	for i := range names {
		names[i] = fmt.Sprint("k", i)
		putRing(t, leader, ringOf(t, names[i], "first", "1"))
	}
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var wrote, made atomic.Int64
	for w := range writers {
		v := openVault(t, m.Link(), "s1")
		group.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := names[i%len(names)]
				if ring, _, err := v.Load(t.Context(), name); err != nil || ring.IsZero() {
					t.Errorf("reading: %v", err)
					return
				}
				_, err := v.Update(t.Context(), name, func(now keyring.Ring) (keyring.Ring, error) {
					if next, err := activateKEK(now); err == nil {
						return next, nil
					}
					if n := count(now); n > 20 {
						return now, nil
					}
					return now.Add(keyring.Candidate{ID: fmt.Sprintf("w%d-%d", w, i), Value: value("x")}, t0)
				})
				if err != nil {
					t.Errorf("writing: %v", err)
					return
				}
				wrote.Add(1)
				if i%10 == 0 {
					own := fmt.Sprintf("own-%d-%d", w, i)
					if _, err := v.Update(t.Context(), own, func(keyring.Ring) (keyring.Ring, error) {
						return keyring.New(own, keyring.Version{ID: "a", State: keyring.Active, Value: value("1")})
					}); err != nil {
						t.Errorf("making: %v", err)
						return
					}
					made.Add(1)
					fresh, err := fleet.OpenVault(t.Context(), fleet.VaultOptions{Board: m.Link(), Unseal: []fleet.UnsealKey{unsealKey("s1")}})
					if err != nil {
						t.Errorf("a replica that starts: %v", err)
						return
					}
					for _, name := range names {
						if _, _, err := fresh.Load(t.Context(), name); err != nil {
							t.Errorf("a replica that starts: %v", err)
						}
					}
				}
			}
		})
	}
	for range turns {
		turnWhileOthersWrite(t, leader, names)
	}
	stop()
	group.Wait()
	fresh := openVault(t, m.Link(), "s1")
	for _, name := range names {
		if _, _, err := fresh.Load(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	if n := count(kekOf(t, fresh)); n != turns+1 {
		t.Errorf("%d versions after %d turns", n, turns)
	}
	t.Logf("%d writes, %d rings made", wrote.Load(), made.Load())
}

func turnWhileOthersWrite(t *testing.T, v *fleet.Vault, names []string) {
	before := moveKEK(t, v, addKEK).Active().ID
	moveKEK(t, v, activateKEK)
	for {
		for _, name := range names {
			must[bool](t)(v.Reseal(t.Context(), name))
		}
		if must[map[string]int](t)(v.SealedUnder(t.Context(), names))[before] == 0 {
			break
		}
	}
	moveKEK(t, v, func(now keyring.Ring) (keyring.Ring, error) { return now.Retire(before) })
}

func count(ring keyring.Ring) (n int) {
	for range ring.All() {
		n++
	}
	return n
}

// Who can write the store can't have our errors steer the terminal that shows them.
func TestTheStoreCantSpeakToOperators(t *testing.T) {
	board := fleettest.NewMemory().Link()
	v := openVault(t, board, "s1")
	putRing(t, v, ringOf(t, "csrf-key", "a", "hush"))
	quiet := func(what string, err error) {
		t.Helper()
		if err == nil || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' && r != '\n' }) || len(err.Error()) > 1000 {
			t.Errorf("%s: %q", what, err)
		}
	}
	put := func(name string, content []byte) {
		t.Helper()
		_, revision, err := board.Get(t.Context(), name)
		if err == nil {
			_, err = board.CompareAndSet(t.Context(), name, revision, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put("csrf-key", append([]byte("\x01\x08\x1b[2Jall\x07"), make([]byte, 64)...))
	_, _, err := v.Load(t.Context(), "csrf-key")
	quiet("the version that a ring is sealed under", err)
	for _, id := range []string{`\u001b[2Jall is well`, strings.Repeat("x", 10_000)} {
		put(fleet.KeyEncryptionKey, []byte(`{"format":1,"wraps":[{"id":"`+id+`","key":"AAAA"}],"sealed":"AAAA"}`))
		_, err := fleet.OpenVault(t.Context(), fleet.VaultOptions{Board: board, Unseal: []fleet.UnsealKey{unsealKey("s1")}})
		quiet("whom it is wrapped for", err)
	}
}
