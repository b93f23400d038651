package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/secret"
)

var (
	errDead  = errors.New("the process has died")
	errNoWay = errors.New("the store can't be reached")
	// As the app has it: who is not heard itself knows nothing of the others.
	errUnheard = errors.New("this replica has not been heard")
)

// reach is an access to the store, which may take a while. It returns with the
// world locked, if it returns no error.
func (p *process) reach(ctx context.Context) error {
	switch n := p.rng.IntN(60); {
	case n == 0:
		time.Sleep(time.Duration(p.rng.Int64N(int64(20 * time.Second)))) // paused
	case n < 8:
		time.Sleep(time.Duration(p.rng.Int64N(int64(800 * time.Millisecond))))
	}
	p.f.mu.Lock()
	err := ctx.Err()
	switch {
	case p.dead:
		err = errDead
	case p.h.cut:
		err = errNoWay
	}
	if err != nil {
		p.f.mu.Unlock()
	}
	return err
}

// crash has the process die at one in some writes, before or after it.
func (p *process) crash(write func()) error {
	if p.f.quiet || p.rng.IntN(150) != 0 {
		write()
		return nil
	}
	after := p.rng.IntN(2) == 0
	if after {
		write()
	}
	p.dead = true
	p.f.tell("%s dies as it writes; it was written: %v", p.id, after)
	if p.f.b.half {
		p.f.ring = keyring.Ring{}
	}
	return errDead
}

type simRings struct{ *process }

func (p simRings) Load(ctx context.Context, _ string) (keyring.Ring, error) {
	if err := p.reach(ctx); err != nil {
		return keyring.Ring{}, err
	}
	defer p.f.mu.Unlock()
	return p.f.ring, nil
}

func (p simRings) Update(ctx context.Context, _ string, change func(keyring.Ring) (keyring.Ring, error)) (keyring.Ring, error) {
	f := p.f
	for {
		if err := p.reach(ctx); err != nil {
			return keyring.Ring{}, err
		}
		there, revision := f.ring, f.revision
		f.mu.Unlock()
		next, err := change(there)
		if errors.Is(err, ErrUnchanged) {
			return there, nil
		}
		if err != nil {
			return keyring.Ring{}, err
		}
		if err := p.reach(ctx); err != nil {
			return keyring.Ring{}, err
		}
		if f.revision != revision && !f.b.blindSwap {
			f.mu.Unlock()
			continue
		}
		next = p.dated(next)
		err = p.crash(func() { f.write(p.process, next) })
		f.mu.Unlock()
		return next, err
	}
}

// dated has the dates that the process took from its own clock be as wrong as that
// is.
func (p simRings) dated(r keyring.Ring) keyring.Ring {
	var versions []keyring.Version
	for v := range r.All() {
		for _, at := range []*time.Time{&v.CreatedAt, &v.ActivatedAt, &v.RetiresAt} {
			*at = p.byOwnClock(*at)
		}
		if p.f.b.noUrgency {
			v.TakesOver, v.Exposed = false, false
		}
		if p.f.b.forgives {
			v.Compromised = false
		}
		if p.f.b.forgets && v.State == keyring.Retired {
			continue
		}
		versions = append(versions, v)
	}
	dated, err := keyring.New(r.Name(), versions...)
	if err != nil {
		p.f.fail("a ring that can't be: %v", err)
		return r
	}
	return dated
}

func (p *process) byOwnClock(at time.Time) time.Time {
	if at.IsZero() || at.Sub(p.f.began) > century/2 {
		return at
	}
	return at.Add(century + p.h.off)
}

type simJournal struct{ *process }

func (p simJournal) Load(ctx context.Context, _ string) (History, error) {
	if err := p.reach(ctx); err != nil {
		return History{}, err
	}
	defer p.f.mu.Unlock()
	return p.f.journal.Clone(), nil
}

func (p simJournal) Update(ctx context.Context, _ string, change func(*History) bool) (History, error) {
	if err := p.reach(ctx); err != nil {
		return History{}, err
	}
	defer p.f.mu.Unlock()
	h := p.f.journal.Clone()
	if !change(&h) {
		return h, nil
	}
	for i := range h.Rotations {
		h.Rotations[i].StartedAt = p.byOwnClock(h.Rotations[i].StartedAt)
	}
	if p.f.b.noCatchingUp && len(h.Rotations) == len(p.f.journal.Rotations) {
		return h, nil
	}
	err := p.crash(func() { p.f.journal = h.Clone() })
	return h, err
}

type simFleet struct{ *process }

func (p simFleet) Lead(ctx context.Context) (bool, error) {
	if err := p.reach(ctx); err != nil {
		return time.Now().Before(p.lease), nil //nolint:nilerr // it has the lease until that ends
	}
	defer p.f.mu.Unlock()
	f, now := p.f, time.Now()
	if f.leader != p.id && f.leader != "" && now.Before(f.until) {
		return false, nil
	}
	f.leader, f.until, p.lease = p.id, now.Add(8*time.Second), now.Add(6*time.Second)
	return true, nil
}

func (p simFleet) Roll(ctx context.Context) (Roll, error) {
	if err := p.reach(ctx); err != nil {
		return Roll{}, err
	}
	defer p.f.mu.Unlock()
	f := p.f
	now := f.now()
	if !live(f.reports[p.id], f.p.Gone, now) {
		return Roll{}, errUnheard
	}
	var replicas []Replica
	refusals, fetched := map[string]Refusals{}, time.Time{}
	for _, r := range f.reports {
		if now.Sub(r.Seen) > time.Hour {
			continue
		}
		if live(r, f.p.Gone, now) {
			sum := refusals[r.Issues]
			sum.InGuard += f.refusals[r.ID].InGuard
			refusals[r.Issues] = sum
		}
		if at := f.fetched[r.ID]; at.After(fetched) {
			fetched = at
		}
		if f.b.activateEarly {
			r.Holds = map[string]time.Time{}
			for v := range f.ring.Live() {
				r.Holds[v.ID] = f.ring.Active().ActivatedAt
			}
		}
		if f.b.retireEarly {
			r.Issues, r.Since = "", time.Time{}
		}
		replicas = append(replicas, r)
	}
	return Roll{
		Now:      now,
		Replicas: func(string) []Replica { return replicas },
		Refusals: func(_, version string) Refusals { return refusals[version] },
		Fetched:  func(string) time.Time { return fetched },
	}, nil
}

// policy is as the app makes it: what is published is in use by time only if the
// peer fetches.
func (p *process) policy(ring keyring.Ring) Policy {
	f := p.f
	policy := f.p
	f.mu.Lock()
	defer f.mu.Unlock()
	if pending, ok := ring.Pending(); ok && f.kind == signs && !p.fetched.IsZero() {
		if since, held := p.since[pending.ID]; held && p.fetched.After(since.Add(-century-f.off)) {
			policy.Published = f.peer.maxAge + 10*time.Second
		}
	}
	switch {
	case f.b.retireEarly:
		policy.Lifetime, policy.Skew = 0, 0
	case f.b.noWayBack:
		policy.Guard, policy.Lifetime, policy.Skew = 0, 0, 0
	case f.b.noHold:
		policy.Limit = 1 << 30
	}
	return policy
}

// candidate is what Keyway makes.
func (p *process) candidate(context.Context) (keyring.Candidate, error) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	p.f.made++
	id := fmt.Sprintf("m%d", p.f.made)
	return keyring.Candidate{ID: id, Value: secret.NewValue([]byte(id))}, nil
}
