package rotation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing/synctest"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/secret"
)

// A fleetSim is a fleet of real Runners in a world that is against them: replicas
// that lag, are cut off, paused in the middle of anything, die at any write and
// come back with clocks that are off; operators who ask for everything at once,
// at replicas that know less than others; a peer with a mind of its own.
//
// It runs in a synctest bubble, in which time passes only when all wait. The
// clocks of the store and of the replicas are told apart by their century, so that
// each date is known to be by the one or the other.
type fleetSim struct {
	rng     *rand.Rand
	vandals *rand.Rand
	b       broken
	kind    simKind
	p       Policy
	began   time.Time
	quiet   bool // no more events: the world heals

	mu       sync.Mutex
	off      time.Duration // of the store's clock
	ring     keyring.Ring
	revision int
	journal  History
	reports  map[string]Replica
	refusals map[string]Refusals
	fetched  map[string]time.Time
	leader   string
	until    time.Time
	hosts    []*host
	made     int
	peer     simPeer
	arts     []artefactOf
	retired  map[string]time.Duration // by the store's clock, when
	inFlight []inFlight
	checks   checks
	story    []string
	telling  bool
	err      error
}

// simKind is what kind of secret turns.
type simKind string

const (
	issues   simKind = "what is issued names its version" // and what a compromised one issued is over
	seals    simKind = "what is sealed can be sealed anew"
	presents simKind = "a client secret that is handed in"
	signs    simKind = "a signing key that a peer fetches"
)

// host is where one replica after the other runs.
type host struct {
	name  string
	off   time.Duration // of its clock
	cut   bool          // from the store
	given string        // the value that is handed in here
	prior string        // beside it, as NAME_PREVIOUS
	p     *process      // nil: none runs
	n     int
}

// process is a replica from its start to its end.
type process struct {
	f       *fleetSim
	h       *host
	id      string
	rng     *rand.Rand
	dead    bool
	busy    bool // one of its threads is in the middle of something
	ring    keyring.Ring
	heard   time.Time
	since   map[string]time.Time
	issues  string
	changed time.Time // when it began to issue with that
	refused []time.Time
	fetched time.Time
	lease   time.Time
	request Request // that it is at
	runner  *Runner
}

// The store's clock is centuries ahead of what a replica reads from its own.
const century = 100 * 365 * 24 * time.Hour

func (f *fleetSim) now() time.Time { return time.Now().Add(century + f.off) }

func (f *fleetSim) tell(format string, args ...any) {
	if f.telling {
		f.story = append(f.story, fmt.Sprintf("%8.1fs  %s", time.Since(f.began).Seconds(), fmt.Sprintf(format, args...)))
	}
}

func (f *fleetSim) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf(format, args...)
		f.tell("FAILED: %v", f.err)
	}
}

func newFleetSim(seed uint64, b broken, telling bool) *fleetSim {
	f := &fleetSim{
		rng: rand.New(rand.NewPCG(seed, 2)), vandals: rand.New(rand.NewPCG(seed, 5)), b: b, began: time.Now(), telling: telling, //nolint:gosec // to be repeated
		reports: map[string]Replica{}, refusals: map[string]Refusals{}, fetched: map[string]time.Time{}, retired: map[string]time.Duration{},
	}
	f.kind = []simKind{issues, seals, presents, signs}[f.rng.IntN(4)]
	if b.kind != "" {
		f.kind = b.kind
	}
	f.p = Policy{Kind: Inward, Guard: 90 * time.Second, Lifetime: 4 * time.Minute, Skew: 30 * time.Second, Gone: 15 * time.Second, Limit: 3}
	switch f.kind {
	case seals:
		f.p.Condemned = time.Minute
	case presents:
		f.p.Kind, f.p.Provable, f.p.Lifetime = Outward, !f.b.noHold, 10*time.Second
	case signs:
		f.p.Kind, f.p.Provable, f.p.Lifetime = Outward, !f.b.noHold, 20*time.Second
	}
	if f.kind != presents && f.rng.IntN(3) == 0 {
		f.p.Every = 10 * time.Minute
	}
	f.ring, _ = keyring.New("k", keyring.Version{
		ID: "v0", State: keyring.Active, CreatedAt: f.now(), ActivatedAt: f.now().Add(-time.Hour), Value: secret.NewValue([]byte("v0")),
	})
	f.peer = newSimPeer(f)
	f.checks = newChecks()
	for i := range 2 + f.rng.IntN(3) {
		h := &host{name: fmt.Sprintf("r%d", i), off: time.Duration(f.rng.IntN(20)-10) * time.Second}
		if f.kind == presents {
			h.given = "v0"
		}
		f.hosts = append(f.hosts, h)
		f.start(h)
	}
	f.tell("%s; %d replicas, by age %v", f.kind, len(f.hosts), f.p.Every)
	return f
}

