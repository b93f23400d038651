package storm

import (
	"context"
	crand "crypto/rand"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// storm does what operators, orchestrators and bad luck do. It runs in the test's
// goroutine, and does one thing at a time; what it asks others to do goes on
// beside it.
type storm struct {
	*world
	operator *operator
	random   *rand.Rand
	due      []event // the soonest first
	beside   sync.WaitGroup
}

// event is something that happens at a time.
type event struct {
	at time.Time
	do func(ctx context.Context)
}

func (s *storm) in(d time.Duration, do func(ctx context.Context)) {
	s.due = append(s.due, event{time.Now().Add(d), do})
	slices.SortStableFunc(s.due, func(a, b event) int { return a.at.Compare(b.at) })
}

// between is a time from low to high.
func (s *storm) between(low, high time.Duration) time.Duration {
	return low + time.Duration(s.random.Int64N(int64(high-low)))
}

// every has something done again and again.
func (s *storm) every(low, high time.Duration, do func(ctx context.Context)) {
	s.in(s.between(low, high), func(ctx context.Context) {
		do(ctx)
		s.every(low, high, do)
	})
}

// rage goes on until ctx ends, and then brings everything back.
func (s *storm) rage(ctx context.Context) {
	s.in(time.Second, s.rotateAll)
	s.every(s.scaled(400*time.Millisecond), s.scaled(1200*time.Millisecond), s.rotateOne)
	s.every(s.scaled(3*time.Second), s.scaled(6*time.Second), s.rotateAll)
	s.every(s.scaled(5*time.Second), s.scaled(9*time.Second), s.rollBackOne)
	s.every(s.scaled(4*time.Second), s.scaled(8*time.Second), s.handInSalt)
	for _, c := range s.credentials() {
		s.every(s.scaled(2*time.Second), s.scaled(4*time.Second), func(ctx context.Context) { s.change(ctx, c) })
	}
	// At first everything is there, so that something turns: a fleet that is new, and
	// one of which a replica is gone without a word, moves nothing for 12 seconds.
	s.in(s.o.quiet, func(context.Context) {
		s.every(s.scaled(time.Second), s.scaled(9*time.Second), s.killOne)
		s.every(s.scaled(time.Second), s.scaled(9*time.Second), s.redisAway)
	})
	for ctx.Err() == nil && len(s.due) > 0 {
		next := s.due[0]
		if !pause(ctx, time.Until(next.at)) {
			break
		}
		s.due = s.due[1:]
		next.do(ctx)
	}
	s.beside.Wait()
	// Whoever had begun to change a secret goes on, or the fleet would wait for ever
	// for a provider that was never told.
	for _, c := range s.credentials() {
		if c.changing {
			s.ledger.event("%s: the storm is over, and the provider takes both", c.ring)
			s.accepts(c, c.old, c.value)
		}
	}
}

// scaled: a long storm has more of everything, and is less hasty.
func (s *storm) scaled(d time.Duration) time.Duration {
	if s.o.brief {
		return d
	}
	return 2 * d
}

// calm brings back what is away, and waits until all replicas serve.
func (s *storm) calm(ctx context.Context) {
	if s.redisIsAway() {
		s.redis.Restart()
		s.redisBack()
	}
	for _, p := range s.replicas {
		for deadline := time.Now().Add(30 * time.Second); p.isDown(); pause(ctx, 50*time.Millisecond) {
			if !p.runs() {
				p.start(s.t, s.binary)
			}
			if p.isReady() {
				p.back()
			}
			if time.Now().After(deadline) {
				s.ledger.amiss("replica %s does not come back", p.name)
				break
			}
		}
	}
}

// any is a live replica.
func (s *storm) any() *replica {
	var live []*replica
	for _, p := range s.replicas {
		if p.isReady() && !p.isDown() {
			live = append(live, p)
		}
	}
	if len(live) == 0 {
		live = s.replicas
	}
	return live[s.random.IntN(len(live))]
}

// secrets are those that the admin API can turn without anybody's help.
var secrets = []string{"signing-key", "session-key", "token-hash-salt", "ua-hash-salt", "csrf-key", "state-key", "key-encryption-key"}

// urgent are those whose compromise nobody notices.
var urgent = []string{"session-key", "key-encryption-key"}

func (s *storm) rotateOne(ctx context.Context) {
	p, secret, compromised := s.any(), secrets[s.random.IntN(len(secrets))], s.random.IntN(20) == 0
	if compromised {
		secret = urgent[s.random.IntN(len(urgent))]
	}
	what := secret
	if compromised {
		what += " as compromised"
	}
	s.beside.Go(func() {
		if compromised {
			s.ledger.did("rotations asked for as of something compromised")
		}
		s.operator.rotate(ctx, p, map[string]any{"secrets": []string{secret}, "compromised": compromised}, what)
	})
}

// rotateAll is asked of two replicas at once, as people do who don't speak.
func (s *storm) rotateAll(ctx context.Context) {
	for _, p := range []*replica{s.any(), s.any()} {
		s.beside.Go(func() { s.operator.rotate(ctx, p, map[string]any{"secrets": secrets}, "everything") })
	}
}

func (s *storm) rollBackOne(ctx context.Context) {
	p, secret := s.any(), secrets[s.random.IntN(len(secrets))]
	s.beside.Go(func() { s.operator.rollBack(ctx, p, secret) })
}

// handInSalt swaps the salt's file, on each replica at its own moment. Nothing of
// the old one is left in the folder.
func (s *storm) handInSalt(context.Context) {
	s.salt = text()
	s.ledger.hide(s.salt)
	s.ledger.did("values of TOKEN_HASH_SALT handed in")
	s.ledger.event("a new TOKEN_HASH_SALT is handed in")
	s.swapAll("token_hash_salt", s.salt, 3*time.Second)
}

// swapAll changes a file of every replica within a time.
func (s *storm) swapAll(name, value string, within time.Duration) {
	for _, p := range s.replicas {
		s.in(s.between(0, within), func(context.Context) {
			if err := p.files.swap(map[string]string{name: value}); err != nil {
				s.ledger.amiss("swapping %s: %v", name, err)
			}
			s.ledger.event("replica %s finds it: %s", p.name, name)
		})
	}
}

// change replaces a client secret, in one of the orders in which people do it.
func (s *storm) change(ctx context.Context, c *credential) {
	if c.changing {
		return
	}
	before, err := s.inUse(ctx, c)
	if err != nil {
		return // nobody begins while something is away
	}
	old, next, began := c.value, text(), time.Now()
	c.changing, c.old, c.value = true, old, next
	s.ledger.hide(next)
	done := func(context.Context) {
		s.ledger.event("%s: the provider takes only the new one", c.ring)
		s.accepts(c, next)
		s.settle(c, before, began)
	}
	const spread = 2 * time.Second
	switch s.random.IntN(4) {
	case 0:
		s.ledger.event("%s: the provider takes both, then the new one is handed in, then the old one is removed", c.ring)
		s.accepts(c, old, next)
		s.in(s.between(0, spread), func(context.Context) { s.swapAll(c.file, next, spread) })
		s.in(2*spread+s.between(time.Second, 3*time.Second), done)
	case 1:
		s.ledger.event("%s: handed in first, then the provider takes both, then only the new one", c.ring)
		s.swapAll(c.file, next, spread)
		s.in(s.between(0, 2*spread), func(context.Context) { s.accepts(c, old, next) })
		s.in(2*spread+s.between(time.Second, 3*time.Second), done)
	case 2:
		s.ledger.event("%s: handed in first, then the provider changes it from one instant to the next", c.ring)
		s.swapAll(c.file, next, spread)
		s.in(spread+s.between(1500*time.Millisecond, 3*time.Second), done)
	case 3:
		s.ledger.event("%s: handed in, and changed at the provider, at the same moment", c.ring)
		for _, p := range s.replicas {
			if err := p.files.swap(map[string]string{c.file: next}); err != nil {
				s.ledger.amiss("swapping %s: %v", c.file, err)
			}
		}
		s.in(0, done)
	}
}

// inUse is the version of a client secret that is in use.
func (s *storm) inUse(ctx context.Context, c *credential) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return s.operator.active(ctx, c.ring)
}

