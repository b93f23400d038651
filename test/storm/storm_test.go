package storm

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"keyway/internal/threat"
)

// TestStorm is short by itself. STORM_TIME makes it long, STORM_SEED repeats one.
func TestStorm(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) % 1_000_000
	if text := os.Getenv("STORM_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("STORM_SEED: expected a number, found %q", text)
		}
		seed = n
	}
	o := options{
		seed: seed, lasts: 28 * time.Second, quiet: 17 * time.Second, lifetime: 10 * time.Minute, life: 6 * time.Second, slow: 4 * time.Second,
		guard: time.Second, token: 4 * time.Second, users: 10,
	}
	o.brief, o.hasty = true, os.Getenv("STORM_HASTY") == "1"
	if text := os.Getenv("STORM_TIME"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < 25*time.Second {
			t.Fatalf("STORM_TIME: expected a time of at least 25s, as in 5m, found %q", text)
		}
		o.brief = d < 40*time.Second
		o.lasts = d
	}
	if !o.brief {
		o.quiet, o.life, o.slow, o.guard, o.users = 25*time.Second, 40*time.Second, 30*time.Second, 5*time.Second, 16
	}
	t.Run("client assertions", func(t *testing.T) {
		threat.Covers(t, 54, 56, 61)
		t.Parallel()
		o := o
		o.name, o.method = "assertions", "private_key_jwt"
		weather(t, o)
	})
	t.Run("client secrets, and sessions that expire", func(t *testing.T) {
		threat.Covers(t, 61, 62)
		t.Parallel()
		o := o
		o.name, o.method, o.seed = "secrets", "client_secret_basic", o.seed+1
		// Versions are retired meanwhile, because what they have issued is over.
		o.lifetime, o.users = 12*time.Second, o.users/2
		if !o.brief {
			o.lifetime, o.life, o.users = 80*time.Second, 30*time.Second, 12
		}
		weather(t, o)
	})
}

// weather is one storm from beginning to end.
func weather(t *testing.T, o options) {
	w := newWorld(t, o)
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	w.start(ctx)
	t.Logf("%s: STORM_SEED=%d, for %s", o.name, o.seed, o.lasts)

	s := &storm{world: w, operator: newOperator(w), random: rand.New(rand.NewPCG(o.seed, 0))}
	keys := &published{w: w, seen: map[string]time.Time{}, gone: map[string]time.Time{}}
	looking, look := context.WithCancel(ctx)
	working, home := context.WithCancel(ctx)
	var lookers, users sync.WaitGroup
	lookers.Go(func() { s.operator.follow(looking) })
	lookers.Go(func() { keys.poll(looking) })
	for n := range o.users {
		users.Go(func() { w.user(working, n) })
	}
	users.Go(func() { w.machineCalls(working) })
	raging, end := context.WithTimeout(ctx, o.lasts)
	defer end()
	s.rage(raging)
	s.calm(ctx)
	if !o.brief {
		s.converge(ctx)
	}
	pause(ctx, 2*time.Second) // and everybody is still there
	home()
	users.Wait()
	look()
	lookers.Wait()
	for _, p := range w.replicas {
		s.operator.outcomes(ctx, p)
	}
	w.judge(keys)
	w.enough()
	w.report()
	if n := len(w.ledger.failures); n > 0 {
		t.Errorf("%d failures; the first: %s\nall of them, with what the replicas logged around them: %s/failures.txt",
			n, w.ledger.failures[0].text, w.dir)
	}
}
