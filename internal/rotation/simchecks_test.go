package rotation

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"keyway/internal/keyring"
)

// artefactOf is something that was issued, or sealed, with a version.
type artefactOf struct {
	version string
	expires time.Time
	by      string
}

// inFlight is a request that began when a version was active, and is not done.
type inFlight struct {
	artefactOf
	p    *process
	done time.Time
}

// checks remember what is needed to see that a rule was broken.
type checks struct {
	madeFrom map[string]string // what was made because this one was active
	back     map[string]string // to which version one can go back from this one
	promised []promise
	exposed  map[string]bool // somebody was told that what comes next ends these
	emptied  int             // how often the journal was
	// compromised: somebody has asked for that at all.
	compromised bool
	answers     []string
	latest      time.Time // that the store's clock has shown
}

// promise is a compromised version that somebody was told is going to be over.
type promise struct{ from, to string }

func newChecks() checks {
	return checks{madeFrom: map[string]string{}, back: map[string]string{}, exposed: map[string]bool{}}
}

// answered notes what somebody was told. There is no record of it if the journal was
// emptied since he asked.
func (c *checks) answered(q Request, r Rotation, emptied int) {
	if r.Outcome == OutcomeNeedsOperator && q.Compromised {
		c.exposed[q.From] = true
	}
	if r.Outcome == OutcomeNeedsOperator || r.Outcome == OutcomeUnchanged {
		return
	}
	if emptied == c.emptied {
		c.answers = append(c.answers, r.ID)
	}
	if q.Compromised && (r.Outcome == "" || r.Outcome == OutcomeActive) {
		c.promised = append(c.promised, promise{q.From, r.To})
	}
}

// use is a user at a replica: something is issued, something is shown.
func (f *fleetSim) use(p *process) {
	if p == nil || p.dead {
		return
	}
	if f.p.Kind == Outward {
		f.present(p)
		f.present(p)
		return
	}
	now := time.Now()
	f.inFlight = slices.DeleteFunc(f.inFlight, func(i inFlight) bool {
		if now.Before(i.done) {
			return false
		}
		if !i.p.dead && !(i.p.h.cut && f.kind == seals) {
			f.arts = append(f.arts, i.artefactOf)
		}
		return true
	})
	if !p.lost() || f.b.issueWhenLost {
		a := artefactOf{p.ring.Active().ID, now.Add(f.p.Lifetime + min(max(p.h.off, -10*time.Second), 10*time.Second)), p.id}
		if f.rng.IntN(3) == 0 {
			f.inFlight = append(f.inFlight, inFlight{a, p, now.Add(time.Duration(f.rng.IntN(5000)) * time.Millisecond)})
		} else if !(p.h.cut && f.kind == seals) {
			f.arts = append(f.arts, a)
		}
	}
	for range 4 {
		if len(f.arts) > 0 {
			f.show(p, f.rng.IntN(len(f.arts)))
		}
	}
}

// show brings an artefact to a replica.
func (f *fleetSim) show(p *process, i int) {
	a := &f.arts[i]
	over := func() { f.arts = slices.Delete(f.arts, i, i+1) }
	if !time.Now().Before(a.expires) {
		over()
		return
	}
	v, err := p.ring.Lookup(a.version)
	if err != nil && !p.h.cut && !f.b.refuseUnread {
		p.load()
		v, err = p.ring.Lookup(a.version)
	}
	there, known := f.ring.Find(a.version)
	if err == nil {
		if ended, is := f.retired[a.version]; is && there.Compromised && !p.lost() && f.sinceBegan()-ended > 2*f.p.Gone {
			f.fail("compromise: %s accepts what was issued with %s, which has been over for long", p.id, a.version)
		}
		if f.kind == seals && !p.lost() && !p.h.cut && v.ID != p.ring.Active().ID && f.rng.IntN(2) == 0 {
			a.version = p.ring.Active().ID // it was written again
		}
		return
	}
	switch {
	case p.h.cut && !f.b.refuseUnread: // 503: it can't know
	case known && there.Compromised && f.kind == issues:
		over()
	case known && there.Compromised && f.retired[a.version] >= there.RetiresAt.Sub(f.began.Add(century))+f.p.Condemned:
		over()
	case known && there.Compromised:
		f.fail("compromise: what %s had sealed with %s was not sealed anew before that was erased", a.by, a.version)
	case f.b.refuseUnread:
		f.fail("2: %s refuses what %s issued with %s, without having read again: %v", p.id, a.by, a.version, err)
	default:
		f.fail("1: %s refuses what %s issued with %s: %v", p.id, a.by, a.version, err)
	}
}

