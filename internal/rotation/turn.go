package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"keyway/internal/keyring"
)

// turn makes the moves of one secret that can be made now.
func (r *Runner) turn(ctx, run context.Context, s *turning, roll Roll, clock func() time.Time) (again time.Duration, err error) {
	for range maxMoves {
		ring, err := r.o.Rings.Load(ctx, s.Name)
		if err != nil || ring.IsZero() {
			return idle, err
		}
		policy := s.Policy(ring)
		k := r.know(run, s, ring, policy, roll)
		if pending, ok := ring.Pending(); ok && s.Prove != nil {
			if _, asked := k.Proofs[pending.ID]; !asked {
				// Time alone says nothing before the peer has been asked from here: it may have
				// refused it to whoever led before.
				policy.Published = 0
			}
		}
		now := clock()
		// Who lives is by the time of what replicas said: to go by a later one would be to
		// take those for gone that have spoken since.
		d := Decide(ring, k, policy, roll.Now)
		if err := r.write(ctx, s, ring, d, k, policy, now); err != nil {
			return idle, err
		}
		if d.Move == Wait {
			return r.patience(ring, d, now), nil
		}
		err = r.move(ctx, s, ring, d, policy, now)
		if err != nil && !errors.Is(err, errMoved) {
			return idle, fmt.Errorf("%s: %w", d.Move, err)
		}
	}
	return eager, nil
}

// patience is when to look again.
func (r *Runner) patience(ring keyring.Ring, d Decision, now time.Time) time.Duration {
	wait := idle
	if !d.Again.IsZero() {
		wait = min(wait, max(d.Again.Sub(now), eager))
	}
	if _, pending := ring.Pending(); pending {
		r.mu.Lock()
		hurried := time.Now().Before(r.hurry)
		r.mu.Unlock()
		wait = min(wait, time.Second)
		if hurried {
			wait = eager
		}
	}
	return wait
}

// know gathers what a decision rests on, and has what is not known yet asked for.
func (r *Runner) know(run context.Context, s *turning, ring keyring.Ring, p Policy, roll Roll) Knowledge {
	k := Knowledge{Replicas: roll.Replicas(s.Name), Refusals: roll.Refusals(s.Name, ring.Active().ID)}
	if pending, ok := ring.Pending(); ok && s.Prove != nil {
		lacking, _ := holders(k.Replicas, pending.ID, p.Gone, roll.Now)
		if len(lacking) == 0 { // published everywhere, so that the peer can know it
			s.proofs.ask(run, r, s, pending, roll.Fetched(s.Name))
		}
		if proof, asked := s.proofs.of(pending.ID); asked {
			k.Proofs = map[string]Proof{pending.ID: proof}
		}
	}
	if active := ring.Active(); s.Prove != nil && k.Proofs == nil && waitsToRetire(ring, p, roll.Now) {
		s.proofs.ask(run, r, s, active, time.Time{})
		if proof, asked := s.proofs.of(active.ID); asked {
			k.Proofs = map[string]Proof{active.ID: proof}
		}
	}
	if s.Tend != nil {
		k.Dependents, k.CountedAt = s.tended.look(run, r, s, ring, roll.Now)
	}
	return k
}

// waitsToRetire reports whether an old version could go, for all that time says.
func waitsToRetire(ring keyring.Ring, p Policy, now time.Time) bool {
	if _, pending := ring.Pending(); pending || now.Before(ring.Active().ActivatedAt.Add(p.Guard)) {
		return false
	}
	for v := range ring.Live() {
		if v.State == keyring.Retiring {
			return true
		}
	}
	return false
}

