package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"keyway/internal/keyring"
)

// UnknownSecretError says that there is no secret of that name.
type UnknownSecretError struct{ Name string }

func (e *UnknownSecretError) Error() string {
	return fmt.Sprintf("there is no secret called %q", e.Name)
}

// RefusedError says why a request can't be done, and what would be right.
type RefusedError struct{ Secret, Why, Cure string }

func (e *RefusedError) Error() string { return fmt.Sprintf("%s: %s; %s", e.Secret, e.Why, e.Cure) }

// Request is what somebody wants of a secret.
type Request struct {
	// From is the version that was active when it was asked. If another one is
	// active by now, the request has been met already: two who ask at once get
	// one new version.
	From        string
	AskedBy     string
	Compromised bool
}

// met reports whether what was asked for is so already: another version than the
// one that was seen is active, and if that one is compromised, it is over.
func (q Request) met(ring keyring.Ring) bool {
	if q.From == "" || ring.Active().ID == q.From {
		return false
	}
	from, known := ring.Find(q.From)
	return !q.Compromised || !known || from.Compromised || !from.State.Live()
}

// Rotate begins a rotation, or joins the one that is under way. The result has no
// outcome yet, unless nothing is to be done, or only a person can.
func (r *Runner) Rotate(ctx context.Context, secret string, q Request) (Rotation, error) {
	s, err := r.find(secret)
	if err != nil {
		return Rotation{}, err
	}
	// Before anybody waits: who asked at the same instant finds another version
	// active then, and gets that.
	ring, err := r.o.Rings.Load(ctx, secret)
	if err != nil {
		return Rotation{}, err
	}
	s.asking.Lock()
	defer s.asking.Unlock()
	if ring.IsZero() {
		return Rotation{}, &RefusedError{secret, "it is not in use", "expected a secret that keyway status lists"}
	}
	if q.Compromised && q.From == "" {
		q.From = ring.Active().ID
	}
	for {
		if _, pending := ring.Pending(); !pending && s.Make == nil && !q.met(ring) {
			return r.needsOperator(ctx, s, ring, q)
		}
		rotation, next, err := r.begin(ctx, s, ring, q)
		if err != nil || !q.Compromised || q.met(next) {
			return rotation, err
		}
		if _, pending := next.Pending(); pending {
			return rotation, nil
		}
		// What was to be hurried was activated just before, with overlap. So another
		// one has to follow.
		ring = next
	}
}

// needsOperator is the answer when only a person can bring the next value. That
// the one in use is compromised is noted in the ring, so that the next takes over
// without overlap whatever becomes of this replica and of the journal: that tells
// what was asked, and nothing goes by it.
func (r *Runner) needsOperator(ctx context.Context, s *turning, ring keyring.Ring, q Request) (Rotation, error) {
	now := r.now(ctx)
	rotation := Rotation{ID: newID(), Secret: s.Name, From: ring.Active().ID, AskedBy: q.AskedBy, Compromised: q.Compromised, StartedAt: now}
	rotation.end(now, OutcomeNeedsOperator)
	rotation.Waiting = s.HandIn
	if !q.Compromised {
		return rotation, nil
	}
	next, err := r.o.Rings.Update(ctx, s.Name, q.expose)
	if err != nil {
		return Rotation{}, err
	}
	if _, pending := next.Pending(); pending || q.met(next) { // somebody was faster
		defer r.Wake()
		return r.joined(ctx, s, next, "", rotation.ID, q)
	}
	_, err = r.o.Journal.Update(ctx, s.Name, func(h *History) bool {
		there := h.first(func(r *Rotation) bool {
			return r.Outcome == OutcomeNeedsOperator && r.Compromised && r.From == rotation.From
		})
		if there != nil {
			rotation = there.clone()
			return false
		}
		h.begin(rotation)
		return true
	})
	return rotation, err
}

// expose notes in the ring that what was seen in use is compromised.
func (q Request) expose(ring keyring.Ring) (keyring.Ring, error) {
	if q.met(ring) {
		return ring, ErrUnchanged
	}
	if v, _ := ring.Find(q.From); v.Exposed {
		return ring, ErrUnchanged
	}
	return ring.Expose(q.From)
}

// now is the time by the clock that all dates are of, if it can be had.
func (r *Runner) now(ctx context.Context) time.Time {
	if roll, err := r.o.Fleet.Roll(ctx); err == nil {
		return roll.Now
	}
	return time.Now()
}