func (f *fleetSim) sinceBegan() time.Duration { return f.now().Sub(f.began.Add(century)) }

// tend is Secret.Tend of a process.
func (p *process) tend(jitter *rand.Rand) func(context.Context, keyring.Ring) (map[string]int, error) {
	return func(_ context.Context, ring keyring.Ring) (map[string]int, error) {
		time.Sleep(time.Duration(1 + jitter.Int64N(int64(2*time.Second))))
		f := p.f
		f.mu.Lock()
		if p.dead || p.h.cut {
			f.mu.Unlock()
			return nil, errNoWay
		}
		if p.ring.Active().ID != ring.Active().ID {
			p.load()
		}
		counts := map[string]int{}
		for v := range ring.Live() {
			if v.State == keyring.Retiring {
				counts[v.ID] = 0
			}
		}
		for i := range f.arts {
			a := &f.arts[i]
			if _, err := p.ring.Lookup(a.version); f.kind == seals && err == nil {
				a.version = p.ring.Active().ID
			}
			if n, retiring := counts[a.version]; retiring && time.Now().Before(a.expires) {
				counts[a.version] = n + 1
			}
		}
		f.mu.Unlock()
		time.Sleep(time.Duration(1 + jitter.Int64N(int64(3*time.Second))))
		return counts, nil
	}
}

// write is the ring going on: what must hold of each move.
func (f *fleetSim) write(p *process, next keyring.Ring) {
	was := f.ring
	f.tell("%s: %s", p.id, textOf(next))
	for v := range was.All() {
		w, known := next.Find(v.ID)
		switch {
		case !known && next.Forgot(v):
		case !known:
			f.fail("ids: %s is forgotten, and could be used again", v.ID)
		case !v.State.Live() && w.State != v.State, v.State != keyring.Pending && w.State == keyring.Pending:
			f.fail("ids: %s is back from the dead: it was %s, and is %s", v.ID, v.State, w.State)
		case w.Compromised && !f.checks.compromised:
			f.fail("compromise: %s is ended as compromised, which nobody has ever asked for", v.ID)
		case v.Withdrawn && !w.Withdrawn, v.Compromised && !w.Compromised:
			f.fail("8: %s was withdrawn or compromised, and that is forgotten", v.ID)
		case w.State.Live() && !bytes.Equal(v.Value.Reveal(), w.Value.Reveal()):
			f.fail("ids: %s has another value", v.ID)
		}
		if known && v.State.Live() && !w.State.Live() {
			f.retired[v.ID] = f.sinceBegan()
		}
	}
	f.checkMove(p, was, next)
	f.ring = next
	f.revision++
}

func (f *fleetSim) checkMove(p *process, was, next keyring.Ring) {
	c := &f.checks
	if pending, ok := next.Pending(); ok && strings.HasPrefix(pending.ID, "m") && !p.request.Compromised && p.request.From != "" {
		if _, known := was.Find(pending.ID); !known {
			from := p.request.From
			if before, made := c.madeFrom[from]; made {
				if v, _ := next.Find(before); v.State != keyring.Rejected && !v.Withdrawn {
					f.fail("4: who asked because %s was active got %s, and another one got %s", from, before, pending.ID)
				}
			}
			c.madeFrom[from] = pending.ID
		}
	}
	active, before := next.Active(), was.Active()
	if previous, ok := was.Previous(); ok && active.ID == previous.ID && previous.ID != c.back[before.ID] {
		if w, _ := was.Find(c.back[before.ID]); w.State == keyring.Retiring && !w.Withdrawn && !w.Compromised && !w.Exposed {
			f.fail("8: rolled back to %s, although %s was active last", active.ID, w.ID)
		}
	}
	if active.ID != before.ID {
		if v, known := was.Find(active.ID); known && v.State == keyring.Pending {
			f.checkActivation(active)
			for id := range c.exposed {
				if v, _ := next.Find(id); v.State.Live() && !v.Compromised {
					f.fail("compromise: %s, which was to be ended when another comes, is %s, and %s has come", id, v.State, active.ID)
				}
			}
		} else {
			delete(c.madeFrom, active.ID) // it is back, and may be replaced again
		}
		old, _ := next.Find(before.ID)
		if !old.Compromised && !old.Withdrawn {
			c.back[active.ID] = old.ID
		}
	}
	if back, ok := c.back[active.ID]; ok && active.ID == before.ID {
		v, _ := next.Find(back)
		w, _ := was.Find(back)
		if w.State == keyring.Retiring && v.State == keyring.Retired && later(c.latest, f.now()).Before(active.ActivatedAt.Add(f.p.Guard)) {
			f.fail("8: %s is retired while %s is watched", back, active.ID)
		}
	}
}

