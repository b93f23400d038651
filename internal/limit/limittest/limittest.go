package limittest

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/limit"
)

var (
	one   = limit.KeyOf(limit.SignIn, netip.MustParseAddr("192.0.2.1"), 32, 64)
	other = limit.KeyOf(limit.SignIn, netip.MustParseAddr("192.0.2.2"), 32, 64)
	user  = limit.KeyOfAccount(limit.SignIn, "main", "ada")
	same  = limit.KeyOfAccount(limit.SignIn, "mai", "nada")
	kind  = limit.KeyOf(limit.Callback, netip.MustParseAddr("192.0.2.1"), 32, 64)
)

// Run tests counters that open makes, which start at nothing.
func Run(t *testing.T, open func(*testing.T) limit.Counters) {
	hour := limit.Rate{Count: 5, Per: time.Hour}
	t.Run("a burst, and then no more", func(t *testing.T) {
		c := open(t)
		for i := range hour.Count {
			wait := take(t, c, one, hour, true)
			if last := i == hour.Count-1; last != (wait > 0) {
				t.Errorf("after %d: the next in %v", i+1, wait)
			}
		}
		for range 3 { // what is refused does not count
			if wait := take(t, c, one, hour, false); wait < 11*time.Minute || wait > 12*time.Minute {
				t.Errorf("told to wait %v of 12 minutes", wait)
			}
		}
	})
	t.Run("others are others", func(t *testing.T) {
		c := open(t)
		for range hour.Count {
			take(t, c, one, hour, true)
		}
		take(t, c, one, hour, false)
		take(t, c, other, hour, true)
		take(t, c, kind, hour, true)
		for range hour.Count {
			take(t, c, user, hour, true)
		}
		take(t, c, user, hour, false)
		take(t, c, same, hour, true)
	})
	t.Run("several are allowed together or not at all", func(t *testing.T) {
		c := open(t)
		takeAll(t, c, user, hour, 3, true)
		if wait := takeAll(t, c, user, hour, 3, false); wait < 11*time.Minute || wait > 12*time.Minute {
			t.Errorf("told to wait %v of 12 minutes: one of three does not fit", wait)
		}
		if wait := takeAll(t, c, user, hour, 5, false); wait < 35*time.Minute || wait > 36*time.Minute {
			t.Errorf("told to wait %v of 36 minutes: three of five do not fit", wait)
		}
		if wait := takeAll(t, c, user, hour, 1, true); wait != 0 {
			t.Errorf("one of two that are left, and the other in %v", wait)
		}
		if wait := takeAll(t, c, user, hour, 1, true); wait < 11*time.Minute || wait > 12*time.Minute {
			t.Errorf("the last one, and another in %v of 12 minutes", wait)
		}
		takeAll(t, c, user, hour, 1, false)
		// More than there are in all would never be allowed.
		takeAll(t, c, same, hour, 500, true)
		if wait := takeAll(t, c, same, hour, 500, false); wait < 59*time.Minute || wait > time.Hour {
			t.Errorf("told to wait %v of an hour", wait)
		}
	})
	t.Run("a rate that changes counts at once", func(t *testing.T) {
		c := open(t)
		for range hour.Count {
			take(t, c, one, hour, true)
		}
		if wait := take(t, c, one, limit.Rate{Count: 5, Per: time.Minute}, false); wait > 12*time.Second {
			t.Errorf("told to wait %v of 12 s", wait)
		}
		take(t, c, other, limit.Rate{Count: 1, Per: time.Hour}, true)
		take(t, c, other, limit.Rate{Count: 1, Per: time.Hour}, false)
		take(t, c, other, limit.Rate{Count: 1000, Per: 24 * time.Hour}, true)
	})
	t.Run("many at once are counted one by one", func(t *testing.T) {
		c := open(t)
		rate := limit.Rate{Count: 50, Per: time.Hour}
		var allowed atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 20 {
					if _, ok, err := c.Take(t.Context(), one, rate, 1); err != nil {
						t.Error(err)
					} else if ok {
						allowed.Add(1)
					}
				}
			})
		}
		all.Wait()
		if n := allowed.Load(); n != 50 {
			t.Errorf("%d were allowed, of 50", n)
		}
	})
	t.Run("the time that is told is the time it takes", func(t *testing.T) {
		c := open(t)
		rate := limit.Rate{Count: 1, Per: time.Second}
		take(t, c, one, rate, true)
		wait := take(t, c, one, rate, false)
		began := time.Now()
		for deadline := began.Add(5 * time.Second); ; {
			again, ok, err := c.Take(t.Context(), one, rate, 1)
			if err != nil || time.Now().After(deadline) {
				t.Fatal("not allowed again", err)
			}
			if ok {
				break
			}
			select {
			case <-time.After(again):
			case <-t.Context().Done():
			}
		}
		// A ms for what counts in them.
		if took := time.Since(began); took < wait-time.Millisecond {
			t.Errorf("allowed after %v, told to wait %v", took, wait)
		}
	})
	t.Run("who does not wait is not waited for", func(t *testing.T) {
		c := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, _ = c.Take(ctx, one, hour, 1)
	})
}

func take(t *testing.T, c limit.Counters, k limit.Key, rate limit.Rate, want bool) time.Duration {
	t.Helper()
	return takeAll(t, c, k, rate, 1, want)
}

func takeAll(t *testing.T, c limit.Counters, k limit.Key, rate limit.Rate, n int, want bool) time.Duration {
	t.Helper()
	wait, ok, err := c.Take(t.Context(), k, rate, n)
	if err != nil || ok != want || !ok && wait <= 0 {
		t.Fatalf("allowed: %t, wait %v, %v; want %t", ok, wait, err, want)
	}
	return wait
}
