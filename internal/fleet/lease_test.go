package fleet_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/fleet/fleettest"
	"keyway/internal/keyring"
)

const ttl = 6 * time.Second

func try(t testing.TB, l *fleet.Lease) bool {
	t.Helper()
	got, err := l.Try(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got != l.Held() {
		t.Fatalf("got it: %v, has it: %v", got, l.Held())
	}
	return got
}

func TestALeaseHasOneOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		a, b := fleet.NewLease(m.Link(), "rotation", "a", ttl), fleet.NewLease(m.Link(), "rotation", "b", ttl)
		if !try(t, a) || try(t, b) {
			t.Fatal("the first has not got it, or the second has")
		}
		for range 100 { // renewed
			time.Sleep(ttl / 3)
			if !try(t, a) || try(t, b) {
				t.Fatal("it changed hands")
			}
		}
		owner := func(want string) {
			t.Helper()
			if got, err := b.Owner(t.Context()); err != nil || got != want {
				t.Errorf("it is %q's: %v, want %q", got, err, want)
			}
		}
		owner("a")
		if err := b.Release(t.Context()); err != nil || !a.Held() {
			t.Errorf("somebody else released it: %v", err)
		}
		if err := a.Release(t.Context()); err != nil || a.Held() {
			t.Errorf("released, and held: %v", err)
		}
		owner("")
		if !try(t, b) || try(t, a) {
			t.Error("released, and the next one has not got it at once")
		}
		if !try(t, fleet.NewLease(m.Link(), "other", "c", ttl)) {
			t.Error("leases of two names are in each other's way")
		}
	})
}

func TestALeaseThatIsNotRenewedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		a, b := fleet.NewLease(m.Link(), "rotation", "a", ttl), fleet.NewLease(m.Link(), "rotation", "b", ttl)
		try(t, a)
		start := time.Now()
		for !try(t, b) {
			time.Sleep(time.Second)
		}
		if after := time.Since(start); after != ttl || a.Held() {
			t.Errorf("taken over after %v; the old owner has it: %v", after, a.Held())
		}
		if try(t, a) {
			t.Error("the old owner took it back")
		}
	})
}

// Whoever asks who leads is not told of one that died with the lease.
func TestWhoIsGoneOwnsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		a, asks := fleet.NewLease(m.Link(), "rotation", "a", ttl), fleet.NewLease(m.Link(), "rotation", "b", ttl)
		owner := func(l *fleet.Lease, want string) {
			t.Helper()
			if got, err := l.Owner(t.Context()); err != nil || got != want {
				t.Errorf("%v after its last claim it is %q's: %v, want %q", ttl, got, err, want)
			}
		}
		try(t, a)
		for range 10 {
			owner(asks, "a")
			owner(a, "a")
			time.Sleep(ttl / 3)
			try(t, a)
		}
		owner(asks, "a")
		time.Sleep(ttl)
		owner(asks, "")
		owner(a, "")
		if !try(t, a) {
			t.Fatal("it can't be had again")
		}
		owner(asks, "a")
	})
}

// A replica has the lease, reads the ring and is paused. Another one takes over
// and moves on. What the first one then writes must not overwrite that.
func TestAnOwnerThatWasPausedCantOverwrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		ctx := t.Context()
		ringsA, ringsB := openVault(t, m.Link(), "s1"), openVault(t, m.Link(), "s1")
		a, b := fleet.NewLease(m.Link(), "rotation", "a", ttl), fleet.NewLease(m.Link(), "rotation", "b", ttl)
		putRing(t, ringsA, ringOf(t, "k", "v1", "1"))

		try(t, a)
		if !a.Held() {
			t.Fatal("a has no lease")
		}
		asked := 0
		_, err := ringsA.Update(ctx, "k", func(now keyring.Ring) (keyring.Ring, error) {
			if asked++; asked == 1 { // a is paused here, having seen that it has the lease
				for !try(t, b) {
					time.Sleep(time.Second)
				}
				must[keyring.Ring](t)(ringsB.Update(ctx, "k", func(now keyring.Ring) (keyring.Ring, error) {
					return now.Add(keyring.Candidate{ID: "of-b", Value: value("b")}, time.Now())
				}))
			}
			return now.Add(keyring.Candidate{ID: "of-a", Value: value("a")}, time.Now())
		})
		if refused, ok := errors.AsType[*keyring.MoveError](err); !ok || refused.Move != "add" || asked != 2 {
			t.Errorf("the paused one overwrote: %v, asked %d times", err, asked)
		}
		wantRing(t, "then", ringsB, "k", "of-b pending b, v1 active 1")
	})
}

// Whatever the network does, no two have it at once.
func TestNoTwoHaveALease(t *testing.T) {
	changed := 0
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			m := fleettest.NewMemory()
			leases := make([]*fleet.Lease, 4)
			var group sync.WaitGroup
			for i := range leases {
				link := m.Link()
				leases[i] = fleet.NewLease(link, "rotation", fmt.Sprint(i), ttl)
				random := rand.New(rand.NewPCG(seed, uint64(i)))
				group.Go(func() { haveTrouble(t, link, leases[i], random) })
			}
			last := -1
			for range 2000 {
				time.Sleep(100 * time.Millisecond)
				owners := 0
				for i, l := range leases {
					if !l.Held() {
						continue
					}
					if owners++; i != last {
						last = i
						changed++
					}
				}
				if owners > 1 {
					t.Errorf("seed %d: %d have it", seed, owners)
					break
				}
			}
			group.Wait()
		})
	}
	if changed < 500 {
		t.Errorf("it changed hands %d times only", changed)
	}
}

// haveTrouble tries to get and keep a lease on a link that breaks and mends.
func haveTrouble(t *testing.T, link *fleettest.Link, l *fleet.Lease, random *rand.Rand) {
	for range 100 {
		upTo := func(d time.Duration) time.Duration { return time.Duration(random.Int64N(int64(d))) }
		switch random.IntN(16) {
		case 0:
			link.Cut()
		case 1:
			link.LoseAnswers()
		case 2:
			link.Delay(upTo(9 * time.Second))
		case 3:
			link.DelayAnswers(upTo(9 * time.Second))
		case 4, 5, 6:
			link.Mend()
		case 7:
			_ = l.Release(t.Context()) // may be cut off
		default:
			if _, err := l.Try(t.Context()); err != nil && !errors.Is(err, fleettest.ErrCutOff) {
				t.Error(err)
			}
		}
		time.Sleep(upTo(2 * time.Second))
	}
}

func TestALeaseThatCantBeAskedForIsNotFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		link := m.Link()
		a, b := fleet.NewLease(m.Link(), "rotation", "a", ttl), fleet.NewLease(link, "rotation", "b", ttl)
		try(t, a)
		link.Cut()
		time.Sleep(2 * ttl)
		if got, err := b.Try(t.Context()); got || err == nil || b.Held() {
			t.Errorf("got it: %v, %v", got, err)
		}
		must[fleet.Revision](t)(m.Link().CompareAndSet(t.Context(), "lease/junk", "", []byte("junk")))
		if got, err := fleet.NewLease(m.Link(), "junk", "a", ttl).Try(t.Context()); got || err == nil {
			t.Errorf("junk: got it: %v, %v", got, err)
		}
	})
}
