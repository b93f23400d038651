package app

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/keyring"
	"keyway/internal/rotation"
	"keyway/internal/session"
)

const (
	// lookEvery is how often a replica reads the fleet's rings if nothing told it
	// to, give or take a quarter.
	lookEvery = 3 * time.Second
	// lookSoon is for when the store was away or was emptied; spread, because all
	// replicas see that at once.
	lookSoon = 500 * time.Millisecond
	// lookWithin bounds one look.
	lookWithin = 10 * time.Second
	// issueWithin is for how long rings that were read are good to issue with: for
	// shorter than it takes the others to go on without a replica that is cut off.
	issueWithin = gone
)

// follower keeps what this replica serves with at what the fleet's rings say.
type follower struct {
	a    *app
	wake chan struct{}
	read atomic.Int64 // when the last whole look began, in Unix nanoseconds

	mu   sync.Mutex // one look at a time
	said map[string]string
	held map[string]fleet.Held // what was last said
}

func newFollower(a *app) *follower {
	return &follower{a: a, wake: make(chan struct{}, 1), said: map[string]string{}, held: map[string]fleet.Held{}}
}

// Wake has it look at once.
func (f *follower) Wake() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// fresh reports whether the rings have been read lately enough to issue with
// them.
func (f *follower) fresh() bool {
	return time.Now().UnixNano()-f.read.Load() < int64(issueWithin)
}

// run looks until ctx ends.
func (f *follower) run(ctx context.Context) {
	lost := make(chan struct{}, 1)
	stop := f.a.resources.store.Changes(func(_ []session.Key, all bool) {
		if all {
			select {
			case lost <- struct{}{}:
			default:
			}
		}
	})
	defer stop()
	if board, ok := f.a.board.(fleet.Watcher); ok {
		defer board.Watch(f.heard)()
	}
	next, hurried := time.NewTimer(around(lookEvery)), false
	defer next.Stop()
	for {
		select {
		case <-f.wake:
		case <-next.C:
			hurried = false
		case <-lost:
			if !hurried { // else losing it often enough would put it off for ever
				next.Reset(around(lookSoon))
				hurried = true
			}
			continue
		case <-ctx.Done():
			return
		}
		_, _ = f.look(ctx) // it has complained itself
		next.Reset(around(lookEvery))
	}
}

// heard is told that an entry of the board was changed.
func (f *follower) heard(name string) {
	if strings.HasPrefix(name, fleet.LeasePrefix) || strings.HasPrefix(name, fleet.JournalPrefix) || strings.HasPrefix(name, auditPrefix) || name == policiesEntry {
		return
	}
	f.Wake()
	f.a.runner.Wake()
}

// around is d, give or take a quarter.
func around(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2) }

// look reads the rings, hands in what was found here and the fleet does not know,
// and has this replica serve with what came of it. It reports whether that is
// something new. An error means that not everything could be read.
func (f *follower) look(ctx context.Context) (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	began := time.Now()
	now := f.a.current.Load().rings
	f.propose(ctx)
	next, whole := now, true
	for _, d := range f.a.defs {
		ring, err := f.agree(ctx, d.name, now[d.name])
		if err != nil {
			whole = false
			if away := f.complain(ctx, d.name, err); away {
				break // those before are taken the next time
			}
			continue
		}
		delete(f.said, d.name)
		if ring.IsZero() || keyring.Same(ring, now[d.name]) {
			continue
		}
		next, changed = next.with(ring), true
	}
	if changed {
		if err := f.a.publish(next); err != nil {
			f.a.log.Error("the fleet's secrets can't be used; this replica goes on with those before", "error", err.Error())
			return false, err
		}
		f.tell(now, next)
	}
	if whole {
		f.read.Store(began.UnixNano())
		f.a.resources.lost.read(time.Now())
	}
	f.announce()
	if changed {
		f.a.runner.Wake()
	}
	if !whole {
		return changed, errors.New("the fleet's secrets could not be read")
	}
	return changed, nil
}