// checkActivation: every replica that counts holds it, and the peer can.
func (f *fleetSim) checkActivation(v keyring.Version) {
	for _, h := range f.hosts {
		if h.p != nil && !h.p.dead && !h.p.lost() {
			if _, err := h.p.ring.Lookup(v.ID); err != nil {
				f.fail("1: %s becomes active, which %s does not hold: it last said %+v", v.ID, h.p.id, f.reports[h.p.id])
			}
		}
	}
	switch {
	case f.kind == presents && !f.peer.ever[v.ID]:
		f.fail("6: %s becomes active, which the peer has never accepted", v.ID)
	case f.kind == signs && !f.peer.ever[v.ID] && f.now().Before(v.CreatedAt.Add(f.peer.maxAge)):
		f.fail("54: %s signs, which the peer can't have fetched: it holds %v", v.ID, f.peer.keys)
	}
}

// check is what must hold at every instant, whoever looks.
func (f *fleetSim) check() {
	f.checks.latest = later(f.checks.latest, f.now())
	if f.ring.IsZero() {
		f.fail("3: the ring can't be loaded")
		return
	}
	f.checks.promised = slices.DeleteFunc(f.checks.promised, func(p promise) bool {
		to, known := f.ring.Find(p.to)
		if known && to.State == keyring.Pending {
			return false
		}
		if from, _ := f.ring.Find(p.from); known && to.State != keyring.Rejected && from.State.Live() && !from.Compromised {
			f.fail("compromise: %s, which was to be ended when %s comes, is %s", p.from, p.to, from.State)
		}
		return true
	})
}

// checkEnd is what must hold when the fleet was left in peace for long.
func (f *fleetSim) checkEnd() {
	for _, id := range f.checks.answers {
		if f.journal.Find(id) == nil && len(f.journal.Rotations) < maxHistory {
			f.fail("3: somebody was told of the rotation %s, of which there is no record", id)
		}
	}
	for _, r := range f.journal.Rotations {
		v, known := f.ring.Find(r.To)
		want := OutcomeActive
		switch {
		case r.To == "":
			want = OutcomeNeedsOperator
		case !known:
			want = OutcomeFailed
		case v.State == keyring.Pending:
			want = ""
		case v.State == keyring.Rejected, v.Withdrawn && v.ActivatedAt.IsZero():
			want = OutcomeRejected
		case v.Withdrawn:
			want = OutcomeRolledBack
		}
		if r.Outcome == "" && f.now().Sub(r.StartedAt) < 3*time.Minute {
			continue // it has just begun
		}
		if r.Outcome != want {
			f.fail("3: the record of the rotation to %s says %q, and it is %s, so %q", r.To, r.Outcome, v.State, want)
		}
	}
	now := f.now()
	for v := range f.ring.Live() {
		switch {
		case v.State == keyring.Pending && now.Sub(v.CreatedAt) > 10*time.Minute:
			f.fail("%s is pending for ever", v.ID)
		case v.State == keyring.Retiring && f.p.Kind == Inward && now.Sub(v.RetiresAt) > 10*time.Minute:
			f.fail("%s is retiring for ever", v.ID)
		}
	}
}

func textOf(r keyring.Ring) string {
	var all []string
	for v := range r.All() {
		text := v.ID + " " + string(v.State)
		if v.TakesOver {
			text += " (takes over)"
		}
		if v.Compromised {
			text += " (compromised)"
		}
		if v.Withdrawn {
			text += " (withdrawn)"
		}
		if v.State.Live() {
			all = append(all, text)
		}
	}
	return strings.Join(all, ", ")
}