// begin returns the ring, too, as it is then.
func (r *Runner) begin(ctx context.Context, s *turning, ring keyring.Ring, q Request) (Rotation, keyring.Ring, error) {
	var candidate keyring.Candidate
	if _, pending := ring.Pending(); !pending && !q.met(ring) {
		if ring.Full() && !q.Compromised {
			return Rotation{}, ring, &RefusedError{
				s.Name, fmt.Sprintf("what was issued with the last %d versions may still live", keyring.MaxLive),
				"ask again when the oldest are retired, or end them all with: keyway rotate " + s.Name + " --compromised",
			}
		}
		var err error
		if candidate, err = s.Make(ctx); err != nil {
			return Rotation{}, ring, fmt.Errorf("making a new version: %w", err)
		}
		candidate.TakesOver = q.Compromised
	}
	now := r.now(ctx)
	id := newID()
	if candidate.ID != "" {
		_, err := r.o.Journal.Update(ctx, s.Name, func(h *History) bool {
			h.begin(Rotation{
				ID: id, Secret: s.Name, From: ring.Active().ID, To: candidate.ID, AskedBy: q.AskedBy, Compromised: q.Compromised,
				StartedAt: now, Steps: []Step{{At: now, What: StepMade}},
			})
			return true
		})
		if err != nil {
			return Rotation{}, ring, err
		}
	}
	next, err := r.o.Rings.Update(ctx, s.Name, func(there keyring.Ring) (keyring.Ring, error) {
		pending, waiting := there.Pending()
		switch {
		case waiting && q.Compromised && s.Make == nil: // it may be refused, and what is handed in after it is to take over, too
			return q.expose(there)
		case waiting && q.Compromised && !pending.TakesOver:
			return there.Urge(pending.ID)
		case waiting || candidate.ID == "" || q.met(there) || there.Active().ID != ring.Active().ID:
			return there, ErrUnchanged
		}
		return there.Add(candidate, now)
	})
	if err != nil {
		return Rotation{}, ring, err
	}
	defer r.Wake()
	rotation, err := r.joined(ctx, s, next, candidate.ID, id, q)
	return rotation, next, err
}

// joined is the rotation that a request has become part of: its own, or the one
// that was there.
func (r *Runner) joined(ctx context.Context, s *turning, ring keyring.Ring, made, id string, q Request) (Rotation, error) {
	to := ring.Active().ID
	if pending, ok := ring.Pending(); ok {
		to = pending.ID
	}
	var mine Rotation
	now := r.now(ctx)
	_, err := r.o.Journal.Update(ctx, s.Name, func(h *History) bool {
		_, changed := h.reconcile(ring, newID, now)
		if made != "" && made != to {
			h.drop(id)
			changed = true
		}
		if rotation := h.to(to); rotation != nil {
			if q.Compromised && rotation.Outcome == "" && !rotation.Compromised {
				rotation.Compromised, changed = true, true
			}
			mine = *rotation
		} else { // it is over for so long that nobody remembers
			mine = Rotation{ID: id, Secret: s.Name, From: q.From, To: to, AskedBy: q.AskedBy, StartedAt: now, EndedAt: now, Outcome: OutcomeUnchanged}
		}
		return changed
	})
	return mine, err
}

// renew begins a rotation by age.
func (r *Runner) renew(ctx context.Context, s *turning, ring keyring.Ring, d Decision) error {
	if s.Make == nil {
		return nil
	}
	s.asking.Lock()
	defer s.asking.Unlock()
	_, _, err := r.begin(ctx, s, ring, Request{From: ring.Active().ID, AskedBy: "schedule: " + d.Because})
	return err
}

// RollBack makes the previous version active again, at once: every replica holds
// it. While a new version is pending, it is that which is given up: the active one
// never changed.
func (r *Runner) RollBack(ctx context.Context, secret, askedBy string) (Rotation, error) {
	s, err := r.find(secret)
	if err != nil {
		return Rotation{}, err
	}
	// Before anybody waits: two who ask at once go back once.
	seen, err := r.o.Rings.Load(ctx, secret)
	if err != nil {
		return Rotation{}, err
	}
	s.asking.Lock()
	defer s.asking.Unlock()
	now := r.now(ctx)
	var was, given string
	next, err := r.o.Rings.Update(ctx, secret, func(there keyring.Ring) (keyring.Ring, error) {
		was, given = there.Active().ID, ""
		if was != seen.Active().ID {
			return there, ErrUnchanged
		}
		if pending, ok := there.Pending(); ok {
			given = pending.ID
			return there.Reject(pending.ID)
		}
		return there.RollBack(now)
	})
	if err == nil && was != seen.Active().ID {
		return r.alreadyBack(ctx, next, seen.Active().ID, askedBy, now)
	}
	if refused, ok := errors.AsType[*keyring.MoveError](err); ok {
		return Rotation{}, &RefusedError{secret, refused.Why, "What is retired, withdrawn or compromised does not come back; go on to a new version with: keyway rotate " + secret}
	}
	if err != nil {
		return Rotation{}, err
	}
	defer r.Wake()
	if given != "" {
		return r.gaveUp(ctx, next, given, askedBy, now)
	}
	rotation := Rotation{
		ID: newID(), Secret: secret, From: was, To: next.Active().ID, AskedBy: askedBy, StartedAt: now,
		Steps: []Step{{At: now, What: StepRolledBack, Detail: "asked for by " + askedBy}},
	}
	rotation.end(now, OutcomeActive)
	r.o.Observer.Moved(secret, OutcomeRolledBack)
	_, err = r.o.Journal.Update(ctx, secret, func(h *History) bool {
		h.reconcile(next, newID, now)
		h.begin(rotation)
		return true
	})
	return rotation, err
}

