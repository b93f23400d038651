package limit

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"
)

const (
	// Patience is how long shared counters have to answer.
	Patience = 200 * time.Millisecond
	// Pause is how long they are left alone when they did not.
	Pause = time.Second
	// maxAsking bounds how many ask them at once; who finds so many before goes by
	// what this replica counted.
	maxAsking = 128
)

// Rates say how much is too much.
type Rates struct {
	// IPv4Prefix and IPv6Prefix are the leading bits of an address that count as
	// one; 0 means 32 and 64.
	IPv4Prefix, IPv6Prefix int
	// Of has a rate for each kind that is limited.
	Of map[Kind]Rate
}

// Limiter counts what comes from address prefixes, and from accounts. It lives as
// long as the process, and is safe for concurrent use.
type Limiter struct {
	epoch  time.Time
	rates  Rates
	own    *Memory
	shared Counters // nil: each replica by itself

	// spent has until when a key is known to be beyond its limit; last is when the
	// last of these is over, so that nobody looks when nobody is.
	spent *table[Key]
	last  atomic.Int64

	asking atomic.Int64
	pause  atomic.Int64 // until when shared is not asked
}

// New makes a Limiter. Replicas share what they count if shared is not nil.
func New(r Rates, shared Counters) *Limiter {
	r.IPv4Prefix, r.IPv6Prefix = prefixes(r.IPv4Prefix, r.IPv6Prefix)
	return &Limiter{epoch: time.Now(), rates: r, own: NewMemory(), shared: shared, spent: newTable[Key](MaxKeys)}
}

func (l *Limiter) key(kind Kind, addr netip.Addr) Key {
	return KeyOf(kind, addr, l.rates.IPv4Prefix, l.rates.IPv6Prefix)
}

// Take counts one of a kind for addr's prefix, or says that it is one too many, and
// after how long it would not be. It takes [Patience] at most; who is known to be
// beyond the limit is answered from memory.
func (l *Limiter) Take(ctx context.Context, kind Kind, addr netip.Addr) (retryAfter time.Duration, ok bool) {
	if l.rates.Of[kind].IsZero() {
		return 0, true
	}
	return l.takeKey(ctx, l.key(kind, addr), 1)
}

// TakeUser counts n of a kind at once for somebody who is known, like Take: all of
// them, or none. More than the whole rate count as the whole rate; 0 are none.
func (l *Limiter) TakeUser(ctx context.Context, kind Kind, provider, subject string, n int) (retryAfter time.Duration, ok bool) {
	if n <= 0 || l.rates.Of[kind].IsZero() {
		return 0, true
	}
	return l.takeKey(ctx, KeyOfAccount(kind, provider, subject), n)
}

func (l *Limiter) takeKey(ctx context.Context, k Key, n int) (retryAfter time.Duration, ok bool) {
	rate := l.rates.Of[k.Kind]
	if wait, spent := l.spentKey(k); spent {
		return wait + rate.beyondOne(n), false
	}
	if wait, ok := l.take(k, rate, n); !ok {
		return wait, false
	}
	return l.ask(ctx, k, rate, n)
}

// beyondOne is how much longer n have to wait than one.
func (r Rate) beyondOne(n int) time.Duration { return time.Duration(r.of(n) - r.each()) }

// TakeBeside counts like Take, for who does not wait for the answer: the next
// Spent has it. What takes time is left to run.
func (l *Limiter) TakeBeside(kind Kind, addr netip.Addr, run func(func())) {
	rate := l.rates.Of[kind]
	if rate.IsZero() {
		return
	}
	k := l.key(kind, addr)
	if _, spent := l.spentKey(k); spent {
		return
	}
	if _, ok := l.take(k, rate, 1); ok && l.shared != nil {
		run(func() { l.ask(context.Background(), k, rate, 1) })
	}
}

// Spent says whether addr's prefix is known to be beyond the limit, and for how
// long. It counts nothing and asks nobody. While nobody is beyond any limit it
// costs an atomic load.
func (l *Limiter) Spent(kind Kind, addr netip.Addr) (retryAfter time.Duration, spent bool) {
	if l.last.Load() == 0 {
		return 0, false
	}
	return l.spentKey(l.key(kind, addr))
}

func (l *Limiter) spentKey(k Key) (retryAfter time.Duration, spent bool) {
	last := l.last.Load()
	if last == 0 {
		return 0, false
	}
	now := clock(l.epoch)
	if last <= now {
		l.last.CompareAndSwap(last, 0)
		return 0, false
	}
	until := l.spent.get(k)
	return time.Duration(max(until-now, 0)), until > now
}

// take counts here. The count goes on while the shared one does, so that it is good
// to go by when that can't be had. Whoever is beyond the limit by it is so by all.
func (l *Limiter) take(k Key, rate Rate, n int) (time.Duration, bool) {
	wait, ok, _ := l.own.Take(context.Background(), k, rate, n)
	l.markOne(k, rate, n, wait, ok)
	return wait, ok
}

func (l *Limiter) ask(ctx context.Context, k Key, rate Rate, n int) (time.Duration, bool) {
	if l.shared == nil || clock(l.epoch) < l.pause.Load() {
		return 0, true
	}
	if l.asking.Add(1) > maxAsking {
		l.asking.Add(-1)
		return 0, true
	}
	defer l.asking.Add(-1)
	// Whoever hangs up is counted all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), Patience)
	defer cancel()
	wait, ok, err := l.shared.Take(ctx, k, rate, n)
	if err != nil {
		l.pause.Store(clock(l.epoch) + int64(Pause))
		return 0, true
	}
	if !ok {
		l.own.giveBack(k, rate, n) // what is refused does not count, by whomever
	}
	l.markOne(k, rate, n, wait, ok)
	return wait, ok
}

// markOne marks what an answer about n says about one: fewer may still fit.
func (l *Limiter) markOne(k Key, rate Rate, n int, wait time.Duration, ok bool) {
	if !ok {
		wait -= rate.beyondOne(n)
	}
	l.mark(k, wait)
}

// mark remembers that the next of k is one too many for as long as wait.
func (l *Limiter) mark(k Key, wait time.Duration) {
	if wait <= 0 {
		return
	}
	now := clock(l.epoch)
	until := now + int64(wait)
	l.spent.step(k, now, func(at int64) int64 {
		until = max(at, until)
		return until
	})
	for last := l.last.Load(); last < until && !l.last.CompareAndSwap(last, until); last = l.last.Load() {
	}
}
