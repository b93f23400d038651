package keyring

import (
	"cmp"
	"time"
)

const (
	// MaxLive is how many live versions a ring can have before it takes no other,
	// unless that is to end them all. Even with the longest of values a ring of so
	// many fits into 1 MiB.
	MaxLive = 256
	// MaxEnded is how many ended versions of one sort are kept: of those that were
	// compromised, those that have been active, and those that never were.
	//
	// It is enough for a person to look back on (16 years at one rotation in 90 days)
	// and for the rule that a value that was given up does not come again as new.
	// What ended before 64 others is not asked for any more: what was issued with it
	// has expired, or it never issued anything. The sorts are apart so that a source
	// that hands in ever new values pushes out neither what was in use nor, above all,
	// what was stolen.
	MaxEnded = 64
)

// sort is what ended versions are kept by.
type sort int

const (
	compromised sort = iota
	used
	unused
)

func sortOf(v Version) sort {
	switch {
	case v.Compromised:
		return compromised
	case !v.ActivatedAt.IsZero():
		return used
	}
	return unused
}

// last is the latest date of a version. When it has ended, that does not change.
func (v Version) last() time.Time {
	t := v.CreatedAt
	for _, other := range []time.Time{v.ActivatedAt, v.RetiresAt} {
		if other.After(t) {
			t = other
		}
	}
	return t
}

// Forgot reports whether a version that is not in the ring may have been in it,
// and is forgotten: as many ended ones as are kept are later than it. All who ask
// get one answer, whatever order they learned of them in.
func (r Ring) Forgot(v Version) bool {
	if _, there := r.Find(v.ID); there {
		return false
	}
	later := r.endedAfter(v)
	if !v.State.Live() {
		return later[sortOf(v)] >= MaxEnded
	}
	// It has ended since, and nobody knows how.
	return later[compromised] >= MaxEnded || later[used] >= MaxEnded || sortOf(v) == unused && later[unused] >= MaxEnded
}

// endedAfter counts the ended versions that are later than v, by sort. The id
// decides between those of one date.
func (r Ring) endedAfter(v Version) (n [unused + 1]int) {
	for _, other := range r.versions {
		if other.State.Live() {
			continue
		}
		if c := cmp.Or(other.last().Compare(v.last()), cmp.Compare(other.ID, v.ID)); c > 0 {
			n[sortOf(other)]++
		}
	}
	return n
}

// Prune is the ring without the ended versions that need not be kept; never
// without a live one. Add and Accept do so by themselves.
func (r Ring) Prune() Ring {
	ended := 0
	for _, v := range r.versions {
		if !v.State.Live() {
			ended++
		}
	}
	if ended <= MaxEnded {
		return r
	}
	kept := Ring{name: r.name, active: -1}
	for _, v := range r.versions {
		if !v.State.Live() && r.endedAfter(v)[sortOf(v)] >= MaxEnded {
			continue
		}
		if v.State == Active {
			kept.active = len(kept.versions)
		}
		kept.versions = append(kept.versions, v)
	}
	return kept
}

// crowded: it takes no other version until some have ended.
func (r Ring) crowded() bool {
	live := 0
	for range r.Live() {
		live++
	}
	return live >= MaxLive
}

// Full reports whether Add would refuse another version for there being too many.
func (r Ring) Full() bool { return r.crowded() && !r.Urgent() }
