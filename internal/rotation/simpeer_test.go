package rotation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"keyway/internal/keyring"
)

// simPeer is an IdP. Of our secrets it accepts one or two; our public keys it
// fetches, and goes by what it holds for max-age, or fetches them again when it
// meets a kid that it does not know.
type simPeer struct {
	rng     *rand.Rand
	single  bool
	accepts []string // client secrets, newest first
	later   []later_
	away    time.Time // until then it can't be reached
	cross   time.Time // until then it refuses everything
	keys    map[string]bool
	at      time.Time // when it fetched them
	maxAge  time.Duration
	refetch bool
	ever    map[string]bool // what it has accepted once
	n       int
	owed    time.Time // when the operator gives it another secret, since it went back to an older one
}

// later_ is something that will be done.
type later_ struct {
	at time.Time
	do func()
}

func newSimPeer(f *fleetSim) simPeer {
	return simPeer{
		rng: f.rng, single: f.rng.IntN(2) == 0, accepts: []string{"v0"}, keys: map[string]bool{"v0": true}, at: time.Now(),
		maxAge: time.Duration(20+f.rng.IntN(50)) * time.Second, refetch: f.rng.IntN(2) == 0, ever: map[string]bool{"v0": true},
	}
}

func (s *simPeer) newest() string {
	if s.n == 0 {
		return "v0"
	}
	return fmt.Sprintf("s%d", s.n)
}

// change is the operator who replaces the client secret: at the peer first or
// here first, and here on each host at its own moment.
func (s *simPeer) change(f *fleetSim) {
	if _, pending := f.ring.Pending(); pending || len(s.later) > 0 {
		return
	}
	before := s.newest()
	s.n++
	id, now := s.newest(), time.Now()
	within := func(seconds int) time.Time {
		return now.Add(time.Duration(s.rng.IntN(seconds*1000)) * time.Millisecond)
	}
	s.later = append(s.later, later_{within(40), func() {
		f.tell("the peer is given %s", id)
		s.accepts = slices.Insert(s.accepts, 0, id)
		s.accepts = s.accepts[:min(len(s.accepts), 2)]
		if s.single {
			s.accepts = s.accepts[:1]
		}
	}})
	for _, h := range f.hosts {
		s.later = append(s.later, later_{within(60), func() {
			h.given, h.prior = id, ""
			if s.rng.IntN(2) == 0 {
				h.prior = before
			}
			f.tell("%s is given %s", h.name, id)
		}})
	}
}

func (s *simPeer) step(f *fleetSim) {
	now := time.Now()
	s.later = slices.DeleteFunc(s.later, func(l later_) bool {
		if now.Before(l.at) {
			return false
		}
		l.do()
		return true
	})
	if f.kind != signs && f.kind != presents || f.quiet {
		return
	}
	if !s.owed.IsZero() {
		if n := s.n; now.After(s.owed) {
			if s.change(f); s.n > n {
				s.owed = time.Time{}
			}
		}
		return
	}
	switch s.rng.IntN(400) {
	case 0:
		s.away = now.Add(time.Duration(s.rng.IntN(40)) * time.Second)
		f.tell("the peer can't be reached until %v", s.away.Sub(f.began))
	case 1:
		s.cross = now.Add(time.Duration(s.rng.IntN(40)) * time.Second)
		f.tell("the peer refuses everything until %v", s.cross.Sub(f.began))
	}
	if f.ring.IsZero() { // what a broken fleet may come to
		return
	}
	active := f.ring.Active()
	previous, ok := f.ring.Previous()
	if f.kind == presents && ok && len(s.later) == 0 && f.allReach() && f.now().Before(active.ActivatedAt.Add(f.p.Guard/2)) && s.newest() == active.ID && s.rng.IntN(20) == 0 {
		f.tell("the peer goes back to %s for a while", previous.ID)
		again := s.accepts
		s.owed = now.Add(time.Duration(40+s.rng.IntN(60)) * time.Second)
		s.accepts = []string{previous.ID}
		s.later = append(s.later, later_{now.Add(time.Duration(5+s.rng.IntN(25)) * time.Second), func() {
			f.tell("the peer goes on with %v", again)
			s.accepts = again
		}})
	}
}