// write brings the journal up to what the ring shows and the decision waits for.
func (r *Runner) write(ctx context.Context, s *turning, ring keyring.Ring, d Decision, k Knowledge, p Policy, now time.Time) error {
	var ended []Rotation
	edit := func(h *History) bool {
		var changed bool
		ended, changed = h.reconcile(ring, newID, now)
		if pending, ok := ring.Pending(); ok {
			if lacking, _ := holders(k.Replicas, pending.ID, p.Gone, now); len(lacking) == 0 {
				changed = h.note(pending.ID, StepHeld, "by every live replica", now) || changed
			}
			if proof := k.Proofs[pending.ID]; proof.Accepted {
				changed = h.note(pending.ID, StepProved, "the peer accepts it", now) || changed
			}
			if d.Move == Wait && d.Version == pending.ID {
				operator := ""
				if s.Operator != nil {
					operator = s.Operator(pending, k.Proofs[pending.ID])
				}
				changed = h.tell(d, operator) || changed
			}
		}
		active := ring.Active()
		if p.Guard > 0 && !active.ActivatedAt.IsZero() && !now.Before(active.ActivatedAt.Add(p.Guard)) && d.Move != RollBack {
			changed = h.note(active.ID, StepGuarded, fmt.Sprintf("%s without trouble", p.Guard), now) || changed
		}
		return changed
	}
	h, err := r.o.Journal.Load(ctx, s.Name)
	if err != nil {
		return err
	}
	if probe := h.Clone(); !edit(&probe) {
		return nil // most often there is nothing to write
	}
	ended = nil
	if _, err := r.o.Journal.Update(ctx, s.Name, edit); err != nil {
		return err
	}
	for _, rotation := range ended {
		r.o.Observer.Moved(s.Name, rotation.Outcome)
		r.o.Log.Info("rotation", "secret", s.Name, "from", rotation.From, "to", rotation.To, "outcome", rotation.Outcome)
	}
	return nil
}

// move makes one move: the journal first, then the ring, by compare-and-set from
// the ring that was decided on.
func (r *Runner) move(ctx context.Context, s *turning, ring keyring.Ring, d Decision, p Policy, now time.Time) error {
	if d.Move == Make {
		return r.renew(ctx, s, ring, d)
	}
	step, version, apply := planned(ring, d, p, now)
	_, err := r.o.Journal.Update(ctx, s.Name, func(h *History) bool {
		if rotation := h.to(version); rotation != nil {
			rotation.step(now, step, d.Because)
			rotation.Waiting, rotation.Blocked, rotation.NextAt = "", nil, time.Time{}
			return true
		}
		return false
	})
	if err != nil {
		return err
	}
	_, err = r.o.Rings.Update(ctx, s.Name, func(there keyring.Ring) (keyring.Ring, error) {
		if !keyring.Same(there, ring) {
			return keyring.Ring{}, errMoved
		}
		return apply(there)
	})
	if err != nil {
		return err
	}
	r.o.Log.Info("secret moved", "secret", s.Name, "move", string(d.Move), "version", d.Version, "because", d.Because)
	s.tended.again()
	if d.Move == Retire {
		_, err = r.o.Journal.Update(ctx, s.Name, func(h *History) bool {
			return h.note(version, StepRetired, d.Version, now)
		})
	}
	return err
}

// planned is how a decision is written down (with the rotation to which version, as
// which step) and done.
func planned(ring keyring.Ring, d Decision, p Policy, now time.Time) (step, version string, apply func(keyring.Ring) (keyring.Ring, error)) {
	switch d.Move {
	case Activate:
		return StepActivating, d.Version, func(r keyring.Ring) (keyring.Ring, error) { return r.Activate(d.Version, now) }
	case TakeOver:
		return StepActivating, d.Version, func(r keyring.Ring) (keyring.Ring, error) {
			if p.Condemned > 0 {
				return r.Condemn(d.Version, now)
			}
			return r.Compromise(d.Version, now)
		}
	case Reject:
		return StepRejecting, d.Version, func(r keyring.Ring) (keyring.Ring, error) { return r.Reject(d.Version) }
	case RollBack:
		return StepRollBack, ring.Active().ID, func(r keyring.Ring) (keyring.Ring, error) { return r.RollBack(now) }
	case Retire:
		return StepRetiring, ring.Active().ID, func(r keyring.Ring) (keyring.Ring, error) { return r.Retire(d.Version) }
	}
	return "", "", func(keyring.Ring) (keyring.Ring, error) {
		return keyring.Ring{}, fmt.Errorf("rotation: no such move: %s", d.Move)
	}
}
