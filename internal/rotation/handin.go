package rotation

import (
	"context"
	"sync"
	"time"

	"keyway/internal/keyring"
)

// A source that hands in ever new values (two tools that overwrite each other, a
// template with a date in it) must not fill the fleet with them: each is held by
// every replica, and kept for as long as what was issued with it. Of the values that
// come within hastyWithin, the first hastyAfter are taken at once, then one each
// hastySoonest, twice that for each hastyMore more, up to hastyLatest; and one each
// ten minutes or each hour when so many live already that there is no room for
// many more. What is handed in last is proposed again and again until it is taken.
const (
	hastyWithin  = time.Hour
	hastyAfter   = 32
	hastyMore    = 8
	hastySoonest = 10 * time.Second
	hastyLatest  = 2 * time.Minute
	// hastyTold is how often that is told while it goes on.
	hastyTold = 10 * time.Minute
	// maxSuperseded is how many versions are kept that were given up before they were
	// used: the peer may know one of them and no other, and most often it is the last.
	maxSuperseded = 8
)

// HandIn proposes a value that was found where the secret is handed in, and has
// what was issued with the previous one accepted. It may be called again and
// again: a version that the ring has had is left as it is, which state is then
// its state. The zero Version says that it was not taken yet, because a version
// goes first that Keyway made, or as [Hold] says.
func (r *Runner) HandIn(ctx context.Context, secret string, current keyring.Candidate, previous *keyring.Candidate) (keyring.Version, error) {
	s, err := r.find(secret)
	if err != nil {
		return keyring.Version{}, err
	}
	now := r.now(ctx)
	ring, err := r.o.Rings.Update(ctx, s.Name, func(there keyring.Ring) (keyring.Ring, error) {
		return HandIn(there, current, previous, now)
	})
	if err != nil {
		return keyring.Version{}, err
	}
	if r.hasty(s, ring, current, previous, now) {
		return keyring.Version{}, nil
	}
	r.Wake()
	v, _ := ring.Find(current.ID)
	return v, nil
}

// Hasty reports whether HandIn would not take what is handed in yet, see [Hold], and
// has the operator told. It spares what would come to nothing.
func (r *Runner) Hasty(ctx context.Context, ring keyring.Ring, current keyring.Candidate, previous *keyring.Candidate) bool {
	s, err := r.find(ring.Name())
	return err == nil && r.hasty(s, ring, current, previous, r.now(ctx))
}

func (r *Runner) hasty(s *turning, ring keyring.Ring, current keyring.Candidate, previous *keyring.Candidate, now time.Time) bool {
	if !wants(ring, current, previous) {
		return false
	}
	held := Hold(ring, now)
	if held > 0 && s.told.due(hastyTold) {
		r.o.Log.Error("new values are handed in faster than the fleet should follow; the last one is taken in a while: find out what keeps changing it",
			"secret", s.Name, "version", current.ID, "wait", held.String())
	}
	return held > 0
}

// told is when something was last told. It is safe for concurrent use.
type told struct {
	mu sync.Mutex
	at time.Time
}

func (t *told) due(every time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.at.IsZero() && time.Since(t.at) < every {
		return false
	}
	t.at = time.Now()
	return true
}

// Hold is for how long, at most, the ring takes nothing that is handed in, because so
// much was within the last hour, or because what was issued with many versions still
// lives. It goes by what is in the ring, so that it is the same for
// the whole fleet, and after a restart.
func Hold(ring keyring.Ring, now time.Time) time.Duration {
	if ring.Full() {
		return hastyLatest
	}
	n, live, newest := 0, 0, hastyWithin
	for v := range ring.All() {
		if v.State.Live() {
			live++
		}
		// Whose clock was off by more does not count: it must not hold up anything.
		if age := now.Sub(v.CreatedAt).Abs(); v.HandedIn && age < hastyWithin {
			n++
			newest = min(newest, age)
		}
	}
	var wait time.Duration
	switch {
	case live >= keyring.MaxLive/2:
		wait = hastyWithin
	case live >= keyring.MaxLive/4:
		wait = hastyWithin / 6
	case n >= hastyAfter:
		wait = min(hastyLatest, hastySoonest<<min((n-hastyAfter)/hastyMore, 10))
	}
	return max(0, wait-newest)
}

// wants reports whether there is anything handed in that the ring does not have.
func wants(there keyring.Ring, current keyring.Candidate, previous *keyring.Candidate) bool {
	_, known := there.Find(current.ID)
	if !known && !current.HandedIn {
		return false // rotate-keys has its own pace
	}
	if known && previous != nil {
		_, known = there.Find(previous.ID)
	}
	return !known
}

// HandIn is the ring after a value was handed in, or ErrUnchanged; see [Hold]. A
// pending one that was handed in before, and that the newer one replaces, is kept for
// as long as a peer may know it and no other; if those before it are compromised, the
// newer one takes over without overlap, too. One that Keyway made goes on first.
func HandIn(there keyring.Ring, current keyring.Candidate, previous *keyring.Candidate, now time.Time) (keyring.Ring, error) {
	next, changed := there, false
	if wants(there, current, previous) && Hold(there, now) > 0 {
		return there, ErrUnchanged
	}
	if previous != nil && previous.ID != current.ID {
		if _, known := there.Find(previous.ID); !known {
			// If too many live already, the current one must not wait for that: it may be
			// what ends them.
			if accepted, err := next.Accept(*previous, now); err == nil {
				next, changed = accepted, true
			}
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
			current.TakesOver = current.TakesOver || pending.TakesOver
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
	if ring.Urgent() {
		return ring.Reject(pending.ID)
	}
	ring, err := ring.Supersede(pending.ID, now)
	if err != nil {
		return keyring.Ring{}, err
	}
	kept := 0
	for v := range ring.All() { // newest first
		if !superseded(v) {
			continue
		}
		if kept++; kept <= maxSuperseded {
			continue
		}
		if ring, err = ring.Retire(v.ID); err != nil {
			return keyring.Ring{}, err
		}
	}
	return ring, nil
}

// superseded: given up before it was used. What was in use elsewhere, and accepted
// here for that, is retiring since it came.
func superseded(v keyring.Version) bool {
	return v.State == keyring.Retiring && v.Withdrawn && v.ActivatedAt.IsZero() && v.HandedIn && !v.RetiresAt.Equal(v.CreatedAt)
}
