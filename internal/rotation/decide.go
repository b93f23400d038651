package rotation

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"keyway/internal/keyring"
)

// Move is what to do next.
type Move string

// The moves. [Wait] is one, too: the Decision says for what.
const (
	Wait     Move = "wait"
	Make     Move = "make"      // a new version
	Activate Move = "activate"  // the pending one
	Reject   Move = "reject"    // the pending one
	RollBack Move = "roll back" // to the previous one
	Retire   Move = "retire"    // a retiring one
	TakeOver Move = "take over" // the pending one, and end the others
)

// Decision is one next move.
type Decision struct {
	Move    Move
	Version string // that it is about; empty for Make, and when there is nothing to wait for
	Because string // for people, without values
	// Blocked are the replicas that a Wait waits for, by id.
	Blocked []string
	// Again is when the answer may change by time alone; zero: it will not.
	Again time.Time
}

// Decide says the next move of a ring. It is pure. Moves that undo come before
// moves that go on, and those before moves that clean up, so that trouble with an
// active version is never met by retiring the way back.
func Decide(ring keyring.Ring, k Knowledge, p Policy, now time.Time) Decision {
	if d, ok := guard(ring, k, p, now); ok {
		return d
	}
	var waiting []Decision
	for _, consider := range []func(keyring.Ring, Knowledge, Policy, time.Time) Decision{advance, retire, renew} {
		d := consider(ring, k, p, now)
		if d.Move != Wait {
			return d
		}
		if d.Version != "" || !d.Again.IsZero() {
			waiting = append(waiting, d)
		}
	}
	return soonest(waiting)
}

// soonest keeps what is said of the first, which is furthest along, and the time
// of whichever comes first.
func soonest(waiting []Decision) Decision {
	if len(waiting) == 0 {
		return Decision{Move: Wait, Because: "nothing to do"}
	}
	d := waiting[0]
	for _, other := range waiting[1:] {
		if !other.Again.IsZero() && (d.Again.IsZero() || other.Again.Before(d.Again)) {
			d.Again = other.Again
		}
	}
	return d
}

// guard looks back at what an activation did.
func guard(ring keyring.Ring, k Knowledge, p Policy, now time.Time) (Decision, bool) {
	active := ring.Active()
	if p.Guard <= 0 || active.ActivatedAt.IsZero() || !now.Before(active.ActivatedAt.Add(p.Guard)) {
		return Decision{}, false
	}
	previous, ok := ring.Previous()
	if !ok || k.Refusals.InGuard <= max(p.Limit, 2*k.Refusals.Before) {
		return Decision{}, false
	}
	return Decision{Move: RollBack, Version: previous.ID, Because: fmt.Sprintf(
		"%d refusals since the activation, %d in as long before", k.Refusals.InGuard, k.Refusals.Before)}, true
}

// advance brings a pending version on.
func advance(ring keyring.Ring, k Knowledge, p Policy, now time.Time) Decision {
	pending, ok := ring.Pending()
	if !ok {
		return Decision{Move: Wait}
	}
	lacking, since := holders(k.Replicas, pending.ID, p.Gone, now)
	if len(lacking) > 0 {
		return Decision{Move: Wait, Version: pending.ID, Blocked: lacking, Because: "not yet held by " + strings.Join(lacking, ", ")}
	}
	if p.Kind == Inward {
		return use(ring, pending, "every live replica holds it")
	}
	proof := k.Proofs[pending.ID]
	switch {
	case proof.Accepted:
		return use(ring, pending, "the peer accepts it")
	case !proof.FirstRefused.IsZero():
		return refused(pending, proof, p, now)
	case p.Published <= 0:
		return Decision{Move: Wait, Version: pending.ID, Because: "the peer has not said yet whether it accepts it"}
	}
	ready := since.Add(p.Published + p.Skew)
	if now.Before(ready) {
		return Decision{Move: Wait, Version: pending.ID, Again: ready, Because: "published; the peer may still go by what it fetched before"}
	}
	return use(ring, pending, "published for longer than the peer may keep what it fetched before")
}

