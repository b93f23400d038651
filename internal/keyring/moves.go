package keyring

import (
	"fmt"
	"slices"
	"time"

	"keyway/internal/secret"
)

// MoveError says which move a ring refused, and why. The ring is as it was.
type MoveError struct {
	Ring, Version string
	Move          string // "add", "accept", "activate", "reject", "retire", "roll back", "condemn", "compromise", "expose", "urge", "supersede"
	Why           string
}

func (e *MoveError) Error() string {
	return fmt.Sprintf("keyring %s: can't %s %s: %s", e.Ring, e.Move, e.Version, e.Why)
}

func (r Ring) refuse(move, id, why string, args ...any) (Ring, error) {
	return Ring{}, &MoveError{Ring: r.name, Version: id, Move: move, Why: fmt.Sprintf(why, args...)}
}

// Candidate is a version that a ring does not have yet.
type Candidate struct {
	ID    string
	Value secret.Value
	// TakesOver and HandedIn are as in Version.
	TakesOver, HandedIn bool
}

// Add takes a new version in, as pending: accepted from now on, issued with
// later. Refused are an id that the ring has ever had, because what was issued
// under it would change its meaning, a second pending version, because then
// nobody could say which one comes next, and one more than MaxLive, unless it is to
// end them all.
func (r Ring) Add(n Candidate, now time.Time) (Ring, error) {
	if i := r.index(n.ID); i >= 0 {
		return r.refuse("add", n.ID, "the ring has had it before; it is %s", r.versions[i].State)
	}
	if pending, ok := r.Pending(); ok {
		return r.refuse("add", n.ID, "%s is pending already; activate or reject it first", pending.ID)
	}
	if r.Full() && !n.TakesOver {
		return r.refuse("add", n.ID, tooMany, MaxLive)
	}
	return r.insert(0, Version{
		ID: n.ID, State: Pending, CreatedAt: now, Value: n.Value, TakesOver: n.TakesOver, HandedIn: n.HandedIn,
	})
}

// Accept takes in a version that others have issued with before: what was issued
// is accepted from now on, and nothing is issued with it here. Refused are an id
// that the ring has ever had, and one more than MaxLive.
func (r Ring) Accept(n Candidate, now time.Time) (Ring, error) {
	if i := r.index(n.ID); i >= 0 {
		return r.refuse("accept", n.ID, "the ring has had it before; it is %s", r.versions[i].State)
	}
	if r.crowded() {
		return r.refuse("accept", n.ID, tooMany, MaxLive)
	}
	return r.insert(len(r.versions), Version{
		ID: n.ID, State: Retiring, CreatedAt: now, RetiresAt: now, Withdrawn: true, Value: n.Value, HandedIn: n.HandedIn,
	})
}

const tooMany = "%d versions are live already; wait until some are retired"

// Urge has the pending version take over without overlap when its time comes.
func (r Ring) Urge(id string) (Ring, error) {
	i := r.index(id)
	if i < 0 || r.versions[i].State != Pending {
		return r.refuse("urge", id, "expected a pending version, found %s", r.describe(i))
	}
	return r.change(func(versions []Version) { versions[i].TakesOver = true })
}

// Pending is the version that comes next, if there is one.
func (r Ring) Pending() (Version, bool) { return r.first(Pending) }

// Previous is the version that a rollback would bring back: of those that are
// retiring, the one that came last, unless it was withdrawn itself or is
// compromised or exposed. It goes by the order and not by dates: a clock may have been set
// back between two activations.
func (r Ring) Previous() (Version, bool) {
	for _, v := range r.versions {
		if v.State == Retiring && !v.Withdrawn && !v.Compromised && !v.Exposed {
			return v, true
		}
	}
	return Version{}, false
}

// Activate makes the pending version the one to issue with; the one before is
// retiring from now on. Whether that is safe yet is for the caller to know.
func (r Ring) Activate(id string, now time.Time) (Ring, error) {
	i := r.index(id)
	if i < 0 || r.versions[i].State != Pending {
		return r.refuse("activate", id, "expected a pending version, found %s", r.describe(i))
	}
	return r.change(func(versions []Version) {
		versions[r.active].State = Retiring
		versions[r.active].RetiresAt = now
		versions[i].State, versions[i].TakesOver = Active, false
		versions[i].ActivatedAt = now
	})
}

