package app

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/keyring"
	"keyway/internal/seal"
	"keyway/internal/session"
)

const (
	// lookEvery is how often a replica looks whether the shared store still holds
	// the rings that it serves with, give or take a quarter.
	lookEvery = 3 * time.Second
	// lookSoon is for when the store was away or was emptied; spread, because all
	// replicas see that at once.
	lookSoon = 500 * time.Millisecond
	// lookWithin bounds one look.
	lookWithin = 10 * time.Second
)

// agreeOnSigningKey makes the fleet's key ours: the one that was first, which is
// this replica's own if there was none.
func (a *app) agreeOnSigningKey(ctx context.Context) (keyring.Ring, error) {
	own := a.resources.keys.SigningRing()
	agreed, err := a.shared.Agree(ctx, own)
	if err != nil {
		return keyring.Ring{}, err
	}
	if agreed.Active().ID != own.Active().ID {
		a.log.Warn("the folder holds another signing key than the fleet uses; the fleet's is used",
			"folder", a.resources.keys.Dir(), "folder_kid", own.Active().ID, "fleet_kid", agreed.Active().ID)
	}
	return agreed, nil
}

// keepAgreed looks at the shared store until ctx ends. A store that lost its data
// is given the rings again by whoever runs; otherwise the next replica to start
// would put rings of its own there, and users would be sent back and forth
// between replicas that can't read each other.
func (a *app) keepAgreed(ctx context.Context) {
	lost := make(chan struct{}, 1)
	stop := a.resources.store.Changes(func(_ []session.Key, all bool) {
		if all {
			select {
			case lost <- struct{}{}:
			default:
			}
		}
	})
	defer stop()
	said := map[string]string{}
	next, hurried := time.NewTimer(around(lookEvery)), false
	defer next.Stop()
	for {
		select {
		case <-next.C:
			a.agreeAgain(ctx, said)
			next.Reset(around(lookEvery))
			hurried = false
		case <-lost:
			if !hurried { // else losing it often enough would put it off for ever
				next.Reset(around(lookSoon))
				hurried = true
			}
		case <-ctx.Done():
			return
		}
	}
}

// around is d, give or take a quarter.
func around(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2) }

// agreeAgain brings the rings that are served with and those in the shared store
// together. said is what was complained of, by ring, so that it is said once.
func (a *app) agreeAgain(ctx context.Context, said map[string]string) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	next := *a.current.Load().rings
	changed, readSessionKey := false, false
	for _, name := range next.agreed {
		ring := next.named(name)
		found, err := a.agreeOn(ctx, *ring)
		switch {
		case err != nil:
			if away := a.complain(ctx, said, name, err); away {
				return // those before are taken the next time
			}
		case !sameVersions(*ring, found):
			a.log.Info("secret", "name", name, "version", found.Active().ID, "before", ring.Active().ID)
			*ring, changed = found, true
		}
		if err == nil {
			delete(said, name)
			readSessionKey = readSessionKey || name == nameSessionKey
		}
	}
	if changed {
		if err := a.publish(&next); err != nil {
			a.log.Error("the fleet's secrets can't be used; this replica goes on with those before", "error", err.Error())
			return
		}
	}
	if readSessionKey {
		a.resources.lost.read(time.Now())
	}
}

// complain says once for each change that the store can't tell what the fleet
// agreed on. A store that is away is reported by others; then, complain returns
// true.
func (a *app) complain(ctx context.Context, said map[string]string, name string, err error) (away bool) {
	if !isForeign(err) && (ctx.Err() != nil || a.resources.sessions.Ping(ctx) != nil) {
		return true
	}
	if said[name] == err.Error() {
		return false
	}
	said[name] = err.Error()
	a.log.Error("this replica and the shared store don't agree on a secret; users may be signed out, depending on which replica they reach",
		"name", name, "error", err.Error())
	return false
}

// isForeign reports whether what is in the shared store was sealed under a salt
// that this replica was not given.
func isForeign(err error) bool {
	return errors.Is(err, keyring.ErrUnknownVersion) || errors.Is(err, keyring.ErrRetired) || errors.Is(err, seal.ErrForged)
}

// agreeOn returns the fleet's ring, after ours was made part of it.
func (a *app) agreeOn(ctx context.Context, ours keyring.Ring) (keyring.Ring, error) {
	lost, met := false, ""
	found, err := a.shared.Update(ctx, ours.Name(), func(there keyring.Ring) (keyring.Ring, error) {
		lost, met = there.IsZero(), ""
		if lost {
			return ours, nil
		}
		merged, err := unite(there, ours, time.Now())
		if err == nil {
			met = there.Active().ID
		}
		return merged, err
	})
	switch {
	case err != nil:
	case lost:
		a.log.Warn("the shared store had lost a secret of the fleet; this replica has put it back", "name", ours.Name(), "version", ours.Active().ID)
	case met != "":
		a.log.Error("the shared store held another version of a secret than this replica, as after it lost its data and another replica was first; both are accepted from now on",
			"name", ours.Name(), "store", met, "replica", ours.Active().ID)
	}
	return found, err
}

// unite is the ring for a fleet that has come to have two: there, which is in the
// shared store, and ours. What was issued under either stays good. There leads,
// and ours adds what it lacks as retiring, unless ours is there moved on: a store
// can fall back to an earlier state. It is fleet.ErrUnchanged when there has all
// already. Whoever comes second finds what the first has written, so all
// replicas end with one ring.
func unite(there, ours keyring.Ring, now time.Time) (keyring.Ring, error) {
	lead, other := there, ours
	if left(ours, there.Active().ID) && !left(there, ours.Active().ID) {
		lead, other = ours, there
	}
	versions := slices.Collect(lead.All())
	for i, v := range versions {
		also, known := version(other, v.ID)
		switch {
		case !known || v.State == keyring.Active:
		case !also.State.Live() && v.State.Live(), v.State == keyring.Pending && also.State == keyring.Retiring:
			versions[i] = also // nothing comes back from the dead
		}
	}
	for v := range other.All() {
		if _, known := version(lead, v.ID); known {
			continue
		}
		if v.State == keyring.Active || v.State == keyring.Pending {
			v.State, v.RetiresAt = keyring.Retiring, now
		}
		versions = append(versions, v)
	}
	united, err := keyring.New(there.Name(), versions...)
	if err == nil && sameVersions(united, there) {
		err = fleet.ErrUnchanged
	}
	return united, err
}

// left reports whether the ring has had the version active, and has another now.
func left(r keyring.Ring, id string) bool {
	v, known := version(r, id)
	return known && (v.State == keyring.Retiring || v.State == keyring.Retired)
}

func version(r keyring.Ring, id string) (keyring.Version, bool) {
	for v := range r.All() {
		if v.ID == id {
			return v, true
		}
	}
	return keyring.Version{}, false
}

func sameVersions(a, b keyring.Ring) bool {
	return slices.EqualFunc(slices.Collect(a.All()), slices.Collect(b.All()), func(v, w keyring.Version) bool {
		return v.ID == w.ID && v.State == w.State && v.Withdrawn == w.Withdrawn && v.Compromised == w.Compromised
	})
}