// use is the move that puts a pending version to use.
func use(ring keyring.Ring, pending keyring.Version, because string) Decision {
	move := Activate
	if ring.Urgent() {
		move = TakeOver
	}
	return Decision{Move: move, Version: pending.ID, Because: because}
}

// refused: whoever handed the version in may have been faster than the peer.
func refused(pending keyring.Version, proof Proof, p Policy, now time.Time) Decision {
	if p.Patience <= 0 {
		return Decision{Move: Wait, Version: pending.ID, Because: "the peer refuses it so far"}
	}
	over := proof.FirstRefused.Add(p.Patience)
	if now.Before(over) {
		return Decision{Move: Wait, Version: pending.ID, Again: over, Because: "the peer refuses it so far"}
	}
	return Decision{Move: Reject, Version: pending.ID, Because: "the peer has refused it for " + p.Patience.String()}
}

// holders are the live replicas that lack a version, and since when the last of
// the others holds it.
func holders(replicas []Replica, id string, gone time.Duration, now time.Time) (lacking []string, since time.Time) {
	for _, r := range replicas {
		if !live(r, gone, now) {
			continue
		}
		at, holds := r.Holds[id]
		if !holds {
			lacking = append(lacking, r.ID)
			continue
		}
		if at.After(since) {
			since = at
		}
	}
	slices.Sort(lacking)
	return lacking, since
}

func live(r Replica, gone time.Duration, now time.Time) bool { return now.Before(r.Seen.Add(gone)) }

// retire ends the oldest retiring version on which nothing depends.
func retire(ring keyring.Ring, k Knowledge, p Policy, now time.Time) Decision {
	waiting := Decision{Move: Wait}
	active := ring.Active()
	for v := range ring.All() {
		if v.State != keyring.Retiring {
			continue
		}
		d := retireOne(v, active, k, p, now)
		if d.Move == Retire {
			return d
		}
		waiting = d // the oldest is last, and says the most
	}
	return waiting
}

func retireOne(v, active keyring.Version, k Knowledge, p Policy, now time.Time) Decision {
	if v.Compromised {
		return retireCondemned(v, k, p, now)
	}
	if end := active.ActivatedAt.Add(p.Guard); now.Before(end) {
		return Decision{Move: Wait, Version: v.ID, Again: end, Because: "kept as the way back while the new version is watched"}
	}
	if end := v.RetiresAt.Add(p.Guard); p.Kind == Outward && v.Withdrawn && now.Before(end) {
		return Decision{Move: Wait, Version: v.ID, Again: end, Because: "kept while the peer may come to accept it again"}
	}
	if d, keep := keepForPeer(v, active, k, p); keep {
		return d
	}
	var issuing []string
	last := later(v.RetiresAt, foundAt(v, k.Replicas))
	for _, r := range k.Replicas {
		switch {
		case r.Issues == v.ID && live(r, p.Gone, now):
			issuing = append(issuing, r.ID)
		case r.Issues == v.ID:
			// It went silent, and may have issued until nobody counted on it.
			last = later(last, r.Seen.Add(p.Gone))
		default:
			last = later(last, r.Since)
		}
	}
	if len(issuing) > 0 {
		slices.Sort(issuing)
		return Decision{Move: Wait, Version: v.ID, Blocked: issuing, Because: "still issued with by " + strings.Join(issuing, ", ")}
	}
	n, counted := k.Dependents[v.ID]
	// A request that began before the last replica switched may issue with the old
	// version for a while yet, and is not in a count that began before it did.
	counted = counted && !k.CountedAt.Before(last.Add(p.Skew))
	if counted && n == 0 {
		return Decision{Move: Retire, Version: v.ID, Because: "nothing that lives was issued with it"}
	}
	end := last.Add(p.Lifetime + p.Skew)
	if !now.Before(end) {
		return Decision{Move: Retire, Version: v.ID, Because: "whatever was issued with it has expired"}
	}
	d := Decision{Move: Wait, Version: v.ID, Again: end, Because: "what was issued with it may still live"}
	if counted {
		d.Because = fmt.Sprintf("%d still depend on it", n)
	}
	return d
}

