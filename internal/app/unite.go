package app

import (
	"slices"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/keyring"
)

// unite is the ring for a fleet that has come to have two: there, which is in the
// shared store, and ours. What was issued under either stays good. There leads,
// and ours adds what it lacks, unless ours is there moved on: a store can fall
// back to an earlier state. It is fleet.ErrUnchanged when there has all already.
// Whoever comes second finds what the first has written, so all replicas end
// with one ring.
func unite(there, ours keyring.Ring, now time.Time) (keyring.Ring, error) {
	lead, other := there, ours
	if left(ours, there.Active().ID) && !left(there, ours.Active().ID) || withdrawn(ours, there.Active().ID) {
		lead, other = ours, there
	}
	versions := slices.Collect(lead.All())
	for i, v := range versions {
		also, known := other.Find(v.ID)
		if v.State.Live() {
			versions[i].Exposed = v.Exposed || also.Exposed
		}
		switch {
		case !known || v.State == keyring.Active:
		case !also.State.Live() && v.State.Live(), v.State == keyring.Pending && also.State == keyring.Retiring:
			versions[i] = also // nothing comes back from the dead
		default:
			versions[i].Withdrawn = v.Withdrawn || also.Withdrawn
			versions[i].Compromised = v.Compromised || also.Compromised
			versions[i].TakesOver = v.TakesOver || also.TakesOver && v.State == keyring.Pending
		}
	}
	_, pending := lead.Pending()
	for v := range other.All() {
		if _, known := lead.Find(v.ID); known || lead.Forgot(v) {
			continue
		}
		if v.State == keyring.Active || v.State == keyring.Pending && pending {
			v.State, v.RetiresAt, v.TakesOver = keyring.Retiring, now, false
		}
		versions = append(versions, v)
	}
	united, err := keyring.New(there.Name(), versions...)
	united = united.Prune()
	if err == nil && keyring.Same(united, there.Prune()) {
		err = fleet.ErrUnchanged
	}
	return united, err
}

// left reports whether the ring has had the version active, and has another now.
func left(r keyring.Ring, id string) bool {
	v, known := r.Find(id)
	return known && (v.State == keyring.Retiring || v.State == keyring.Retired)
}

func withdrawn(r keyring.Ring, id string) bool {
	v, known := r.Find(id)
	return known && v.Withdrawn
}