// tell logs what is different.
func (f *follower) tell(was, is rings) {
	for _, d := range f.a.defs {
		before, now := was[d.name], is[d.name]
		if !before.IsZero() && !now.IsZero() && now.Active().ID != before.Active().ID {
			f.a.log.Info("secret in use", "name", d.name, "version", now.Active().ID, "before", before.Active().ID)
		}
	}
}

// complain says once for each change that the store can't tell what the fleet
// agreed on. A store that is away is reported by others; then, complain returns
// true.
func (f *follower) complain(ctx context.Context, name string, err error) (away bool) {
	if !isForeign(err) && (ctx.Err() != nil || f.a.resources.sessions.Ping(ctx) != nil) {
		return true
	}
	if f.said[name] != err.Error() {
		f.said[name] = err.Error()
		f.a.log.Error("this replica and the shared store don't agree on a secret; users may be signed out, depending on which replica they reach",
			"name", name, "error", err.Error())
	}
	return false
}

// agree returns the fleet's ring, after ours was made part of it if the store has
// lost it or fell back to an earlier state.
func (f *follower) agree(ctx context.Context, name string, ours keyring.Ring) (keyring.Ring, error) {
	a := f.a
	if name == fleet.KeyEncryptionKey {
		if err := a.vault.Restore(ctx); err != nil {
			return keyring.Ring{}, err
		}
	}
	there, _, err := a.vault.Load(ctx, name)
	if err != nil || ours.IsZero() || keyring.Same(there, ours) || name == fleet.KeyEncryptionKey {
		return there, err
	}
	lost := there.IsZero()
	if !lost {
		if _, err := unite(there, ours, time.Now()); errors.Is(err, fleet.ErrUnchanged) {
			return there, nil
		}
	}
	met := ""
	found, err := a.vault.Update(ctx, name, func(there keyring.Ring) (keyring.Ring, error) {
		met = ""
		if lost = there.IsZero(); lost {
			return ours, nil
		}
		united, err := unite(there, ours, time.Now())
		if err == nil {
			met = there.Active().ID
		}
		return united, err
	})
	switch {
	case err != nil:
	case lost:
		a.log.Warn("the shared store had lost a secret of the fleet; this replica has put it back", "name", name, "version", ours.Active().ID)
	case met != "":
		a.log.Error("the shared store held another state of a secret than this replica, as after it lost its data; what was issued under either is accepted from now on",
			"name", name, "store", met, "replica", ours.Active().ID)
	}
	return found, err
}

// announce says what this replica holds and issues with.
func (f *follower) announce() {
	a, now := f.a, time.Now()
	held := make(map[string]fleet.Held, len(a.defs))
	for name, ring := range a.current.Load().rings {
		was := f.held[name]
		h := fleet.Held{Holds: map[string]time.Time{}, Issues: ring.Active().ID, Since: was.Since}
		if h.Issues != was.Issues {
			h.Since = now
		}
		for v := range ring.Live() {
			since, before := was.Holds[v.ID]
			if !before {
				since = now
			}
			h.Holds[v.ID] = since
		}
		if name == nameSigningKey {
			h.Fetched = a.resources.fetched.after(h.Holds)
		}
		refusals := a.tallies[name].Compare(h.Since, now)
		h.InGuard, h.Before = refusals.InGuard, refusals.Before
		h.HandedIn, h.Trouble = a.sources.of(name)
		held[name] = h
		a.resources.metrics.RotationPhase(name, int(rotation.PhaseOf(ring, a.config.Rotation.For(name).Guard, now)))
	}
	f.held = held
	a.side.hold(maps.Clone(held))
}

// vaultRings is the vault as package rotation wants it.
type vaultRings struct{ vault *fleet.Vault }

func (v vaultRings) Load(ctx context.Context, name string) (keyring.Ring, error) {
	ring, _, err := v.vault.Load(ctx, name)
	return ring, err
}

func (v vaultRings) Update(ctx context.Context, name string, change func(keyring.Ring) (keyring.Ring, error)) (keyring.Ring, error) {
	return v.vault.Update(ctx, name, func(ring keyring.Ring) (keyring.Ring, error) {
		next, err := change(ring)
		if errors.Is(err, rotation.ErrUnchanged) {
			err = fleet.ErrUnchanged
		}
		return next, err
	})
}