// foundAt is when the first replica held a version that was in use elsewhere
// before: its own dates are by the clock of whoever was handed it.
func foundAt(v keyring.Version, replicas []Replica) (first time.Time) {
	if !v.ActivatedAt.IsZero() {
		return time.Time{}
	}
	for _, r := range replicas {
		if at, holds := r.Holds[v.ID]; holds && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// keepForPeer keeps an old version for as long as it may be the one that the peer
// accepts: few refusals are no proof where there is little traffic.
func keepForPeer(v, active keyring.Version, k Knowledge, p Policy) (d Decision, keep bool) {
	switch {
	case p.Kind != Outward || k.Proofs[active.ID].Accepted:
		return Decision{}, false
	case p.Provable:
		return Decision{Move: Wait, Version: v.ID, Because: "kept until the peer says that it accepts the active one"}, true
	case k.Refusals.InGuard > p.Limit:
		return Decision{Move: Wait, Version: v.ID, Because: fmt.Sprintf(
			"the active version was refused %d times; this one is kept, since the peer may accept it", k.Refusals.InGuard)}, true
	}
	return Decision{}, false
}

// retireCondemned ends a version that is kept only until what it sealed has been
// sealed anew. There is no way back to it, so there is none to keep.
func retireCondemned(v keyring.Version, k Knowledge, p Policy, now time.Time) Decision {
	last := v.RetiresAt
	for _, r := range k.Replicas {
		if live(r, p.Gone, now) {
			last = later(last, r.Since)
			if r.Issues == v.ID {
				last = now.Add(1) // it still does
			}
		}
	}
	// As above, but not for as long: a request that began before may yet seal with it.
	ended := last.Add(min(p.Skew, p.Condemned/4))
	if n, counted := k.Dependents[v.ID]; counted && n == 0 && !k.CountedAt.Before(ended) {
		return Decision{Move: Retire, Version: v.ID, Because: "it is compromised, and all that it sealed is sealed anew"}
	}
	end := v.RetiresAt.Add(p.Condemned)
	if now.Before(end) {
		return Decision{Move: Wait, Version: v.ID, Again: end, Because: "what it sealed is being sealed anew"}
	}
	return Decision{Move: Retire, Version: v.ID, Because: "it is compromised; what was not sealed anew in time is over"}
}

// later of two times.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// renew has the next version made when the active one is old enough. What was
// handed in is for those who did to replace.
func renew(ring keyring.Ring, _ Knowledge, p Policy, now time.Time) Decision {
	if p.Every <= 0 || ring.Active().HandedIn {
		return Decision{Move: Wait}
	}
	if _, pending := ring.Pending(); pending {
		return Decision{Move: Wait} // one at a time
	}
	due := Due(ring, p.Every)
	if now.Before(due) {
		return Decision{Move: Wait, Again: due, Because: "until it is due by age"}
	}
	return Decision{Move: Make, Because: "the active version is older than " + p.Every.String()}
}

// Due is when the ring's active version is old enough to be replaced: when it is
// every old, or in use for as long (one of these dates may be by a clock that is
// off), or up to a twentieth of that earlier, so that secrets that were made
// together are not all replaced together. It is the same for all who ask. After
// one that had to be rolled back, the next is due a twentieth of every later: what
// fails again and again must not do so all the time.
func Due(ring keyring.Ring, every time.Duration) time.Time {
	active := ring.Active()
	h := fnv.New32a()
	_, _ = h.Write([]byte(ring.Name() + "\x00" + active.ID))
	early := time.Duration(float64(every) / 20 * float64(h.Sum32()) / (1 << 32))
	due := later(active.CreatedAt, active.ActivatedAt).Add(every - early)
	for v := range ring.All() {
		if v.Withdrawn && !v.ActivatedAt.IsZero() {
			due = later(due, v.RetiresAt.Add(every/20))
		}
	}
	return due
}