// Withdraw goes back from a version that is in use, because it was found to be no
// good: as the guard does, and recorded as that. It does nothing when another one is
// in use by then. The error is a *RefusedError when there is nothing to go back to.
func (r *Runner) Withdraw(ctx context.Context, secret, version, why string) error {
	s, err := r.find(secret)
	if err != nil {
		return err
	}
	s.asking.Lock()
	defer s.asking.Unlock()
	ring, err := r.o.Rings.Load(ctx, secret)
	if err != nil || ring.IsZero() || ring.Active().ID != version {
		return err
	}
	now := r.now(ctx)
	if _, err := ring.RollBack(now); err != nil { // it will not be done, and is not to be told of as begun
		return withdrawn(secret, err)
	}
	if _, err := r.o.Journal.Update(ctx, secret, func(h *History) bool {
		return h.note(version, StepRollBack, why, now)
	}); err != nil {
		return err
	}
	_, err = r.o.Rings.Update(ctx, secret, func(there keyring.Ring) (keyring.Ring, error) {
		if there.Active().ID != version {
			return there, ErrUnchanged
		}
		return there.RollBack(now)
	})
	if err == nil {
		r.Wake() // who leads writes down what came of it
	}
	return withdrawn(secret, err)
}

// withdrawn makes the error of Withdraw of that of the ring's move.
func withdrawn(secret string, err error) error {
	if refused, ok := errors.AsType[*keyring.MoveError](err); ok {
		return &RefusedError{secret, refused.Why, "Go on to a new version with: keyway rotate " + secret}
	}
	return err
}

// alreadyBack is the record of what somebody else was faster with.
func (r *Runner) alreadyBack(ctx context.Context, ring keyring.Ring, from, askedBy string, now time.Time) (Rotation, error) {
	to := ring.Active().ID
	var rotation Rotation
	_, err := r.o.Journal.Update(ctx, ring.Name(), func(h *History) bool {
		_, changed := h.reconcile(ring, newID, now)
		there := h.first(func(r *Rotation) bool { return r.To == to && r.From == from })
		if there == nil {
			there = h.begin(Rotation{ID: newID(), Secret: ring.Name(), From: from, To: to, AskedBy: askedBy, StartedAt: now})
			there.step(now, StepRolledBack, "somebody else was faster")
			there.end(now, OutcomeActive)
			changed = true
		}
		rotation = there.clone()
		return changed
	})
	return rotation, err
}

// gaveUp records that somebody did not want a pending version any more.
func (r *Runner) gaveUp(ctx context.Context, ring keyring.Ring, version, askedBy string, now time.Time) (Rotation, error) {
	var rotation Rotation
	_, err := r.o.Journal.Update(ctx, ring.Name(), func(h *History) bool {
		if there := h.to(version); there != nil && there.Outcome == "" {
			there.giveUp(now, StepRejecting, askedBy)
		}
		h.reconcile(ring, newID, now)
		there := h.to(version)
		if there == nil { // it was given up before anybody had written down that it was there
			there = h.begin(Rotation{ID: newID(), Secret: ring.Name(), From: ring.Active().ID, To: version, AskedBy: askedBy, StartedAt: now})
			there.giveUp(now, StepRejected, askedBy)
			there.end(now, OutcomeRejected)
		}
		there.rejectedBy(askedBy)
		rotation = there.clone()
		return true
	})
	return rotation, err
}

// History is the secret's rotations, as the journal has them.
func (r *Runner) History(ctx context.Context, secret string) (History, error) {
	if _, err := r.find(secret); err != nil {
		return History{}, err
	}
	return r.o.Journal.Load(ctx, secret)
}

func (r *Runner) find(secret string) (*turning, error) {
	s := r.secrets[secret]
	if s == nil {
		return nil, &UnknownSecretError{secret}
	}
	return s, nil
}