func (f *fleetSim) start(h *host) {
	h.n++
	p := &process{
		f: f, h: h, id: fmt.Sprintf("%s.%d", h.name, h.n), since: map[string]time.Time{},
		rng: rand.New(rand.NewPCG(f.rng.Uint64(), 3)), //nolint:gosec // to be repeated
	}
	jitter := rand.New(rand.NewPCG(f.rng.Uint64(), 4)) //nolint:gosec // to be repeated
	s := Secret{Name: "k", Policy: p.policy, Make: p.candidate, HandIn: "hand it in"}
	switch f.kind {
	case presents:
		s.Make = nil
		s.Prove = p.prove(jitter)
	case signs:
		s.Prove = p.prove(jitter)
	default:
		s.Tend = p.tend(jitter)
	}
	var err error
	p.runner, err = NewRunner(Options{Rings: simRings{p}, Journal: simJournal{p}, Fleet: simFleet{p}, Secrets: []Secret{s}})
	if err != nil {
		panic(err)
	}
	p.runner.random = func() float64 { return 0.5 }
	h.p = p
	p.load()
}

// load is what a replica does when it reads the fleet's ring: it serves with it,
// and says so.
func (p *process) load() {
	f := p.f
	p.heard = time.Now()
	if !f.b.deaf || p.ring.IsZero() {
		p.ring = f.ring
	}
	for v := range p.ring.Live() {
		if _, held := p.since[v.ID]; !held {
			p.since[v.ID] = f.now()
		}
	}
	if id := p.ring.Active().ID; id != p.issues {
		p.issues, p.changed, p.refused = id, f.now(), nil
	}
	f.reports[p.id] = Replica{ID: p.id, Seen: f.now(), Issues: p.issues, Since: p.changed, Holds: clone(p.since)}
	f.refusals[p.id] = Refusals{InGuard: len(p.refused)}
	f.fetched[p.id] = p.fetched
}

