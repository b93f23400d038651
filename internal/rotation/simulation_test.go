package rotation

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/secret"
)

var (
	seeds = flag.Int("seeds", 0, "how many fleets to simulate; 0: as many as fit into seconds")
	seed  = flag.Uint64("seed", 0, "simulate this one only, and tell")
)

// faults are rules that a fleet is made to break, to see that it shows.
type faults struct {
	activateEarly bool // without asking who holds the version
	retireEarly   bool // without waiting for what was issued with it
	issueWhenLost bool // although nobody has heard of us for long
	blindSwap     bool // without compare-and-set
	keepNoWayBack bool // retire within the guard window
}

// simulated is a fleet in a world without a network: replicas that lag, are cut
// off, die and come back with clocks that are off; operators that rotate and roll
// back whenever they like; artefacts that are issued and shown to anybody.
type simulated struct {
	rng       *rand.Rand
	f         faults
	p         Policy
	now       time.Duration // the store's clock, which is the one that counts
	ring      keyring.Ring  // what the store has
	revision  int
	reports   map[string]Replica
	replicas  []*simReplica
	artefacts []artefact
	made      int
	log       []string
}

type simReplica struct {
	id      string
	off     time.Duration // of its clock
	up, cut bool
	ring    keyring.Ring
	heard   time.Duration // when it last reached the store
	since   map[string]time.Duration
	issues  string
	changed time.Duration
	plan    *plan // a move that it decided on and has not written yet
}

// plan is between reading and writing, where the other one comes in.
type plan struct {
	ring     keyring.Ring
	revision int
	what     string
}

type artefact struct {
	version string
	expires time.Duration
	by      string
}

func newSimulated(seed uint64, f faults) *simulated {
	s := &simulated{
		rng: rand.New(rand.NewPCG(seed, 1)), f: f, reports: map[string]Replica{},
		p: Policy{Kind: Inward, Guard: 2 * time.Minute, Lifetime: 10 * time.Minute, Skew: 30 * time.Second, Gone: 15 * time.Second, Limit: 3},
	}
	s.ring, _ = keyring.New("k", keyring.Version{ID: "v0", State: keyring.Active, CreatedAt: at(0), Value: secret.NewValue([]byte("v0"))})
	for i := range 2 + s.rng.IntN(3) {
		s.replicas = append(s.replicas, &simReplica{
			id: fmt.Sprintf("r%d", i), off: time.Duration(s.rng.IntN(20)-10) * time.Second, up: true,
			ring: s.ring, since: map[string]time.Duration{"v0": 0}, issues: "v0",
		})
	}
	return s
}

func (s *simulated) tell(format string, args ...any) {
	if *seed != 0 {
		s.log = append(s.log, fmt.Sprintf("%8v  ", s.now)+fmt.Sprintf(format, args...))
	}
}

// step is some seconds in the life of the fleet.
func (s *simulated) step() error {
	s.now += time.Duration(1+s.rng.IntN(8)) * time.Second
	for _, r := range s.replicas {
		switch n := s.rng.IntN(200); {
		case n == 0:
			r.up = false // and loses what it had in memory
			s.tell("%s dies", r.id)
		case n < 3:
			r.cut = !r.cut
			s.tell("%s cut off: %v", r.id, r.cut)
		case n < 40 && !r.up:
			r.up, r.plan = true, nil
			r.id += "'" // a new process, which nobody has heard of
			r.ring, r.since, r.issues = keyring.Ring{}, map[string]time.Duration{}, ""
		}
		if !r.up {
			continue
		}
		if s.rng.IntN(3) > 0 {
			s.reach(r)
		}
		if err := s.use(r); err != nil {
			return err
		}
	}
	if s.rng.IntN(60) == 0 {
		s.operate()
	}
	return s.check()
}

// reach is a replica's word with the store: read, say, and perhaps move the ring.
func (s *simulated) reach(r *simReplica) {
	if r.cut {
		return
	}
	r.load(s)
	report := Replica{ID: r.id, Seen: at(s.now), Issues: r.issues, Since: at(r.changed), Holds: map[string]time.Time{}}
	for id, since := range r.since {
		report.Holds[id] = at(since)
	}
	s.reports[r.id] = report
	if r.plan != nil {
		s.write(r)
		return
	}
	if s.rng.IntN(4) == 0 {
		s.decide(r)
	}
}

func (r *simReplica) load(s *simulated) {
	r.ring, r.heard = s.ring, s.now
	for v := range r.ring.Live() {
		if _, held := r.since[v.ID]; !held {
			r.since[v.ID] = s.now
		}
	}
	if id := r.ring.Active().ID; id != r.issues {
		r.issues, r.changed = id, s.now
	}
}

