package fleet

import (
	"cmp"
	"slices"
	"time"

	"keyway/internal/keyring"
)

// reunite is what should be on the board, by what is there and by what a vault
// remembers. Usually that is what is there. But a store can fall back to an
// earlier state (a fail-over loses the last writes) or to none; then what was
// sealed since would be unreadable for ever if the key to it were gone with it.
//
// Nothing issues again that has stopped to, and what is ended on the board stays
// so. A version that is live on the board and is remembered as ended is what an
// earlier state has brought back, maybe together with what it sealed: it may open
// that, as a retiring one that can't be rolled back to, until all is sealed anew.
func reunite(there, remembered kekDocument, now time.Time) kekDocument {
	switch {
	case there.isZero():
		return remembered.clone()
	case remembered.isZero():
		return there
	}
	united := there.clone()
	for id, e := range remembered.unseal {
		known, ok := united.unseal[id]
		if !ok || e.turn > known.turn || e.turn == known.turn && known.value.IsZero() {
			united.unseal[id] = e
		}
	}
	lead, other := there.ring.Ring, remembered.ring.Ring
	if remembered.turn > there.turn {
		lead, other = other, lead
	}
	active := whoIsActive(lead, other, there.ring.Ring)
	pending := false
	var versions []keyring.Version
	for v := range there.ring.Ring.All() {
		if w, known := remembered.ring.Ring.Find(v.ID); known {
			v = oneOf(v, w, remembered.turn > there.turn)
		}
		v = demote(v, active, now)
		pending = pending || v.State == keyring.Pending
		versions = append(versions, v)
	}
	newest := versions[0].CreatedAt
	for w := range remembered.ring.Ring.All() {
		if _, known := there.ring.Ring.Find(w.ID); known {
			continue
		}
		if w.State == keyring.Pending && pending {
			w.State, w.TakesOver = keyring.Retiring, false
		}
		w = demote(w, active, now)
		if w.CreatedAt.After(newest) {
			versions = slices.Insert(versions, 0, w)
		} else {
			versions = append(versions, w)
		}
	}
	ring, err := keyring.New(KeyEncryptionKey, versions...)
	if err != nil {
		return there // not reached: one active, at most one pending, no id twice
	}
	united.ring = united.ring.With(ring)
	return united
}

// whoIsActive is the lead's active version, unless it is known to be over, or the
// other's, or else the latest that could be.
func whoIsActive(lead, other, there keyring.Ring) string {
	can := func(id string) bool {
		for _, ring := range []keyring.Ring{lead, other} {
			if v, known := ring.Find(id); known && (!v.State.Live() || v.Withdrawn || v.Compromised) {
				return false
			}
		}
		return true
	}
	candidates := []string{lead.Active().ID, other.Active().ID}
	retiring := slices.SortedFunc(lead.Live(), func(a, b keyring.Version) int { return cmp.Compare(b.ActivatedAt.UnixNano(), a.ActivatedAt.UnixNano()) })
	for _, v := range retiring {
		if v.State == keyring.Retiring {
			candidates = append(candidates, v.ID)
		}
	}
	if i := slices.IndexFunc(candidates, can); i >= 0 {
		return candidates[i]
	}
	return there.Active().ID
}

// oneOf is a version that both have: v on the board, w remembered, newer or not.
func oneOf(v, w keyring.Version, newer bool) keyring.Version {
	switch {
	case !v.State.Live():
		v.Compromised = v.Compromised || w.Compromised
		return v
	case !w.State.Live():
		v.State, v.RetiresAt, v.TakesOver = keyring.Retiring, w.RetiresAt, false
		v.Withdrawn, v.Compromised = true, v.Compromised || w.Compromised
		return v
	}
	one := v
	if newer {
		one = w
	}
	one.Withdrawn, one.Compromised = v.Withdrawn || w.Withdrawn, v.Compromised || w.Compromised
	one.TakesOver = v.TakesOver || w.TakesOver
	if v.State != w.State {
		one.TakesOver = false
		if one.State == keyring.Pending {
			one.State = keyring.Retiring // the other has seen it active
		}
	}
	return one
}

// demote makes the version active if it is the one, and not active otherwise.
func demote(v keyring.Version, active string, now time.Time) keyring.Version {
	switch {
	case v.ID == active:
		v.State, v.RetiresAt = keyring.Active, time.Time{}
		v.Withdrawn, v.Compromised, v.TakesOver = false, false, false
	case v.State == keyring.Active:
		v.State, v.RetiresAt, v.TakesOver = keyring.Retiring, now, false
	case v.State == keyring.Retiring && v.RetiresAt.IsZero():
		v.RetiresAt = now
	}
	return v
}