func clone(m map[string]time.Time) map[string]time.Time {
	c := make(map[string]time.Time, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// lost: nobody counts on it any more.
func (p *process) lost() bool { return time.Since(p.heard) > p.f.p.Gone }

// do has a process do something, of which each access to the store takes as long
// as it takes. It has one thread for that.
func (p *process) do(what func(context.Context)) {
	p.busy = true
	go func() {
		what(context.Background())
		p.f.mu.Lock()
		p.busy = false
		p.f.mu.Unlock()
	}()
	p.f.mu.Unlock()
	synctest.Wait()
	p.f.mu.Lock()
}

func (p *process) idle() bool { return p != nil && !p.dead && !p.busy }

// step is some seconds in the life of the fleet.
func (f *fleetSim) step() {
	f.mu.Lock()
	pause := time.Duration(f.rng.IntN(6000))*time.Millisecond + time.Duration(f.rng.IntN(1_000_000))
	f.mu.Unlock()
	if f.quiet {
		pause += 20 * time.Second
	}
	time.Sleep(pause)
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ring.IsZero() {
		f.fail("3: the store has half a ring, which nobody can load")
		return
	}
	if !f.quiet {
		f.happen()
	}
	f.peer.step(f)
	for _, h := range f.hosts {
		if f.quiet && h.p != nil && !h.p.dead {
			h.p.load()
		}
	}
	for _, h := range f.hosts {
		if h.p == nil || h.p.dead {
			continue
		}
		if !h.cut && (f.quiet || f.rng.IntN(3) > 0) {
			h.p.load()
			f.handIn(h)
		}
		if h.p.idle() && (f.quiet || f.rng.IntN(2) == 0) {
			p := h.p
			p.do(func(ctx context.Context) { p.runner.pass(ctx) })
		}
		f.use(h.p)
	}
	f.check()
}

// happen is what nobody wished for.
func (f *fleetSim) happen() {
	for _, h := range f.hosts {
		switch n := f.rng.IntN(400); {
		case n < 4 && f.peer.calm(f):
		case n == 0 && h.p != nil:
			f.tell("%s dies", h.p.id)
			h.p.dead, h.p = true, nil
		case n < 4:
			h.cut = !h.cut
			f.tell("%s cut off: %v", h.name, h.cut)
		case n == 4:
			h.off = time.Duration(f.rng.IntN(40)-20) * time.Minute
			f.tell("%s has a clock that is %v off", h.name, h.off)
		case n < 60 && (h.p == nil || h.p.dead) && !h.cut:
			f.start(h)
			f.tell("%s starts", h.p.id)
		}
	}
	switch f.rng.IntN(400) {
	case 0:
		f.off -= time.Duration(f.rng.IntN(180)) * time.Second
		f.tell("the store's clock is set back, to be %v off", f.off)
	case 1:
		f.leader = "" // the lease is lost: somebody else may lead meanwhile
	}
	f.vandal()
	if f.rng.IntN(12) == 0 {
		f.operate(f.hosts[f.rng.IntN(len(f.hosts))])
		if f.rng.IntN(3) == 0 { // two at once
			f.operate(f.hosts[f.rng.IntN(len(f.hosts))])
		}
	}
}

// vandal is somebody who can write to the store and has no key: he empties the
// journal, or writes into it what nobody has asked for.
func (f *fleetSim) vandal() {
	switch f.vandals.IntN(300) {
	case 0:
		f.tell("the journal is emptied")
		f.journal, f.checks.answers = History{}, nil
		f.checks.emptied++
	case 1:
		from := f.ring.Active().ID
		f.tell("the journal is made to say that %s is compromised", from)
		r := f.journal.begin(Rotation{ID: newID(), Secret: "k", From: from, Compromised: true, StartedAt: f.now()})
		r.end(f.now(), OutcomeNeedsOperator)
	}
}

// operate is somebody with a command.
func (f *fleetSim) operate(h *host) {
	p := h.p
	if !p.idle() || p.lost() {
		return
	}
	switch n := f.rng.IntN(10); {
	case n == 0:
		p.do(p.rollBack)
	case n == 1:
		p.rotate(true)
	case n == 2 && f.kind != presents: // a sidecar proposes one, or it was in use elsewhere
		f.made++
		id := fmt.Sprintf("x%d", f.made)
		c := keyring.Candidate{ID: id, Value: secret.NewValue([]byte(id))}
		if f.kind == issues && f.rng.IntN(2) == 0 {
			p.do(func(ctx context.Context) {
				_, err := p.runner.HandIn(ctx, "k", keyring.Candidate{ID: f.someKnown()}, &c)
				f.accepted(p, id, err)
			})
			return
		}
		p.do(func(ctx context.Context) {
			_, err := p.runner.HandIn(ctx, "k", c, nil)
			f.note("a sidecar of %s proposes %s: %v", p.id, id, err)
		})
	case f.kind == presents:
		f.peer.change(f)
	default:
		p.rotate(false)
	}
}

func (f *fleetSim) someKnown() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ring.Active().ID
}

func (f *fleetSim) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tell(format, args...)
}

