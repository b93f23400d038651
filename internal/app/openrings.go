package app

import (
	"context"
	"path/filepath"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/rotation"
	"keyway/internal/secret/source"
	"keyway/internal/session/redis"
)

// openVault opens where the fleet's rings are: the shared store, or a folder
// beside the signing keys. What opens it are the salts that every replica is
// given, or the folder's root keys.
func (a *app) openVault(ctx context.Context, shared *redis.Board, handedIn map[string]given) error {
	var unseal []fleet.UnsealKey
	if shared != nil {
		a.board = shared
		a.side = newSharing(shared, shared, a.id, a.config.Session.Lifetime+time.Hour, a.config.Rotation.Skew, a.log)
		unseal = unsealKeys(handedIn[nameTokenHashSalt])
	} else {
		folder, err := fleet.OpenFolder(filepath.Join(a.resources.keys.Dir(), "fleet"))
		if err != nil {
			return err
		}
		a.board = folder
		a.side = newAlone(a.id)
		roots, err := a.resources.keys.RootKeys()
		if err != nil {
			return err
		}
		for _, root := range roots {
			unseal = append(unseal, fleet.UnsealKey{ID: root.ID, Value: root.Value})
		}
	}
	var err error
	a.vault, err = fleet.OpenVault(ctx, fleet.VaultOptions{Board: a.board, Unseal: unseal, Log: a.log})
	return err
}

// openRings reads the fleet's rings, and begins those that are not there.
func (a *app) openRings(ctx context.Context, handedIn map[string]given) (rings, error) {
	all := rings{}
	for _, d := range a.defs {
		ring, _, err := a.vault.Load(ctx, d.name)
		if err != nil {
			return nil, err
		}
		g, given := handedIn[d.name]
		if ring.IsZero() {
			ring, err = a.begin(ctx, d, g, given)
		} else if given {
			ring, err = a.handInFirst(ctx, ring, d, g)
		}
		if err != nil {
			return nil, err
		}
		if d.name == nameSigningKey {
			a.resources.tellUnused(ring)
			a.tellOther(ring)
		}
		if !ring.IsZero() {
			all[d.name] = ring
		}
	}
	return all, nil
}

// tellOther says that the folder has another signing key than the fleet.
func (a *app) tellOther(ring keyring.Ring) {
	own, err := a.resources.keys.Signing()
	if err != nil || own.IsZero() {
		return
	}
	if _, known := ring.Find(own.Active().ID); !known {
		a.log.Warn("the folder holds another signing key than the fleet uses; the fleet's is used",
			"folder", a.resources.keys.Dir(), "folder_kid", own.Active().ID, "fleet_kid", ring.Active().ID)
	}
}

// begin puts the first version of a secret into the vault, unless somebody is
// faster; the zero Ring when there is nothing to begin with.
func (a *app) begin(ctx context.Context, d definition, g given, given bool) (keyring.Ring, error) {
	var first keyring.Ring
	var err error
	switch {
	case given:
		first, err = firstRing(d.name, g.current, g.previous, time.Now())
	case d.peer:
		return keyring.Ring{}, nil // nobody gave us one, so we don't need one
	case d.name == nameSigningKey:
		first, err = a.resources.keys.FirstSigning()
	case d.name == nameDPoPKey:
		var key keyring.Candidate
		if key, err = a.makeDPoPKey(ctx); err == nil {
			first, err = firstRing(d.name, key, nil, time.Now())
		}
	default:
		first, err = firstRing(d.name, randomSecret(d.name), nil, time.Now())
	}
	if err != nil {
		return keyring.Ring{}, err
	}
	return a.vault.Update(ctx, d.name, func(there keyring.Ring) (keyring.Ring, error) {
		if !there.IsZero() {
			return there, fleet.ErrUnchanged // another replica was first
		}
		return first, nil
	})
}

// handInFirst proposes what a replica that starts was given, if it is new.
func (a *app) handInFirst(ctx context.Context, ring keyring.Ring, d definition, g given) (keyring.Ring, error) {
	v, known := ring.Find(g.current.ID)
	if !known && rotation.Hold(ring, time.Now()) > 0 {
		return ring, nil // it is proposed again when this replica serves
	}
	if d.name == nameTokenHashSalt && a.shared && (!known || v.State.Live()) {
		if err := a.vault.Admit(ctx, unsealKeys(g)...); err != nil {
			return keyring.Ring{}, err
		}
	}
	return vaultRings{a.vault}.Update(ctx, d.name, func(there keyring.Ring) (keyring.Ring, error) {
		return rotation.HandIn(there, g.current, g.previous, time.Now())
	})
}

