package limit_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/limit"
	"keyway/internal/limit/limittest"
	"keyway/internal/threat"
)

var (
	rates  = limit.Rates{Of: map[limit.Kind]limit.Rate{limit.SignIn: {Count: 30, Per: time.Minute}, limit.RefusedToken: {Count: 3, Per: time.Minute}}}
	ada    = netip.MustParseAddr("192.0.2.1")
	brunel = netip.MustParseAddr("192.0.2.2")
)

func TestConformance(t *testing.T) {
	limittest.Run(t, func(*testing.T) limit.Counters { return limit.NewMemory() })
}

// refusals takes n, and counts those that are refused.
func refusals(l *limit.Limiter, kind limit.Kind, addr netip.Addr, n int) (refused int) {
	for range n {
		if _, ok := l.Take(context.Background(), kind, addr); !ok {
			refused++
		}
	}
	return refused
}

func TestSoManyInSoLong(t *testing.T) {
	threat.Covers(t, 12)
	synctest.Test(t, func(t *testing.T) {
		l := limit.New(rates, nil)
		if n := refusals(l, limit.SignIn, ada, 100); n != 70 {
			t.Errorf("%d of 100 at once were refused, of 30/1m", n)
		}
		if n := refusals(l, limit.SignIn, brunel, 30); n != 0 {
			t.Errorf("%d of another address were refused", n)
		}
		wait, ok := l.Take(t.Context(), limit.SignIn, ada)
		if ok || wait != 2*time.Second {
			t.Errorf("one more: %t, wait %v, want 2 s", ok, wait)
		}
		time.Sleep(wait - 1)
		if _, ok := l.Take(t.Context(), limit.SignIn, ada); ok {
			t.Error("allowed before its time")
		}
		time.Sleep(time.Nanosecond)
		if _, ok := l.Take(t.Context(), limit.SignIn, ada); !ok {
			t.Error("not allowed when it was told")
		}
		// Whoever never stops gets the rate, and no more.
		allowed := 0
		for range 600 * 10 {
			if _, ok := l.Take(t.Context(), limit.SignIn, ada); ok {
				allowed++
			}
			time.Sleep(100 * time.Millisecond)
		}
		if allowed < 299 || allowed > 301 {
			t.Errorf("%d in 10 minutes, of 30 a minute", allowed)
		}
		time.Sleep(time.Minute)
		if n := refusals(l, limit.SignIn, ada, 30); n != 0 {
			t.Errorf("%d were refused of somebody who was quiet for a minute", n)
		}
	})
}

func TestWhoCountsAsOne(t *testing.T) {
	a := netip.MustParseAddr
	for _, c := range []struct {
		name       string
		r          limit.Rates
		one, other netip.Addr
		same       bool
	}{
		{"another v4", limit.Rates{}, a("192.0.2.1"), a("192.0.2.2"), false},
		{"v4 and mapped to v6", limit.Rates{}, a("192.0.2.1"), a("::ffff:192.0.2.1"), true},
		{"v6 of one /64", limit.Rates{}, a("2001:db8:1:2::1"), a("2001:db8:1:2:ffff::9"), true},
		{"v6 of another /64", limit.Rates{}, a("2001:db8:1:2::1"), a("2001:db8:1:3::1"), false},
		{"a zone", limit.Rates{}, a("fe80::1%eth0"), a("fe80::1%eth1"), true},
		{"no address", limit.Rates{}, netip.Addr{}, netip.Addr{}, true},
		{"no address and ::", limit.Rates{}, netip.Addr{}, a("::"), false},
		{"no address and 0.0.0.0", limit.Rates{}, netip.Addr{}, a("0.0.0.0"), false},
		{"a /24", limit.Rates{IPv4Prefix: 24}, a("192.0.2.1"), a("192.0.2.254"), true},
		{"another /24", limit.Rates{IPv4Prefix: 24}, a("192.0.2.1"), a("192.0.3.1"), false},
		{"a /20", limit.Rates{IPv4Prefix: 20}, a("10.0.16.1"), a("10.0.31.255"), true},
		{"another /20", limit.Rates{IPv4Prefix: 20}, a("10.0.16.1"), a("10.0.32.0"), false},
		{"a /56", limit.Rates{IPv6Prefix: 56}, a("2001:db8::1"), a("2001:db8:0:ff::"), true},
		{"another /57", limit.Rates{IPv6Prefix: 57}, a("2001:db8::1"), a("2001:db8:0:80::"), false},
		{"whole v6", limit.Rates{IPv6Prefix: 128}, a("2001:db8::1"), a("2001:db8::2"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.r.Of = map[limit.Kind]limit.Rate{limit.SignIn: {Count: 1, Per: time.Hour}}
			l := limit.New(c.r, nil)
			refusals(l, limit.SignIn, c.one, 1)
			if got := refusals(l, limit.SignIn, c.other, 1) == 1; got != c.same {
				t.Errorf("one: %t, want %t", got, c.same)
			}
		})
	}
}

func TestSpentCountsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit.New(rates, nil)
		for range 100 {
			if _, spent := l.Spent(limit.RefusedToken, ada); spent {
				t.Fatal("spent, and nothing was taken")
			}
		}
		for range 3 {
			l.TakeBeside(limit.RefusedToken, ada, func(func()) { t.Error("something is left to do beside") })
		}
		wait, spent := l.Spent(limit.RefusedToken, ada)
		if !spent || wait != 20*time.Second {
			t.Errorf("spent %t, wait %v; want 20 s", spent, wait)
		}
		for _, other := range []struct {
			kind limit.Kind
			addr netip.Addr
		}{{limit.SignIn, ada}, {limit.RefusedToken, brunel}} {
			if _, spent := l.Spent(other.kind, other.addr); spent {
				t.Error("spent for another", other)
			}
		}
		time.Sleep(wait)
		if _, spent := l.Spent(limit.RefusedToken, ada); spent {
			t.Error("spent for ever")
		}
	})
}

func TestWhatHasNoRateIsNotLimited(t *testing.T) {
	l := limit.New(rates, nil)
	if n := refusals(l, limit.Callback, ada, 10_000); n != 0 {
		t.Errorf("%d refused", n)
	}
}

// A flood of addresses, each of which asks once, frees nobody of his limit, and
// does not grow for ever; those who come after are let in.
func TestAFloodOfAddressesFreesNobody(t *testing.T) {
	threat.Covers(t, 12)
	l := limit.New(rates, nil)
	blocked := make([]netip.Addr, 200)
	for i := range blocked {
		blocked[i] = nth(uint32(i))
		refusals(l, limit.SignIn, blocked[i], 31)
	}
	before := time.Now()
	for i := range uint32(3 * limit.MaxKeys) {
		if _, ok := l.Take(t.Context(), limit.SignIn, nth(1000+i)); !ok {
			t.Fatal("one who asks for the first time is refused")
		}
	}
	if n := l.Held(); n > 2*limit.MaxKeys {
		t.Errorf("%d prefixes are held", n)
	}
	free := 0
	for _, addr := range blocked {
		free += 31 - refusals(l, limit.SignIn, addr, 31)
	}
	// What time alone has given them.
	if due := len(blocked) * (1 + int(time.Since(before)/(2*time.Second))); free > due {
		t.Errorf("after the flood those who were blocked were allowed %d; time alone gave them %d", free, due)
	}
}

func nth(i uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 10<<24+i)))
}

// faulty are counters that don't answer, or say that they can't.
type faulty struct {
	limit.Counters
	err   atomic.Pointer[error]
	hang  atomic.Bool
	asked atomic.Int64
}

func (f *faulty) Take(ctx context.Context, k limit.Key, r limit.Rate, n int) (time.Duration, bool, error) {
	f.asked.Add(1)
	if f.hang.Load() {
		<-ctx.Done()
		return 0, false, ctx.Err()
	}
	if err := f.err.Load(); err != nil {
		return 0, false, *err
	}
	return f.Counters.Take(ctx, k, r, n)
}

func TestWithoutTheSharedCountersEachCountsByItself(t *testing.T) {
	threat.Covers(t, 67)
	away := errors.New("away")
	for name, fail := range map[string]func(*faulty){
		"away":  func(f *faulty) { f.err.Store(&away) },
		"hangs": func(f *faulty) { f.hang.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shared := &faulty{Counters: limit.NewMemory()}
				a, b := limit.New(rates, shared), limit.New(rates, shared)
				if n := refusals(a, limit.SignIn, ada, 15) + refusals(b, limit.SignIn, ada, 5); n != 0 {
					t.Fatalf("%d refused, of 30", n)
				}
				fail(shared)
				began, asked := time.Now(), shared.asked.Load()
				// It has counted 15 by itself.
				if n := refusals(a, limit.SignIn, ada, 30); n != 15 {
					t.Errorf("%d of 30 were refused by who had counted 15 of 30", n)
				}
				if took := time.Since(began); took > limit.Patience {
					t.Errorf("took %v", took)
				}
				if n := shared.asked.Load() - asked; n != 1 {
					t.Errorf("asked %d times within a second", n)
				}
				// Back: the next that is asked after the pause counts together again.
				shared.err.Store(nil)
				shared.hang.Store(false)
				time.Sleep(limit.Pause)
				if refusals(a, limit.SignIn, brunel, 20) != 0 || refusals(b, limit.SignIn, brunel, 20) != 10 {
					t.Error("replicas don't count together again")
				}
			})
		})
	}
}