// calm: replicas count in memory what the peer refuses. When it has gone back to an
// older secret, and before it has another, they have to live to know that.
func (s *simPeer) calm(f *fleetSim) bool {
	_, pending := f.ring.Pending()
	return f.kind == presents && (!s.owed.IsZero() || len(s.later) > 0 || pending)
}

func (f *fleetSim) allReach() bool {
	return !slices.ContainsFunc(f.hosts, func(h *host) bool { return h.cut || h.p == nil || h.p.dead })
}

func (s *simPeer) heal(f *fleetSim) {
	for _, l := range s.later {
		l.do()
	}
	s.later, s.away, s.cross = nil, time.Time{}, time.Time{}
	f.tell("the peer accepts %v", s.accepts)
}

// fetch has the peer fetch our keys, from any replica that is ready.
func (s *simPeer) fetch(f *fleetSim) {
	n := s.rng.IntN(len(f.hosts))
	for i := range f.hosts {
		p := f.hosts[(n+i)%len(f.hosts)].p
		if p == nil || p.dead || p.lost() {
			continue
		}
		s.keys, s.at = map[string]bool{}, time.Now()
		for v := range p.ring.Live() {
			if v.State == keyring.Pending && f.b.unpublished {
				continue
			}
			s.keys[v.ID] = true
		}
		p.fetched = time.Now()
		return
	}
}

var errAwayPeer = errors.New("the peer can't be reached")

// try is one request to the peer, with one credential.
func (s *simPeer) try(f *fleetSim, id string) (bool, error) {
	now := time.Now()
	switch {
	case now.Before(s.away):
		return false, errAwayPeer
	case now.Before(s.cross):
		return false, nil
	}
	ok := slices.Contains(s.accepts, id)
	if f.kind == signs {
		if age := now.Sub(s.at); age > s.maxAge || !s.keys[id] && s.refetch && age > 10*time.Second {
			s.fetch(f)
		}
		ok = s.keys[id]
	}
	if ok {
		s.ever[id] = true
	}
	return ok, nil
}

// prove is Secret.Prove of a process.
func (p *process) prove(jitter *rand.Rand) func(context.Context, string) (Verdict, error) {
	return func(_ context.Context, version string) (Verdict, error) {
		time.Sleep(time.Duration(1 + jitter.Int64N(int64(1500*time.Millisecond))))
		f := p.f
		f.mu.Lock()
		defer f.mu.Unlock()
		if p.dead {
			return Unknown, errDead
		}
		if f.b.unproven {
			return Accepted, nil
		}
		if _, err := p.ring.Lookup(version); err != nil {
			return Unknown, err
		}
		ok, err := f.peer.try(f, version)
		switch {
		case err != nil:
			return Unknown, err
		case ok:
			return Accepted, nil
		}
		return Refused, nil
	}
}

// present is a request of a user for which we authenticate at the peer.
func (f *fleetSim) present(p *process) {
	if p.lost() {
		return // it is not ready, and gets no requests
	}
	active := p.ring.Active().ID
	for v := range p.ring.Live() {
		if v.ID != active && f.b.onlyActive {
			break
		}
		ok, err := f.peer.try(f, v.ID)
		if ok || err != nil {
			return
		}
		if v.ID == active {
			p.refused = append(p.refused, time.Now())
		}
	}
	if time.Now().Before(f.peer.cross) {
		return
	}
	if f.kind == signs {
		f.fail("6: the peer refuses every key of %s; it holds %v", p.id, f.peer.keys)
		return
	}
	for _, id := range f.peer.accepts {
		if v, known := p.ring.Find(id); !known || v.State == keyring.Rejected || v.Compromised {
			return // nobody has told us yet, or somebody has told us not to
		}
	}
	for _, id := range f.peer.accepts {
		v, _ := p.ring.Find(id)
		f.fail("6: the peer refuses every secret that %s tries; it accepts %s, which is %s", p.id, id, v.State)
	}
}
