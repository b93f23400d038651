package rotation

import (
	"fmt"
	"slices"
	"time"

	"keyway/internal/keyring"
)

// maxHistory is how many rotations of a secret are kept; the record that is kept
// for longer is the audit's.
const maxHistory = 20

// maxSteps bounds one rotation's steps.
const maxSteps = 100

// History is the rotations of one secret, newest first.
type History struct {
	Rotations []Rotation `json:"rotations"`
}

// Find is the rotation with this id, or nil.
func (h *History) Find(id string) *Rotation {
	return h.first(func(r *Rotation) bool { return r.ID == id })
}

// Open is the one that is under way, or nil.
func (h *History) Open() *Rotation { return h.first(func(r *Rotation) bool { return r.Outcome == "" }) }

func (h *History) to(version string) *Rotation {
	return h.first(func(r *Rotation) bool { return r.To == version })
}

func (h *History) first(is func(*Rotation) bool) *Rotation {
	for i := range h.Rotations {
		if is(&h.Rotations[i]) {
			return &h.Rotations[i]
		}
	}
	return nil
}

func (h *History) begin(r Rotation) *Rotation {
	h.Rotations = slices.Insert(h.Rotations, 0, r)
	h.Rotations = h.Rotations[:min(len(h.Rotations), maxHistory)]
	return &h.Rotations[0]
}

func (h *History) drop(id string) {
	h.Rotations = slices.DeleteFunc(h.Rotations, func(r Rotation) bool { return r.ID == id })
}

// Clone is a copy that shares nothing that is changed.
func (h History) Clone() History {
	h.Rotations = slices.Clone(h.Rotations)
	for i := range h.Rotations {
		h.Rotations[i] = h.Rotations[i].clone()
	}
	return h
}

func (r Rotation) clone() Rotation {
	r.Steps, r.Blocked = slices.Clone(r.Steps), slices.Clone(r.Blocked)
	return r
}

func (r *Rotation) did(what string) bool {
	return slices.ContainsFunc(r.Steps, func(s Step) bool { return s.What == what })
}

// step appends a step. One that is tried again and again is told once.
func (r *Rotation) step(at time.Time, what, detail string) {
	if last := len(r.Steps) - 1; last >= 0 && r.Steps[last].What == what && r.Steps[last].Detail == detail {
		return
	}
	if len(r.Steps) < maxSteps {
		r.Steps = append(r.Steps, Step{At: at, What: what, Detail: detail})
	}
}

// giveUp appends a step by which somebody does not want the version any more, whoever
// asked for it.
func (r *Rotation) giveUp(at time.Time, what, by string) {
	r.step(at, what, "given up by "+by)
	if last := len(r.Steps) - 1; r.Steps[last].What == what {
		r.Steps[last].By = by
	}
}

// rejectedBy completes the last step, where whoever leads has seen in the ring that the
// version was given up, and was faster to write it down: without by whom.
func (r *Rotation) rejectedBy(by string) {
	if last := len(r.Steps) - 1; last >= 0 && r.Steps[last].What == StepRejected && r.Steps[last].Detail == "" && !r.did(StepRejecting) {
		r.Steps[last].Detail, r.Steps[last].By = "given up by "+by, by
	}
}

func (r *Rotation) end(at time.Time, outcome string) {
	r.Outcome, r.EndedAt = outcome, at
	r.Waiting, r.Blocked, r.NextAt = "", nil, time.Time{}
}

// Steps of a rotation, as Step.What.
const (
	StepMade       = "made"
	StepHandedIn   = "handed_in"
	StepHeld       = "held" // by every live replica
	StepProved     = "proved"
	StepActivating = "activating" // written before it is done
	StepActivated  = "activated"
	StepGuarded    = "guarded"
	StepRollBack   = "rolling_back" // written before it is done
	StepRolledBack = "rolled_back"
	StepRejecting  = "rejecting"
	StepRejected   = "rejected"
	StepRetiring   = "retiring_old" // the old version, written before it is done
	StepRetired    = "retired_old"
)

// reconcile makes the history tell what the ring shows: whoever was to write it
// down may have died after the ring had moved, and what is handed in was asked
// for by nobody. It returns the rotation's new outcomes, and whether anything
// changed.
func (h *History) reconcile(ring keyring.Ring, newID func() string, now time.Time) (ended []Rotation, changed bool) {
	if p, ok := ring.Pending(); ok && h.to(p.ID) == nil {
		r := h.begin(Rotation{
			ID: newID(), Secret: ring.Name(), From: ring.Active().ID, To: p.ID, Compromised: ring.Urgent(), StartedAt: p.CreatedAt,
		})
		if p.HandedIn {
			r.AskedBy = "whoever handed the value in"
			r.step(p.CreatedAt, StepHandedIn, "a new value was found where this secret is handed in")
		} else {
			r.AskedBy = "rotate-keys, or a replica that ended meanwhile"
			r.step(p.CreatedAt, StepMade, "")
		}
		changed = true
	}
	states := map[string]keyring.Version{}
	for v := range ring.All() {
		states[v.ID] = v
	}
	for i := range h.Rotations {
		r := &h.Rotations[i]
		v, known := states[r.To]
		was := r.Outcome
		if known && r.Outcome == OutcomeFailed {
			r.Outcome, r.EndedAt, r.Waiting = "", time.Time{}, "" // it was stored after all, late
		}
		switch {
		case r.Outcome == OutcomeActive && known && v.Withdrawn:
			r.step(now, StepRolledBack, "")
			r.end(now, OutcomeRolledBack)
		case r.Outcome != "" || r.To == "":
		case known && v.State == keyring.Rejected:
			r.step(now, StepRejected, "")
			r.end(now, OutcomeRejected)
		case known && v.Withdrawn && v.ActivatedAt.IsZero():
			r.step(now, StepRejected, "a newer value was handed in before this one was used")
			r.end(now, OutcomeRejected)
		case known && v.State != keyring.Pending:
			at := v.ActivatedAt
			if at.IsZero() {
				at = now
			}
			r.step(at, StepActivated, "")
			r.end(at, OutcomeActive)
		case !known && now.Sub(r.StartedAt) > time.Minute:
			r.end(now, OutcomeFailed)
			r.Waiting = "the new value was never stored; ask again"
		}
		if r.Outcome != was {
			changed = true
			if r.Outcome != "" {
				ended = append(ended, *r)
			}
		}
	}
	return ended, changed
}

// tell notes what a rotation waits for.
func (h *History) tell(d Decision, operator string) bool {
	r := h.to(d.Version)
	if r == nil || r.Outcome != "" {
		return false
	}
	waiting := d.Because
	if operator != "" {
		waiting = fmt.Sprintf("%s; %s", waiting, operator)
	}
	if r.Waiting == waiting && slices.Equal(r.Blocked, d.Blocked) && r.NextAt.Equal(d.Again) {
		return false
	}
	r.Waiting, r.Blocked, r.NextAt = waiting, d.Blocked, d.Again
	return true
}

// note adds a step to the rotation to a version, once.
func (h *History) note(version, what, detail string, at time.Time) bool {
	r := h.to(version)
	if r == nil || r.did(what) || len(r.Steps) >= maxSteps {
		return false
	}
	r.step(at, what, detail)
	return true
}