// Reject gives a pending version up: its value is erased, and the active one
// never changed.
func (r Ring) Reject(id string) (Ring, error) {
	i := r.index(id)
	if i < 0 || r.versions[i].State != Pending {
		return r.refuse("reject", id, "expected a pending version, found %s", r.describe(i))
	}
	return r.change(func(versions []Version) { versions[i].erase(Rejected) })
}

// Retire ends a retiring version: what was issued with it is no longer accepted,
// and its value is erased. Whether anything still depends on it is for the caller
// to know.
func (r Ring) Retire(id string) (Ring, error) {
	i := r.index(id)
	if i < 0 || r.versions[i].State != Retiring {
		return r.refuse("retire", id, "expected a retiring version, found %s", r.describe(i))
	}
	return r.change(func(versions []Version) { versions[i].erase(Retired) })
}

// RollBack makes the previous version active again. The one that was active
// can't become so again, but what was issued with it is accepted until it
// retires like any other: going back must not sign anybody out either.
func (r Ring) RollBack(now time.Time) (Ring, error) {
	previous, ok := r.Previous()
	if !ok {
		return r.refuse("roll back", r.Active().ID, "no earlier version lives")
	}
	i := r.index(previous.ID)
	return r.change(func(versions []Version) {
		versions[r.active].State = Retiring
		versions[r.active].RetiresAt = now
		versions[r.active].Withdrawn = true
		versions[i].State = Active
		versions[i].RetiresAt = time.Time{}
	})
}

// Compromise makes the pending version active and ends every other one at once,
// without overlap: whoever stole a value must not get another minute of it. What
// was issued with them is over.
func (r Ring) Compromise(id string, now time.Time) (Ring, error) {
	return r.takeOver("compromise", id, now, func(v *Version) { v.erase(Retired) })
}

// Condemn is Compromise for what is to be sealed anew: the others are kept, as
// retiring, for no longer than it takes to open what they sealed, and can't be
// rolled back to. Retire them as soon as that is done.
func (r Ring) Condemn(id string, now time.Time) (Ring, error) {
	return r.takeOver("condemn", id, now, func(v *Version) { v.State, v.RetiresAt = Retiring, now })
}

func (r Ring) takeOver(move, id string, now time.Time, end func(*Version)) (Ring, error) {
	i := r.index(id)
	if i < 0 || r.versions[i].State != Pending {
		return r.refuse(move, id, "expected a pending version to take over, found %s", r.describe(i))
	}
	return r.change(func(versions []Version) {
		for j := range versions {
			switch {
			case j == i:
				versions[j].State, versions[j].ActivatedAt, versions[j].TakesOver = Active, now, false
			case versions[j].State.Live():
				versions[j].Compromised, versions[j].Exposed = true, false
				end(&versions[j])
			}
		}
	})
}

// erase ends a version's life. Its id and dates are kept for the record, and so
// that the id is never used again.
func (v *Version) erase(state State) {
	v.State, v.TakesOver = state, false
	v.Compromised, v.Exposed = v.Compromised || v.Exposed, false
	v.Value = secret.Value{}
}

func (r Ring) insert(at int, v Version) (Ring, error) {
	next, err := New(r.name, slices.Insert(slices.Clone(r.versions), at, v)...)
	return next.Prune(), err
}

func (r Ring) change(edit func([]Version)) (Ring, error) {
	next := slices.Clone(r.versions)
	edit(next)
	return New(r.name, next...)
}

func (r Ring) index(id string) int {
	return slices.IndexFunc(r.versions, func(v Version) bool { return v.ID == id })
}

func (r Ring) first(state State) (Version, bool) {
	for _, v := range r.versions {
		if v.State == state {
			return v, true
		}
	}
	return Version{}, false
}

func (r Ring) describe(i int) string {
	if i < 0 {
		return "none of that id"
	}
	return "one that is " + string(r.versions[i].State)
}
