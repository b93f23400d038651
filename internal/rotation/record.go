package rotation

import (
	"encoding/json"
	"time"
)

// The outcomes of a rotation. One that is under way has none.
const (
	OutcomeActive        = "active"         // the new version is in use
	OutcomeRolledBack    = "rolled_back"    // it was, and the one before it is again
	OutcomeRejected      = "rejected"       // the peer, or a person, said no; the active version never changed
	OutcomeUnchanged     = "unchanged"      // there was nothing to turn to
	OutcomeNeedsOperator = "needs_operator" // a person has to do something first
	OutcomeFailed        = "failed"
)

// Rotation is the record of one turn of one secret, for people and programs. It
// names versions by their ids and never holds a value.
type Rotation struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
	// From was active when it began; To is the version that it is about, empty
	// before there is one.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// AskedBy is who or what asked for it.
	AskedBy     string    `json:"asked_by,omitempty"`
	Compromised bool      `json:"compromised,omitempty"`
	StartedAt   time.Time `json:"started_at,omitzero"`
	EndedAt     time.Time `json:"ended_at,omitzero"` // zero: under way
	Outcome     string    `json:"outcome"`           // empty: under way
	// Waiting says in words what it waits for; Blocked names the replicas that
	// hold it up; NextAt is when it may go on by time alone.
	Waiting string    `json:"waiting,omitempty"`
	Blocked []string  `json:"blocked,omitempty"`
	NextAt  time.Time `json:"next_at,omitzero"`
	Steps   []Step    `json:"steps"` // oldest first
}

// Step is one thing that happened in a rotation.
type Step struct {
	At     time.Time `json:"at"`
	What   string    `json:"what"`             // StepMade, ...
	Detail string    `json:"detail,omitempty"` // for people, without values
	// By is who asked for this step and what follows from it, where that is not who
	// asked for the rotation.
	By string `json:"by,omitempty"`
}

// TookMS is how long it took, in milliseconds; 0 while it is under way.
func (r Rotation) TookMS() int64 {
	if r.EndedAt.IsZero() || r.EndedAt.Before(r.StartedAt) {
		return 0
	}
	return r.EndedAt.Sub(r.StartedAt).Milliseconds()
}

// MarshalJSON adds took_ms, and writes no steps as an empty list. What it writes
// can be read back: took_ms is made anew from the times.
func (r Rotation) MarshalJSON() ([]byte, error) {
	type plain Rotation // without this method
	if r.Steps == nil {
		r.Steps = []Step{}
	}
	return json.Marshal(struct {
		plain
		TookMS int64 `json:"took_ms"`
	}{plain(r), r.TookMS()})
}