// However many ask at once, those that a hanging store holds are bounded, and
// nobody waits long.
func TestAHangingStoreHoldsFew(t *testing.T) {
	threat.Covers(t, 67)
	synctest.Test(t, func(t *testing.T) {
		shared := &faulty{}
		shared.hang.Store(true)
		l := limit.New(rates, shared)
		began := time.Now()
		var all sync.WaitGroup
		for i := range uint32(2000) {
			all.Go(func() {
				if _, ok := l.Take(t.Context(), limit.SignIn, nth(i)); !ok {
					t.Error("refused")
				}
			})
		}
		all.Wait()
		if n, took := shared.asked.Load(), time.Since(began); n > 128 || took > limit.Patience {
			t.Errorf("%d asked, for %v", n, took)
		}
	})
}

// Whoever hangs up is counted.
func TestHangingUpCounts(t *testing.T) {
	shared := limit.NewMemory()
	a, b := limit.New(rates, shared), limit.New(rates, shared)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 30 {
		a.Take(gone, limit.SignIn, ada)
	}
	if _, ok := b.Take(t.Context(), limit.SignIn, ada); ok {
		t.Error("30 requests that were hung up did not count")
	}
}

func TestCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := limit.NewCallers(0, 0)
		rate := limit.Rate{Count: 2, Per: time.Minute}
		user := func(route, provider, subject string) bool {
			_, ok := c.TakeUser(route, provider, subject, rate)
			return ok
		}
		for i, want := range []bool{true, true, false} {
			if user("a", "p", "s") != want {
				t.Errorf("%d: want %t", i, want)
			}
		}
		for _, other := range [][3]string{{"b", "p", "s"}, {"a", "q", "s"}, {"a", "p", "t"}, {"ap", "", "s"}, {"", "ap", "s"}, {"a", "ps", ""}} {
			if !user(other[0], other[1], other[2]) {
				t.Errorf("%q count as another", other)
			}
		}
		for i, want := range []bool{true, true, false} {
			if wait, ok := c.TakeAddr("a", ada, rate); ok != want || !ok && wait != 30*time.Second {
				t.Errorf("%d: want %t; wait %v", i, want, wait)
			}
		}
		if _, ok := c.TakeAddr("a", brunel, rate); !ok {
			t.Error("another address counts as one")
		}
		if wait, ok := c.TakeUser("a", "p", "s", limit.Rate{Count: 120, Per: time.Minute}); ok || wait != 500*time.Millisecond {
			t.Errorf("a rate that has changed does not count at once: %t, wait %v of 500 ms", ok, wait)
		}
	})
}

func TestNoAllocation(t *testing.T) {
	l, c := limit.New(rates, nil), limit.NewCallers(0, 0)
	rate := limit.Rate{Count: 1000, Per: time.Second}
	subject := "somebody"
	refusals(l, limit.RefusedToken, brunel, 10) // somebody is limited
	for name, do := range map[string]func(){
		"Spent":    func() { l.Spent(limit.RefusedToken, ada) },
		"Take":     func() { l.Take(context.Background(), limit.SignIn, ada) },
		"TakeUser": func() { c.TakeUser("route", "provider", subject, rate) },
		"TakeAddr": func() { c.TakeAddr("route", ada, rate) },
	} {
		if n := testing.AllocsPerRun(100, do); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkSpentNobodyIs(b *testing.B) {
	l := limit.New(rates, nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Spent(limit.RefusedToken, ada)
		}
	})
}

func BenchmarkSpentSomebodyIs(b *testing.B) {
	l := limit.New(rates, nil)
	refusals(l, limit.RefusedToken, brunel, 10)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Spent(limit.RefusedToken, ada)
		}
	})
}

func BenchmarkTakeInMemory(b *testing.B) {
	l := limit.New(limit.Rates{Of: map[limit.Kind]limit.Rate{limit.SignIn: {Count: limit.MaxCount, Per: time.Second}}}, nil)
	b.ReportAllocs()
	for i := uint32(0); b.Loop(); i++ {
		l.Take(b.Context(), limit.SignIn, nth(i%50_000))
	}
}

func BenchmarkCallers(b *testing.B) {
	c := limit.NewCallers(0, 0)
	rate := limit.Rate{Count: limit.MaxCount, Per: time.Second}
	b.ReportAllocs()
	for b.Loop() {
		c.TakeUser("route", "provider", "somebody", rate)
	}
}