func (s *simulated) decide(r *simReplica) {
	k := Knowledge{Dependents: map[string]int{}}
	for _, report := range s.reports {
		k.Replicas = append(k.Replicas, report)
	}
	p := s.p
	if s.f.activateEarly {
		k.Replicas = nil
	}
	if s.f.retireEarly {
		p.Lifetime, k.Replicas = 0, nil
	}
	if s.f.keepNoWayBack {
		p.Guard, p.Lifetime, p.Skew, k.Replicas = 0, 0, 0, nil
	}
	d := Decide(s.ring, k, p, at(s.now))
	var next keyring.Ring
	var err error
	switch d.Move {
	case Activate:
		next, err = s.ring.Activate(d.Version, at(s.now))
	case Retire:
		next, err = s.ring.Retire(d.Version)
	default:
		return
	}
	if err != nil {
		return
	}
	r.plan = &plan{next, s.revision, string(d.Move) + " " + d.Version}
}

// write is compare-and-set, after a while in which anything may have happened.
func (s *simulated) write(r *simReplica) {
	p := r.plan
	r.plan = nil
	if p.revision != s.revision && !s.f.blindSwap {
		return // somebody was faster; decide anew
	}
	s.tell("%s: %s", r.id, p.what)
	s.ring = p.ring
	s.revision++
}

// operate is somebody with a command.
func (s *simulated) operate() {
	var next keyring.Ring
	var err error
	if s.rng.IntN(4) == 0 {
		next, err = s.ring.RollBack(at(s.now))
		s.tell("operator rolls back: %v", err)
	} else {
		s.made++
		id := fmt.Sprintf("v%d", s.made)
		next, err = s.ring.Add(keyring.Candidate{ID: id, Value: secret.NewValue([]byte(id))}, at(s.now))
		s.tell("operator adds %s: %v", id, err)
	}
	if err == nil {
		s.ring = next
		s.revision++
	}
}

// use is a user at a replica: something is issued, something is shown.
func (s *simulated) use(r *simReplica) error {
	lost := s.now-r.heard > s.p.Gone
	if !r.ring.IsZero() && (!lost || s.f.issueWhenLost) {
		s.artefacts = append(s.artefacts, artefact{r.ring.Active().ID, s.now + r.off + s.p.Lifetime, r.id})
	}
	for range 3 {
		if len(s.artefacts) == 0 {
			return nil
		}
		i := s.rng.IntN(len(s.artefacts))
		a := s.artefacts[i]
		if s.now+r.off >= a.expires || s.now >= a.expires {
			s.artefacts[i] = s.artefacts[len(s.artefacts)-1]
			s.artefacts = s.artefacts[:len(s.artefacts)-1]
			continue
		}
		_, err := r.ring.Lookup(a.version)
		if err != nil && !r.cut {
			r.load(s) // an unknown version: the sources are read again before it is refused
			_, err = r.ring.Lookup(a.version)
		}
		if err != nil && !r.cut {
			return fmt.Errorf("%s refuses what %s issued with %s: %w", r.id, a.by, a.version, err)
		}
	}
	return nil
}

var errNoWayBack = errors.New("within the guard window there is no way back")

// check is what must hold at every instant, whoever looks.
func (s *simulated) check() error {
	active := s.ring.Active()
	if active.ActivatedAt.IsZero() || active.Withdrawn || !at(s.now).Before(active.ActivatedAt.Add(s.p.Guard)) {
		return nil
	}
	if _, ok := s.ring.Previous(); ok {
		return nil
	}
	for v := range s.ring.All() {
		if v.Withdrawn && v.State == keyring.Retiring {
			return nil // this one came from a rollback: there is nothing before it
		}
	}
	return errNoWayBack
}

func simulate(seed uint64, f faults) error {
	s := newSimulated(seed, f)
	for range 600 {
		if err := s.step(); err != nil {
			for _, line := range s.log {
				fmt.Println(line)
			}
			return fmt.Errorf("seed %d, after %v: %w", seed, s.now, err)
		}
	}
	return nil
}

// What was issued is accepted by every replica that can know, through whatever
// happens to the fleet. A failing seed reproduces: -seed N.
func TestFleetsOfAllSorts(t *testing.T) {
	if *seed != 0 {
		if err := simulate(*seed, faults{}); err != nil {
			t.Error(err)
		}
		return
	}
	for n := range cmp.Or(*seeds, 1000) {
		if err := simulate(uint64(n)+1, faults{}); err != nil {
			t.Fatal(err)
		}
	}
}

// The simulation can fail: each rule that is broken is seen within some fleets.
func TestBrokenRulesShow(t *testing.T) {
	for name, f := range map[string]faults{
		"activated before everybody holds it": {activateEarly: true},
		"retired while something lives":       {retireEarly: true},
		"issued by a replica that is lost":    {issueWhenLost: true},
		"written without compare-and-set":     {blindSwap: true},
		"retired within the guard window":     {keepNoWayBack: true},
	} {
		t.Run(name, func(t *testing.T) {
			for n := range 5000 {
				if err := simulate(uint64(n)+1, f); err != nil {
					t.Log(err)
					return
				}
			}
			t.Error("5,000 fleets, and nothing showed")
		})
	}
}
