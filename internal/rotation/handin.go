package rotation

import (
	"context"
	"time"

	"keyway/internal/keyring"
)

// HandIn proposes a value that was found where the secret is handed in, and has
// what was issued with the previous one accepted. It may be called again and
// again: a version that the ring has had is left as it is, which state is then
// its state.
func (r *Runner) HandIn(ctx context.Context, secret string, current keyring.Candidate, previous *keyring.Candidate) (keyring.Version, error) {
	s, err := r.find(secret)
	if err != nil {
		return keyring.Version{}, err
	}
	h, err := r.o.Journal.Load(ctx, s.Name)
	if err != nil {
		return keyring.Version{}, err
	}
	now := r.now(ctx)
	ring, err := r.o.Rings.Update(ctx, s.Name, func(there keyring.Ring) (keyring.Ring, error) {
		current := current
		current.TakesOver = current.TakesOver || h.takesOver(there.Active().ID)
		return HandIn(there, current, previous, now)
	})
	if err != nil {
		return keyring.Version{}, err
	}
	r.Wake()
	v, _ := ring.Find(current.ID)
	return v, nil
}

// HandIn is the ring after a value was handed in. A pending one that was handed in
// before, and that the newer one replaces, is kept for as long as a peer may know
// it and no other; if it was to take over because those before it are compromised,
// so is the newer one. One that Keyway made goes on first.
func HandIn(there keyring.Ring, current keyring.Candidate, previous *keyring.Candidate, now time.Time) (keyring.Ring, error) {
	next, changed := there, false
	if previous != nil && previous.ID != current.ID {
		if _, known := there.Find(previous.ID); !known {
			accepted, err := next.Accept(*previous, now)
			if err != nil {
				return keyring.Ring{}, err
			}
			next, changed = accepted, true
		}
	}
	if _, known := there.Find(current.ID); !known {
		pending, waiting := next.Pending()
		if waiting && pending.HandedIn {
			given, err := giveUp(next, pending, now)
			if err != nil {
				return keyring.Ring{}, err
			}
			next, waiting = given, false
			current.TakesOver = pending.TakesOver
		}
		if !waiting {
			added, err := next.Add(current, now)
			if err != nil {
				return keyring.Ring{}, err
			}
			next, changed = added, true
		}
	}
	if !changed {
		return there, ErrUnchanged
	}
	return next, nil
}

// giveUp makes room for a newer value. There is no overlap where one was not
// wanted.
func giveUp(ring keyring.Ring, pending keyring.Version, now time.Time) (keyring.Ring, error) {
	if pending.TakesOver {
		return ring.Reject(pending.ID)
	}
	return ring.Supersede(pending.ID, now)
}
