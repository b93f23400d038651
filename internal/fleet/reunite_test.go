package fleet_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/fleet/fleettest"
	"keyway/internal/keyring"
	"keyway/internal/seal"
)

// states is a ring of keys in one line, values left out.
func states(ring keyring.Ring, names map[string]string) string {
	var all []string
	for v := range ring.All() {
		word := names[v.ID] + " " + string(v.State)
		if v.Withdrawn {
			word += " withdrawn"
		}
		if v.Compromised {
			word += " compromised"
		}
		all = append(all, word)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// A store falls back to an earlier state, in the middle of a turn of the key or
// after it, with or without what the others wrote meanwhile. Whoever runs puts the
// key back; then a replica that starts reads everything, and what was over when
// the store fell back seals nothing again.
func TestAStoreThatForgetsTheKey(t *testing.T) {
	condemn := func(now keyring.Ring) (keyring.Ring, error) {
		pending, _ := now.Pending()
		return now.Condemn(pending.ID, time.Now())
	}
	type step = func(t *testing.T, v *fleet.Vault)
	move := func(m func(keyring.Ring) (keyring.Ring, error)) step {
		return func(t *testing.T, v *fleet.Vault) { moveKEK(t, v, m) }
	}
	add, activate, retire := move(addKEK), move(activateKEK), move(retireKEK)
	reseal := func(t *testing.T, v *fleet.Vault) { must[bool](t)(v.Reseal(t.Context(), "k")) }
	rollBack := move(func(now keyring.Ring) (keyring.Ring, error) { return now.RollBack(time.Now()) })
	for name, c := range map[string]struct {
		kept, lost []step
		want       string
	}{
		"the new version":       {nil, []step{add}, "v0 active, v1 pending"},
		"activation":            {[]step{add}, []step{activate}, "v0 retiring, v1 active"},
		"both":                  {nil, []step{add, activate}, "v0 retiring, v1 active"},
		"a turn":                {nil, []step{add, activate, reseal, retire}, "v0 retiring withdrawn, v1 active"},
		"the end of a turn":     {[]step{add, activate}, []step{reseal, retire}, "v0 retiring withdrawn, v1 active"},
		"retirement":            {[]step{add, activate, reseal}, []step{retire}, "v0 retiring withdrawn, v1 active"},
		"a rollback":            {[]step{add, activate, reseal}, []step{rollBack}, "v0 active, v1 retiring withdrawn"},
		"a compromise":          {nil, []step{add, move(condemn), reseal}, "v0 retiring compromised, v1 active"},
		"the end of one":        {[]step{add, move(condemn)}, []step{reseal, retire}, "v0 retiring withdrawn compromised, v1 active"},
		"a rejection":           {[]step{add}, []step{move(func(r keyring.Ring) (keyring.Ring, error) { p, _ := r.Pending(); return r.Reject(p.ID) })}, "v0 active, v1 retiring withdrawn"},
		"two turns":             {nil, []step{add, activate, reseal, retire, add, activate, reseal}, "v0 retiring withdrawn, v1 retiring, v2 active"},
		"a turn before, and it": {[]step{add, activate, reseal, retire}, []step{add, activate, reseal, retire}, "v0 retired, v1 retiring withdrawn, v2 active"},
	} {
		t.Run(name, func(t *testing.T) {
			m := fleettest.NewMemory()
			v := openVault(t, m.Link(), "s1")
			putRing(t, v, ringOf(t, "k", "a", "1"))
			names := map[string]string{}
			note := func() {
				for version := range kekOf(t, v).All() {
					if names[version.ID] == "" {
						names[version.ID] = "v" + string(rune('0'+len(names)))
					}
				}
			}
			note()
			for _, s := range c.kept {
				s(t, v)
				note()
			}
			fallBack := m.Snapshot()
			for _, s := range c.lost {
				s(t, v)
				note()
			}
			fallBack()

			wantRing(t, "before it is put back", v, "k", "a active 1")
			lagging := openVault(t, m.Link(), "s1") // knows what is there now
			if err := v.Restore(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := states(kekOf(t, v), names); got != c.want {
				t.Errorf("restored %s, want %s", got, c.want)
			}
			_, revision, _ := m.Link().Get(t.Context(), fleet.KeyEncryptionKey)
			for _, again := range []*fleet.Vault{v, lagging} {
				if err := again.Restore(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if _, after, _ := m.Link().Get(t.Context(), fleet.KeyEncryptionKey); after != revision {
				t.Error("it was written again, though nothing was lost")
			}
			for what, reader := range map[string]*fleet.Vault{"the same": v, "a lagging one": lagging, "one that starts": openVault(t, m.Link(), "s1")} {
				wantRing(t, what, reader, "k", "a active 1")
			}
			// The next turn ends whatever was brought back.
			turnWhileOthersWrite(t, lagging, []string{"k"})
			for strings.Contains(states(kekOf(t, lagging), names), "retiring") {
				moveKEK(t, lagging, retireKEK)
			}
			wantRing(t, "in the end", openVault(t, m.Link(), "s1"), "k", "a active 1")
		})
	}
}

// A store that was emptied gets the same key again, from whoever writes first.
func TestAStoreThatWasEmptied(t *testing.T) {
	m := fleettest.NewMemory()
	v := openVault(t, m.Link(), "s1")
	turnKEK(t, v)
	before := kekOf(t, v)
	if err := v.Admit(t.Context(), unsealKey("s2")); err != nil {
		t.Fatal(err)
	}
	m.Empty()
	putRing(t, v, ringOf(t, "k", "a", "1"))
	fresh := openVault(t, m.Link(), "s2")
	if got := tell(kekOf(t, fresh)); got != tell(before) {
		t.Error("another key, or the order is another")
	}
	wantRing(t, "a replica that starts", fresh, "k", "a active 1")

	// And when one that starts was first: both keys open, the fleet's leads.
	m.Empty()
	first := openVault(t, m.Link(), "s1")
	putRing(t, first, ringOf(t, "j", "b", "2"))
	if err := v.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	putRing(t, v, ringOf(t, "k", "a", "1"))
	for what, reader := range map[string]*fleet.Vault{"one that ran": v, "the first": first, "a later one": openVault(t, m.Link(), "s2")} {
		wantRing(t, what, reader, "j", "b active 2")
		wantRing(t, what, reader, "k", "a active 1")
		if ring := kekOf(t, reader); ring.Active().ID != before.Active().ID {
			t.Errorf("%s: the key that came later leads", what)
		}
	}
}

// On a cluster entries fall back apart: a ring is under a key that was retired
// since. Who still has that key makes it good; but not if the key was stolen.
func TestARingThatFallsBackAlone(t *testing.T) {
	for name, compromised := range map[string]bool{"retired": false, "compromised": true} {
		t.Run(name, func(t *testing.T) {
			link := fleettest.NewMemory().Link()
			v := openVault(t, link, "s1")
			putRing(t, v, ringOf(t, "k", "a", "1"))
			earlier, _, _ := link.Get(t.Context(), "k")
			if compromised {
				before := moveKEK(t, v, addKEK).Active().ID
				moveKEK(t, v, func(now keyring.Ring) (keyring.Ring, error) { p, _ := now.Pending(); return now.Condemn(p.ID, t0) })
				must[bool](t)(v.Reseal(t.Context(), "k"))
				moveKEK(t, v, func(now keyring.Ring) (keyring.Ring, error) { return now.Retire(before) })
			} else {
				turnKEK(t, v, "k")
			}
			_, revision, _ := link.Get(t.Context(), "k")
			must[fleet.Revision](t)(link.CompareAndSet(t.Context(), "k", revision, earlier))
			err := v.Restore(t.Context())
			if compromised {
				if !errors.Is(err, keyring.ErrRetired) {
					t.Errorf("what a stolen key sealed: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantRing(t, "one that starts", openVault(t, link, "s1"), "k", "a active 1")
		})
	}
}

// A dismissed value is not let in again by an earlier state of the store, and not
// by who has it and can write there.
func TestADismissedValueStaysOut(t *testing.T) {
	m := fleettest.NewMemory()
	v := openVault(t, m.Link(), "stolen")
	putRing(t, v, ringOf(t, "k", "a", "1"))
	fallBack := m.Snapshot()
	if err := v.Admit(t.Context(), unsealKey("s2")); err != nil {
		t.Fatal(err)
	}
	if err := v.Dismiss(t.Context(), "stolen"); err != nil {
		t.Fatal(err)
	}
	want := kekOf(t, v).Active().ID
	forged := fleettest.NewMemory()
	openVault(t, forged.Link(), "stolen")
	theirs, _, _ := forged.Link().Get(t.Context(), fleet.KeyEncryptionKey)
	for name, meddle := range map[string]func(){
		"fell back": fallBack,
		"forged": func() {
			_, revision, _ := m.Link().Get(t.Context(), fleet.KeyEncryptionKey)
			must[fleet.Revision](t)(m.Link().CompareAndSet(t.Context(), fleet.KeyEncryptionKey, revision, theirs))
		},
	} {
		meddle()
		if err := v.Restore(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if ids := must[[]string](t)(v.Unseals(t.Context())); !slices.Equal(ids, []string{"s2"}) || kekOf(t, v).Active().ID != want {
			t.Errorf("%s: wrapped for %v", name, ids)
		}
		wantRing(t, name, openVault(t, m.Link(), "s2"), "k", "a active 1")
	}
	if err := v.Admit(t.Context(), unsealKey("stolen")); err != nil { // an operator may
		t.Fatal(err)
	}
	wantRing(t, "admitted again", openVault(t, m.Link(), "stolen"), "k", "a active 1")
}

// What names a version that nobody ever had is not taken for forged or absent.
func TestAKeyThatNobodyHas(t *testing.T) {
	link := fleettest.NewMemory().Link()
	v := openVault(t, link, "s1")
	other := openVault(t, fleettest.NewMemory().Link(), "s1")
	sealer := must[*seal.Sealer](t)(seal.NewSealer(kekOf(t, other), "fleet ring"))
	must[fleet.Revision](t)(link.CompareAndSet(t.Context(), "k", "", sealer.Seal([]byte("x"), []byte("k"))))
	if ring, _, err := v.Load(t.Context(), "k"); !errors.Is(err, keyring.ErrUnknownVersion) {
		t.Errorf("%v, %v", ring, err)
	}
}
