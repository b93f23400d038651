package rotation

import "time"

// Kind is who has to agree before a version is used.
type Kind string

// The kinds.
const (
	// Inward: we issue with it and we accept with it. The fleet must agree.
	Inward Kind = "inward"
	// Outward: a peer must accept it, and can be asked before it matters.
	Outward Kind = "outward"
)

// Policy is how a secret is to be rotated. Durations of zero switch the part off
// that they are for, unless said otherwise.
type Policy struct {
	Kind Kind
	// Every is the age of the active version at which the next one is made.
	Every time.Duration
	// Guard is how long after an activation refusals are watched, and a way back is
	// kept.
	Guard time.Duration
	// Lifetime is the longest that anything issued with a version is good for. It
	// must not be zero: what is issued lives for a while.
	Lifetime time.Duration
	// Skew is how far clocks may be apart.
	Skew time.Duration
	// Published is how long a peer that fetches our keys may go on without a new
	// one: max-age and the floor of its own cache. Zero: it is not published, or
	// only a proof counts.
	Published time.Duration
	// Provable: the peer can be asked what it accepts. Nothing that it may still go
	// by is retired then before it has accepted what replaced it.
	Provable bool
	// Patience is how long a peer may refuse a pending version before that is
	// rejected. Zero: for ever.
	Patience time.Duration
	// Condemned is how long what a compromised version sealed may take to be sealed
	// anew, before the version is erased all the same.
	Condemned time.Duration
	// Gone is how long after its last word a replica counts as live.
	Gone time.Duration
	// Limit is how many refusals in the guard window are borne however few there
	// were before.
	Limit int
}

// Knowledge is what is known about one secret's versions.
type Knowledge struct {
	// Replicas are all that were heard of for as long as what they issued can live.
	Replicas []Replica
	// Proofs is what the peer said of a version, by id.
	Proofs map[string]Proof
	// Dependents counts what lives and was issued with a version, by id. An id
	// that is missing was not counted: nothing is known.
	Dependents map[string]int
	// CountedAt is when that count began. What was issued later is not in it.
	CountedAt time.Time
	// Refusals compares the guard window with what was before it.
	Refusals Refusals
}

// Replica is what one replica said of itself, last.
type Replica struct {
	ID   string
	Seen time.Time
	// Holds is since when it holds (and publishes) a version, by id.
	Holds map[string]time.Time
	// Issues is the version that it issues with, and Since when.
	Issues string
	Since  time.Time
}

// Proof is what a peer said when it was shown a version.
type Proof struct {
	Accepted bool
	At       time.Time // of the last answer
	// FirstRefused is when it began to refuse without accepting since; zero: it
	// does not.
	FirstRefused time.Time
}

// Refusals are what a peer refused, or artefacts that were rejected, by time.
type Refusals struct {
	InGuard int // since the activation
	Before  int // in as long a time before it
}
