package rotation

import (
	"context"
	"time"

	"keyway/internal/keyring"
)

// Secret is what a [Runner] has to know of a secret to turn it.
type Secret struct {
	Name string
	// Policy is how it is to be turned, for the ring as it is.
	Policy func(keyring.Ring) Policy
	// Make makes the next value; nil: only those who hand it in can, and HandIn
	// says how, for people.
	Make   func(context.Context) (keyring.Candidate, error)
	HandIn string
	// Prove asks the peer whether it accepts a pending version, without a side
	// effect; nil: no peer has to.
	Prove func(ctx context.Context, version string) (Verdict, error)
	// Tend does what lessens what depends on versions that are not active (seals
	// anew what they have sealed, ends what they protected and must not any more),
	// and counts what is left, by version. nil: nothing can be done or counted.
	Tend func(context.Context, keyring.Ring) (map[string]int, error)
	// Operator says what a person has to do for the pending version to go on; nil,
	// or empty: nothing.
	Operator func(pending keyring.Version, p Proof) string
}

// Verdict is what a peer says of a version.
type Verdict string

// The verdicts.
const (
	Accepted Verdict = "accepted"
	Refused  Verdict = "refused"
	Unknown  Verdict = "unknown" // the answer says neither; nothing may rest on it
)

// Rings are where rings are kept. Update has change move a ring on, again from
// what is there then whenever somebody else was faster; ErrUnchanged from change
// leaves the ring as it is, any other error gives up.
type Rings interface {
	Load(ctx context.Context, name string) (keyring.Ring, error)
	Update(ctx context.Context, name string, change func(keyring.Ring) (keyring.Ring, error)) (keyring.Ring, error)
}

// Fleet is who else is there.
type Fleet interface {
	// Lead reports whether this replica is the one that moves rings now.
	Lead(ctx context.Context) (bool, error)
	// Roll is what every replica said last.
	Roll(ctx context.Context) (Roll, error)
}

// Roll is what is known of the fleet at one moment.
type Roll struct {
	Now time.Time // by the clock that all dates are of
	// Ready is from when on this is known of every replica that may live. Nothing
	// moves before.
	Ready time.Time
	// Replicas are of one secret; Refusals of one version, by the live replicas that
	// issue with it: what others count is of the version before it.
	Replicas func(secret string) []Replica
	Refusals func(secret, version string) Refusals
	// Fetched is when a peer last fetched what is published of the secret.
	Fetched func(secret string) time.Time
}

// Journal keeps the record of rotations. It holds no values.
type Journal interface {
	Load(ctx context.Context, secret string) (History, error)
	// Update has change edit the history, again whenever somebody else was faster.
	// It stores it if change returns true.
	Update(ctx context.Context, secret string, change func(*History) bool) (History, error)
}

// Observer is told what happens, for metrics. Its methods must be quick.
type Observer interface {
	// Moved: a rotation came to an outcome.
	Moved(secret, outcome string)
}

// Phase is where a secret is between two versions.
type Phase int

// The phases, in the order in which a rotation passes through them.
const (
	Resting  Phase = iota // one live version
	Pending               // a new one is waited for
	Guarded               // the new one is watched
	Draining              // the old one has things that depend on it
)

// PhaseOf is the phase of a ring at now.
func PhaseOf(ring keyring.Ring, guard time.Duration, now time.Time) Phase {
	if _, ok := ring.Pending(); ok {
		return Pending
	}
	for v := range ring.Live() {
		if v.State == keyring.Retiring {
			if now.Before(ring.Active().ActivatedAt.Add(guard)) {
				return Guarded
			}
			return Draining
		}
	}
	return Resting
}
