package app

import (
	"context"

	"keyway/internal/fleet"
	"keyway/internal/keyring"
)

// tendSessionKey seals records anew and counts those that are left.
func (a *app) tendSessionKey(ctx context.Context, ring keyring.Ring) (map[string]int, error) {
	if a.current.Load().rings[ring.Name()].Active().ID != ring.Active().ID {
		// What is served with here is behind, and would seal with the old key.
		if _, err := a.follower.look(ctx); err != nil {
			return nil, err
		}
	}
	if _, err := a.sessions().Reseal(ctx); err != nil {
		return nil, err
	}
	counts, err := a.sessions().CountVersions(ctx)
	return ofRetiring(ring, counts.SessionKey), err
}

// tendSalt ends what a compromised salt has named, and counts what is named by
// older ones. Values that nobody is given any more open the vault no longer.
func (a *app) tendSalt(ctx context.Context, ring keyring.Ring) (map[string]int, error) {
	for v := range ring.All() {
		if v.State == keyring.Retired && v.Compromised {
			ended, err := a.sessions().EndUnder(ctx, v.ID)
			if err != nil {
				return nil, err
			}
			if ended > 0 {
				a.log.Warn("sessions under a compromised version were ended", "secret", ring.Name(), "version", v.ID, "sessions", ended)
			}
		}
	}
	if err := a.dismissSalts(ctx, ring); err != nil {
		return nil, err
	}
	counts, err := a.sessions().CountVersions(ctx)
	return ofRetiring(ring, counts.Salt), err
}

// dismissSalts closes the vault to values that are over, once another is handed in
// everywhere.
func (a *app) dismissSalts(ctx context.Context, ring keyring.Ring) error {
	if !a.shared {
		return nil
	}
	opens, err := a.vault.Unseals(ctx)
	if err != nil {
		return err
	}
	roll, err := a.side.reports(ctx)
	if err != nil {
		return err
	}
	given := map[string]bool{}
	for _, r := range roll.Reports {
		if r.Live(roll.Now) {
			given[r.Secrets[nameTokenHashSalt].HandedIn] = true
		}
	}
	newer := false
	for _, id := range opens {
		v, known := ring.Find(id)
		newer = newer || known && v.State.Live()
	}
	for _, id := range opens {
		v, known := ring.Find(id)
		if known && !v.State.Live() && newer && (v.Compromised || !given[id]) {
			if err := a.vault.Dismiss(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *app) tendUASalt(ctx context.Context, ring keyring.Ring) (map[string]int, error) {
	counts, err := a.sessions().CountVersions(ctx)
	return ofRetiring(ring, counts.UA), err
}

// tendKeyEncryptionKey seals the rings anew, has the folder's root key turn with
// it, and counts what is left.
func (a *app) tendKeyEncryptionKey(ctx context.Context, ring keyring.Ring) (map[string]int, error) {
	var names []string
	for _, d := range a.defs {
		names = append(names, d.name)
		if _, err := a.vault.Reseal(ctx, d.name); err != nil {
			return nil, err
		}
	}
	if err := a.turnRoot(ctx, ring.Active().ID); err != nil {
		return nil, err
	}
	counts, err := a.vault.SealedUnder(ctx, names)
	return ofRetiring(ring, counts), err
}

// turnRoot replaces the root key of the folder, once for each new key-encryption
// key that this process has seen. If it dies on the way, there is a root key more
// than needed until the next time.
func (a *app) turnRoot(ctx context.Context, active string) error {
	if a.shared || a.rootTurnedFor == active {
		return nil
	}
	keys := a.resources.keys
	before, err := keys.RootKeys()
	if err != nil {
		return err
	}
	root, err := keys.TurnRoot()
	if err != nil {
		return err
	}
	if err := a.vault.Admit(ctx, fleet.UnsealKey{ID: root.ID, Value: root.Value}); err != nil {
		return err
	}
	for _, old := range before {
		if err := a.vault.Dismiss(ctx, old.ID); err != nil {
			return err
		}
		if err := keys.DropRoot(old.ID); err != nil {
			return err
		}
	}
	a.rootTurnedFor = active
	return nil
}

// ofRetiring is the count of each retiring version; what is not in counts is none.
func ofRetiring(ring keyring.Ring, counts map[string]int) map[string]int {
	if counts == nil {
		return nil
	}
	of := map[string]int{}
	for v := range ring.Live() {
		if v.State == keyring.Retiring {
			of[v.ID] = counts[v.ID]
		}
	}
	return of
}