// openRotation makes ready what turns secrets while requests are served.
func (a *app) openRotation(o opener) error {
	var watched []source.Secret
	for _, d := range a.defs {
		if d.handedIn() { // also what is not there yet
			watched = append(watched, d.watched())
		}
	}
	var err error
	a.watcher, err = source.New(watched, source.Options{
		Finder: o.finder, Poll: a.config.Rotation.Poll, Log: a.log,
		OnReading: func(r source.Reading) {
			if d, ok := find(a.defs, r.Name); ok {
				a.sources.reading(d, r)
				a.follower.Wake()
			}
		},
		OnTrouble: a.troubled,
	})
	if err != nil {
		return err
	}
	a.follower = newFollower(a)
	a.overheard = &overheard{Fleet: a.side}
	secrets := a.turning()
	a.turnings = map[string]rotation.Secret{}
	for _, s := range secrets {
		a.turnings[s.Name] = s
	}
	a.runner, err = rotation.NewRunner(rotation.Options{
		Rings: vaultRings{a.vault}, Journal: fleet.NewJournal(a.board), Fleet: a.overheard,
		Secrets: secrets, Log: a.log, Observer: rotations{a.resources.metrics},
	})
	return err
}

// reread is gateway.Options.Reread: first what the fleet knows, which is there at
// once, then what is handed in, which takes a moment to be sure of.
func (a *app) reread(ctx context.Context) (changed bool, err error) {
	if changed, err = a.follower.look(ctx); changed || err != nil {
		return changed, err
	}
	// Trouble with a source is no reason to refuse to say: its last good value stays.
	_ = a.watcher.Reread(ctx)
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	return a.follower.look(ctx)
}

// newerWithin bounds how long a request waits for credentials that may have come.
const newerWithin = 3 * time.Second

// lookForNewer reads what is handed in, and what the fleet knows. It is nobody's
// request, and so outlives whoever asked for it.
func (a *app) lookForNewer() {
	ctx, cancel := context.WithTimeout(context.Background(), newerWithin)
	defer cancel()
	contained(a.log, func() {
		_ = a.watcher.Reread(ctx)
		_, _ = a.follower.look(ctx)
	})
}

// newerClient is oidc.ClientOptions.Newer. A value that was found here and that the
// fleet does not know yet, as when its store is away, is presented all the same:
// whether it is accepted is between the peer and us, and nothing is issued with
// it.
func (a *app) newerClient(ctx context.Context, k peerClient) *oidc.Client {
	done := a.lookAgain.DoChan("", func() (any, error) { a.lookForNewer(); return nil, nil })
	select {
	case <-done:
	case <-ctx.Done():
		return nil
	}
	s := a.current.Load()
	if s == nil {
		return nil
	}
	ring, g := s.rings[k.secret], a.sources.all()[k.secret]
	if ring.IsZero() || g.current.ID == "" {
		return s.clients[k.peer]
	}
	more := ring
	switch v, known := ring.Find(g.current.ID); {
	case known && v.State != keyring.Retiring:
		return s.clients[k.peer] // it has been tried, or can't be
	case !known:
		var err error
		if more, err = ring.Accept(g.current, time.Now()); err != nil {
			return s.clients[k.peer]
		}
	}
	client, err := k.build(&a.resources, s.rings.with(more), g.current.ID, s.proofs)
	if err != nil {
		return s.clients[k.peer]
	}
	return client
}

// mayIssue is gateway.Options.MayIssue.
func (a *app) mayIssue() bool {
	return !a.shared || a.side.counted() && a.follower.fresh()
}

// refused counts a refusal of something that the version in use was good for. What
// older versions issued may be refused for reasons of its own.
func (a *app) refused(secret, version, who string) {
	s := a.current.Load()
	if s == nil {
		return
	}
	if ring := s.rings[secret]; !ring.IsZero() && ring.Active().ID == version {
		a.tallies[secret].Add(who, time.Now())
	}
}

// reloads reads everything again that is handed in, whenever it is asked for.
func (a *app) reloads(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.reload:
		}
		a.log.Info("reading again what is handed in")
		if err := a.watcher.Reread(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("not everything that is handed in could be read; the last good values stay in use", "error", err.Error())
		}
		a.resources.folderUnread()
		a.follower.Wake()
	}
}
