package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/rotation"
)

const (
	// leaseFor is how long a replica that leads may be silent before another takes
	// over.
	leaseFor = 6 * time.Second
	// gone is the Policy.Gone of all secrets. Each replica promises its own time;
	// see fleet.Report.Replica.
	gone = 12 * time.Second
)

// fleetSide is what a replica is to the others: one of many that share a store,
// or alone.
type fleetSide interface {
	rotation.Fleet
	// hold says what this replica holds from now on.
	hold(map[string]fleet.Held)
	// counted reports whether the others count on this replica.
	counted() bool
	// leader is who moves rings, as far as that is known; empty: nobody.
	leader(context.Context) string
	// reports are everybody's last words.
	reports(context.Context) (fleet.Roll, error)
	// run speaks to the others until ctx ends.
	run(ctx context.Context)
}

// alone is a fleet of one replica, which is what there is without a shared store.
type alone struct {
	id, host string
	started  time.Time
	held     atomic.Pointer[map[string]fleet.Held]
}

func newAlone(id string) *alone { return &alone{id: id, host: hostname(), started: time.Now()} }

func (a *alone) Lead(context.Context) (bool, error) { return true, nil }
func (a *alone) hold(secrets map[string]fleet.Held) { a.held.Store(&secrets) }
func (a *alone) counted() bool                      { return true }
func (a *alone) leader(context.Context) string      { return a.id }
func (a *alone) run(ctx context.Context)            { <-ctx.Done() }
func (a *alone) Roll(ctx context.Context) (rotation.Roll, error) {
	roll, err := a.reports(ctx)
	return rollOf(roll, time.Time{}), err
}

func (a *alone) reports(context.Context) (fleet.Roll, error) {
	now := time.Now()
	report := fleet.Report{ID: a.id, Host: a.host, Started: a.started, Seen: now, Until: now.Add(gone)}
	if held := a.held.Load(); held != nil {
		report.Secrets = *held
	}
	return fleet.Roll{Now: now, Reports: []fleet.Report{report}}, nil
}

// sharing is one of the replicas that share a store.
type sharing struct {
	id        string
	presence  *fleet.Presence
	announcer *fleet.Announcer
	lease     *fleet.Lease
	log       *slog.Logger
	skew      time.Duration // how far our clock may be from the store's for us to lead

	mu    sync.Mutex
	tried time.Time // when the lease was last asked for
	off   bool      // our clock is not the store's
	live  int       // replicas, at the last look
	aside aside
}

// newSharing speaks through what the store offers. Reports are kept for keep after
// a replica went: as long as what it issued may live. skew is how far clocks may be
// apart.
func newSharing(board fleet.Board, register fleet.Register, id string, keep, skew time.Duration, log *slog.Logger) *sharing {
	presence := fleet.NewPresence(register, keep)
	announcer := fleet.NewAnnouncer(presence, id, log)
	return &sharing{
		id: id, presence: presence, announcer: announcer, log: log, live: 1, skew: max(skew, clockOff),
		lease: fleet.NewLease(board, "rotation", id, leaseFor),
	}
}

func hostname() string {
	name, _ := os.Hostname()
	return name
}

func (s *sharing) hold(secrets map[string]fleet.Held) { s.announcer.Hold(secrets) }
func (s *sharing) counted() bool                      { return s.announcer.Counted() }

func (s *sharing) leader(ctx context.Context) string {
	owner, _ := s.lease.Owner(ctx) // a status says the rest without it
	return owner
}

func (s *sharing) run(ctx context.Context) {
	s.announcer.Run(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if s.lease.Held() {
		_ = s.lease.Release(ctx) // else it ends by itself
	}
}

// Lead implements rotation.Fleet. Who has the lease renews it every third of its
// time; the others look a hundred times a second together, and each once a second
// at most.
func (s *sharing) Lead(ctx context.Context) (bool, error) {
	s.mu.Lock()
	held, pause := s.lease.Held(), max(time.Second, time.Duration(s.live)*10*time.Millisecond)
	if held {
		pause = leaseFor / 3
	}
	if time.Since(s.tried) < pause {
		s.mu.Unlock()
		return held, nil
	}
	s.tried = time.Now()
	s.mu.Unlock()
	if s.standsAside(ctx, held) {
		return false, nil
	}
	got, err := s.lease.Try(ctx)
	if !got || held || err != nil {
		return got, err
	}
	if _, err := s.look(ctx); err != nil {
		return got, nil //nolint:nilerr // without a look nothing is known of clocks, and nothing is moved
	}
	return !s.standsAside(ctx, true), nil
}

var errNotHeard = errors.New("this replica has not been heard in the shared store yet")

// Roll implements rotation.Fleet.
func (s *sharing) Roll(ctx context.Context) (rotation.Roll, error) {
	roll, err := s.look(ctx)
	if err != nil {
		return rotation.Roll{}, err
	}
	live, heard := 0, false
	for _, r := range roll.Reports {
		if r.Live(roll.Now) {
			live++
			heard = heard || r.ID == s.id
		}
	}
	s.mu.Lock()
	s.live = max(1, live)
	s.mu.Unlock()
	if !heard {
		return rotation.Roll{}, errNotHeard
	}
	// A store that is new, or was emptied, knows of everybody once they have had the
	// time to speak.
	return rollOf(roll, roll.Since.Add(fleet.Gone(live))), nil
}

func (s *sharing) reports(ctx context.Context) (fleet.Roll, error) { return s.presence.All(ctx) }

// rollOf is what the reports say of each secret.
func rollOf(roll fleet.Roll, ready time.Time) rotation.Roll {
	return rotation.Roll{
		Now: roll.Now, Ready: ready,
		Replicas: func(secret string) []rotation.Replica {
			all := make([]rotation.Replica, len(roll.Reports))
			for i, r := range roll.Reports {
				all[i] = r.Replica(secret, gone)
			}
			return all
		},
		// What a replica counts is of the version that it issued with when it counted. A
		// peer's refusals are so many in all. But one user's requests reach every replica,
		// and each counts him once: so as not to have him undo a rotation by himself, what
		// counts of these is what one replica has met.
		Refusals: func(secret, version string) (all rotation.Refusals) {
			for _, r := range roll.Reports {
				held := r.Secrets[secret]
				switch {
				case !r.Live(roll.Now) || held.Issues != version:
				case isOutward(secret):
					all.InGuard += held.InGuard
					all.Before += held.Before
				default:
					all.InGuard, all.Before = max(all.InGuard, held.InGuard), max(all.Before, held.Before)
				}
			}
			return all
		},
		// By our own clock: it is compared with when we asked.
		Fetched: func(secret string) (last time.Time) {
			for _, r := range roll.Reports {
				if at := r.Secrets[secret].Fetched; !at.IsZero() {
					if own := time.Now().Add(at.Sub(roll.Now)); own.After(last) {
						last = own
					}
				}
			}
			return last
		},
	}
}
