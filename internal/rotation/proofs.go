package rotation

import (
	"context"
	"errors"
	"sync"
	"time"

	"keyway/internal/keyring"
)

const (
	// proveWithin bounds one question to a peer.
	proveWithin = 20 * time.Second
	// A peer that has refused a version is asked again after proveSoonest, twice
	// that, and so on up to proveLatest: a refusal looks to it like somebody who
	// guesses, and many count those.
	proveSoonest = time.Second
	proveLatest  = time.Minute
	// provePatient is how many times that goes on before it is asked every
	// proveRarely only.
	provePatient = 30
	proveRarely  = 5 * time.Minute
	// An acceptance is good for keepAccepted, a refusal until the peer should have
	// been asked again for long: who leads now may not have led meanwhile.
	keepAccepted = time.Minute
	keepRefused  = 3 * proveRarely
	// pauseMost bounds how long a peer can have us wait by what it says itself: it
	// must not keep a secret from ever turning.
	pauseMost = time.Hour
)

// LaterError is what [Secret.Prove] returns when the peer wants to be left alone
// for a while (RFC 9110 section 10.2.3, Retry-After). For so long, an hour at
// most, it is not asked again about any version of the secret, whatever happens.
// It may come with the verdict Refused, when of several peers one refused and
// another was busy.
type LaterError struct {
	After time.Duration // from when it said so
	Err   error         // what it said; never nil
}

func (e *LaterError) Error() string { return e.Err.Error() }

// Unwrap returns what the peer said.
func (e *LaterError) Unwrap() error { return e.Err }

// proofs is what the peer said of one version of a secret, the pending one.
type proofs struct {
	mu      sync.Mutex
	version string
	proof   Proof
	asked   bool
	busy    bool
	tries   int
	hurried int // of them before their time, because of a fetch
	last    time.Time
	next    time.Time
	pause   time.Time // not before, because the peer said so; of all versions
}

func (p *proofs) of(version string) (Proof, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proof, p.version == version && p.asked
}

// ask asks the peer, unless it has been asked lately or has accepted. It does not
// wait for the answer: the Runner is woken by it. A peer that has fetched what
// is published since it was asked last may know better now. But anybody can fetch
// it, and must not have us knock at the peer every second: each question that a
// fetch hurries makes the next such wait twice as long, up to proveLatest. And
// nothing hurries a question that the peer wants later: one that counts our
// requests would only go on refusing them.
func (p *proofs) ask(ctx context.Context, r *Runner, s *turning, pending keyring.Version, fetched time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.version != pending.ID {
		p.version, p.proof, p.asked, p.tries, p.hurried, p.next, p.last = pending.ID, Proof{}, false, 0, 0, time.Time{}, time.Time{}
	}
	if p.stale(now) {
		p.proof, p.asked, p.next = Proof{}, false, time.Time{}
	}
	due := !now.Before(p.next)
	hurry := !due && fetched.After(p.last) && now.Sub(p.last) >= min(proveLatest, proveSoonest<<min(p.hurried, 10))
	if p.busy || p.proof.Accepted || now.Before(p.pause) || !due && !hurry {
		return
	}
	if hurry {
		p.hurried++
	}
	p.busy, p.last = true, now
	r.beside(ctx, proveWithin, func(ctx context.Context) {
		verdict, err := Unknown, errDefect
		defer func() {
			p.answered(pending.ID, verdict, err, r.random())
			if verdict == Accepted {
				r.Wake()
			} else {
				r.wakeLater()
			}
		}()
		verdict, err = s.Prove(ctx, pending.ID)
		if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
			r.o.Log.Info("the peer could not be asked whether it accepts a pending version; it is asked again", "secret", s.Name, "version", pending.ID, "error", err.Error())
		}
	})
}

func (p *proofs) stale(now time.Time) bool {
	keep := keepRefused
	if p.proof.Accepted {
		keep = keepAccepted
	}
	return p.asked && now.Sub(p.proof.At) > keep
}

func (p *proofs) answered(version string, verdict Verdict, err error, random float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = false
	now := time.Now()
	if later, ok := errors.AsType[*LaterError](err); ok {
		p.pause = now.Add(min(later.After, pauseMost))
		if verdict == Refused {
			err = nil // of another peer, and as good as without
		}
	}
	if p.version != version {
		return
	}
	p.tries++
	p.next = now.Add(backOff(p.tries, random))
	if err != nil {
		return
	}
	p.asked = true
	p.proof.At = now
	switch verdict {
	case Accepted:
		p.proof.Accepted, p.proof.FirstRefused = true, time.Time{}
	case Refused:
		p.proof.Accepted = false
		if p.proof.FirstRefused.IsZero() {
			p.proof.FirstRefused = now
		}
	}
}

// backOff is the time before the next question, give or take a fifth, by a random
// number from 0 to 1.
func backOff(tries int, random float64) time.Duration {
	d := proveRarely
	if tries <= provePatient {
		d = min(proveLatest, proveSoonest<<min(tries-1, 10))
	}
	return time.Duration(float64(d) * (0.8 + 0.4*random))
}