// settle waits until the new client secret is in use. Whoever changes it waits for
// that before it is changed again.
func (s *storm) settle(c *credential, before string, began time.Time) {
	s.in(500*time.Millisecond, func(ctx context.Context) {
		if now, err := s.inUse(ctx, c); (err != nil || now == before) && !s.o.hasty {
			s.settle(c, before, began)
			return
		}
		c.changing = false
		s.ledger.event("%s: the new one is in use", c.ring)
		s.ledger.rotated(c.ring, "active", time.Since(began))
	})
}

// credentials are those that people change.
func (w *world) credentials() []*credential {
	if w.client == nil {
		return []*credential{w.asker}
	}
	return []*credential{w.client, w.asker}
}

func text() string { return crand.Text() + crand.Text() }

// killOne ends a replica as the kernel would, and has it started again. There is
// one down at a time: what a fleet of three is for.
func (s *storm) killOne(context.Context) {
	for _, p := range s.replicas {
		if p.isDown() {
			return
		}
	}
	p := s.replicas[s.random.IntN(len(s.replicas))]
	s.ledger.event("kill -9 of replica %s", p.name)
	p.kill()
	s.in(s.between(100*time.Millisecond, 2*time.Second), func(ctx context.Context) { s.bring(ctx, p) })
}

// bring starts a replica, again and again until it serves, as an orchestrator
// does.
func (s *storm) bring(_ context.Context, p *replica) {
	p.start(s.t, s.binary)
	s.ledger.event("replica %s is started", p.name)
	s.look(p)
}

// look is at a replica that was started: one that ended again is started anew.
func (s *storm) look(p *replica) {
	s.in(100*time.Millisecond, func(context.Context) {
		switch {
		case p.isReady():
			p.back()
			s.ledger.event("replica %s serves", p.name)
		case p.runs():
			s.look(p)
		default:
			s.ledger.event("replica %s did not come up", p.name)
			p.died++
			s.in(500*time.Millisecond, func(ctx context.Context) { s.bring(ctx, p) })
		}
	})
}

// redisAway has Redis hang, or die, for a while.
func (s *storm) redisAway(context.Context) {
	if s.redisIsAway() {
		return
	}
	lasts := s.between(500*time.Millisecond, 4*time.Second)
	s.redisGone()
	if s.random.IntN(2) == 0 {
		s.ledger.event("Redis hangs for %s", lasts)
		s.redis.Pause()
		s.in(lasts, func(context.Context) { s.redis.Resume(); s.redisBack() })
		return
	}
	s.ledger.event("Redis is killed, and comes back after %s", lasts)
	s.redis.Kill()
	s.in(lasts, func(context.Context) { s.redis.Restart(); s.redisBack() })
}