// accepted: what was in use elsewhere is so until now.
func (f *fleetSim) accepted(p *process, id string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tell("%s was handed %s as the previous value: %v", p.id, id, err)
	if v, known := f.ring.Find(id); known && v.State == keyring.Retiring && err == nil {
		f.arts = append(f.arts, artefactOf{id, time.Now().Add(f.p.Lifetime), "another gateway"})
	}
}

func (p *process) rotate(compromised bool) {
	f := p.f
	q := Request{From: p.ring.Active().ID, AskedBy: p.id, Compromised: compromised}
	p.request = q
	if compromised {
		f.checks.compromised = true
	}
	if f.b.askAgain {
		q.From = ""
	}
	emptied := f.checks.emptied
	p.do(func(ctx context.Context) {
		r, err := p.runner.Rotate(ctx, "k", q)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.tell("%s was asked to rotate from %s, compromised: %v; to %s %s, %v", p.id, p.request.From, compromised, r.To, r.Outcome, err)
		if err == nil {
			f.checks.answered(p.request, r, emptied)
		}
		p.request = Request{}
	})
}

func (p *process) rollBack(ctx context.Context) {
	f := p.f
	f.mu.Lock()
	_, pending := f.ring.Pending()
	_, previous := f.ring.Previous()
	revision, emptied := f.revision, f.checks.emptied
	f.mu.Unlock()
	r, err := p.runner.RollBack(ctx, "k", p.id)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tell("%s was asked to roll back: to %s %s, %v", p.id, r.To, r.Outcome, err)
	var refused *RefusedError
	if errors.As(err, &refused) && (pending || previous) && f.revision == revision {
		f.fail("8: a rollback was refused: %v", err)
	}
	if err == nil {
		f.checks.answered(Request{}, r, emptied)
	}
}

// handIn proposes what is handed in on the host.
func (f *fleetSim) handIn(h *host) {
	if h.given == "" || !h.p.idle() {
		return
	}
	_, known := h.p.ring.Find(h.given)
	_, prior := h.p.ring.Find(h.prior)
	if known && (prior || h.prior == "") {
		return
	}
	p, c := h.p, keyring.Candidate{ID: h.given, Value: secret.NewValue([]byte(h.given)), HandedIn: true}
	var previous *keyring.Candidate
	if h.prior != "" {
		previous = &keyring.Candidate{ID: h.prior, Value: secret.NewValue([]byte(h.prior)), HandedIn: true}
	}
	p.do(func(ctx context.Context) {
		v, err := p.runner.HandIn(ctx, "k", c, previous)
		f.note("%s was handed %s: %s, %v", p.id, c.ID, v.State, err)
	})
}

// simulateFleet runs one fleet in a bubble.
func simulateFleet(seed uint64, b broken, telling bool) (story []string, err error) {
	f := newFleetSim(seed, b, telling)
	for n := range 220 + healing {
		if n == 220 {
			f.heal()
		}
		if f.step(); f.err != nil {
			break
		}
	}
	f.mu.Lock()
	if f.err == nil {
		f.checkEnd()
	}
	for _, h := range f.hosts {
		if h.p != nil {
			h.p.dead = true
		}
	}
	f.mu.Unlock()
	time.Sleep(time.Minute) // for whoever is in the middle of something
	synctest.Wait()
	if f.err != nil {
		return f.story, fmt.Errorf("seed %d (%s): %w", seed, f.kind, f.err)
	}
	return nil, nil
}

// healing is how many steps a fleet is left in peace for at its end.
const healing = 45

func (f *fleetSim) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.quiet = true
	f.tell("the world heals")
	f.peer.heal(f)
	for _, h := range f.hosts {
		h.cut, h.off = false, 0
		if h.p == nil || h.p.dead {
			f.start(h)
		}
		if f.kind == presents {
			h.given, h.prior = f.peer.newest(), ""
		}
	}
}
