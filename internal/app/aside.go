package app

import (
	"context"
	"time"

	"keyway/internal/fleet"
)

const (
	// asideLook is how often a replica that leaves leading to others looks whether it
	// still should.
	asideLook = 5 * time.Second
	// asideFor is how long leading may be anybody's before it does so after all: far
	// longer than the others take to notice.
	asideFor = 4 * leaseFor
	// asideNot is for how long it then goes on.
	asideNot = 10 * time.Minute
)

// aside is whether this replica leaves leading to others, because its clock is off
// and theirs is not: a provider refuses the proofs of whoever leads with a wrong
// clock, and no secret would turn. Where all are off, or those that are right do not
// lead, a wrong clock is better than nobody.
type aside struct {
	better bool      // by the last look, our clock is off, and another's is right
	looked time.Time // when that was
	led    time.Time // when we last led, or saw that somebody did
	not    time.Time // until when we lead all the same
}

// look reads the reports, and notes what they say of clocks.
func (s *sharing) look(ctx context.Context) (fleet.Roll, error) {
	roll, err := s.reports(ctx)
	if err != nil {
		return fleet.Roll{}, err
	}
	now := time.Now()
	off := now.Sub(roll.Now).Abs()
	s.mu.Lock()
	was := s.off
	s.off = off > clockOff
	s.aside.looked, s.aside.better = now, off > s.skew && roll.OthersRight(s.id, s.skew)
	is := s.off
	s.mu.Unlock()
	if is && !was {
		s.log.Warn("the clock of this replica and that of the store are far apart; an identity provider refuses assertions of a replica whose clock is off", "apart", off.Round(time.Second).String())
	}
	return roll, nil
}

// standsAside reports whether this replica leaves leading to others, and gives up
// the lease if it has it.
func (s *sharing) standsAside(ctx context.Context, held bool) bool {
	now := time.Now()
	s.mu.Lock()
	a := s.aside
	if held {
		s.aside.led = now
	}
	s.mu.Unlock()
	if !a.better || now.Before(a.not) {
		return false
	}
	if held {
		s.log.Warn("another replica's clock is right, and this one's is not: leading is left to others")
		_ = s.lease.Release(ctx) // else it ends by itself
		return true
	}
	if now.Sub(a.looked) >= asideLook {
		owner, err := s.lease.Owner(ctx)
		if _, lookErr := s.look(ctx); err != nil || lookErr != nil {
			return true // nobody can lead
		}
		s.mu.Lock()
		if owner != "" {
			s.aside.led = now
		}
		a = s.aside
		s.mu.Unlock()
	}
	if a.better && now.Sub(a.led) >= asideFor {
		s.log.Warn("no other replica leads: this one does, though its clock is off")
		s.mu.Lock()
		s.aside.not = now.Add(asideNot)
		s.mu.Unlock()
		return false
	}
	return a.better
}
