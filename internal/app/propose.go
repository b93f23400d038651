package app

import (
	"context"
	"time"

	"keyway/internal/keyring"
)

// propose hands in what this replica has found where secrets are handed in, and
// takes up what a sidecar has put into the folder of keys.
func (f *follower) propose(ctx context.Context) {
	a := f.a
	now := a.current.Load().rings
	for name, g := range a.sources.all() {
		ring := now[name]
		if ring.IsZero() {
			continue
		}
		v, known := ring.Find(g.current.ID)
		previousKnown := g.previous == nil
		if g.previous != nil {
			_, previousKnown = ring.Find(g.previous.ID)
		}
		if known && previousKnown {
			a.sources.settled(a.log, name, v, g.origin, time.Now())
			continue
		}
		if a.runner.Hasty(ctx, ring, g.current, g.previous) {
			continue
		}
		if err := f.handIn(ctx, name, g); err != nil {
			f.complain(ctx, name+" (handed in)", err)
		} else {
			delete(f.said, name+" (handed in)")
		}
	}
	f.proposeSigningKey(ctx, now[nameSigningKey])
}

func (f *follower) handIn(ctx context.Context, name string, g given) error {
	a := f.a
	if name == nameTokenHashSalt && a.shared {
		// A replica that starts with only the new one must be able to open what there
		// is, so this comes first.
		if err := a.vault.Admit(ctx, unsealKeys(g)...); err != nil {
			return err
		}
	}
	v, err := a.runner.HandIn(ctx, name, g.current, g.previous)
	if err != nil {
		return err
	}
	if v.ID != "" {
		a.log.Info("a new value was handed in", "secret", name, "version", v.ID, "state", string(v.State), "from", g.origin)
	}
	return nil
}

// proposeSigningKey takes a key that rotate-keys has put into the folder to the
// fleet.
func (f *follower) proposeSigningKey(ctx context.Context, ring keyring.Ring) {
	a := f.a
	if ring.IsZero() || !a.resources.folderChanged() {
		return
	}
	inFolder, err := a.resources.keys.Signing()
	if err != nil || inFolder.IsZero() {
		if err != nil {
			f.complain(ctx, nameSigningKey+" (folder)", err)
		}
		return
	}
	delete(f.said, nameSigningKey+" (folder)")
	pending, ok := inFolder.Pending()
	if !ok {
		return
	}
	if _, known := ring.Find(pending.ID); known {
		return
	}
	_, err = a.runner.HandIn(ctx, nameSigningKey, keyring.Candidate{ID: pending.ID, Value: pending.Value}, nil)
	if err != nil {
		a.resources.folderUnread() // try again
		f.complain(ctx, nameSigningKey+" (folder)", err)
	}
}
