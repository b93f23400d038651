package fleet_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
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
		if err := b.Release(t.Context()); err != nil || !a.Held() {
			t.Errorf("somebody else released it: %v", err)
		}
		if err := a.Release(t.Context()); err != nil || a.Held() {
			t.Errorf("released, and held: %v", err)
		}
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

// A replica has the lease, reads the ring and is paused. Another one takes over
// and moves on. What the first one then writes must not overwrite that.
func TestAnOwnerThatWasPausedCantOverwrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		ctx := t.Context()
		ringsA, ringsB := ringsOn(t, m.Link()), ringsOn(t, m.Link())
		a, b := fleet.NewLease(m.Link(), "rotation", "a", ttl), fleet.NewLease(m.Link(), "rotation", "b", ttl)
		must[keyring.Ring](t)(ringsA.Agree(ctx, ringOf(t, "k", "v1", "1")))

		try(t, a)
		ring, revision, err := ringsA.Load(ctx, "k")
		if err != nil || !a.Held() {
			t.Fatal(err)
		}
		stale := must[keyring.Ring](t)(ring.Add("of-a", value("a"), time.Now()))

		// a is paused here, having seen that it has the lease.
		for !try(t, b) {
			time.Sleep(time.Second)
		}
		ring, theirs, err := ringsB.Load(ctx, "k")
		if err != nil || theirs != revision {
			t.Fatal(theirs, err)
		}
		must[fleet.Revision](t)(ringsB.Save(ctx, must[keyring.Ring](t)(ring.Add("of-b", value("b"), time.Now())), theirs))

		if _, err := ringsA.Save(ctx, stale, revision); !errors.Is(err, fleet.ErrConflict) {
			t.Errorf("the paused one overwrote: %v", err)
		}
		if ring, _, err := ringsB.Load(ctx, "k"); tell(ring) != "of-b pending b, v1 active 1" || err != nil {
			t.Errorf("%s, %v", tell(ring), err)
		}
	})
}

// Whatever the network does, no two have it at once.
func TestNoTwoHaveALease(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			m := fleettest.NewMemory()
			links := make([]*fleettest.Link, 4)
			leases := make([]*fleet.Lease, len(links))
			took := map[int]bool{}
			for i := range links {
				links[i] = m.Link()
				leases[i] = fleet.NewLease(links[i], "rotation", fmt.Sprint(i), ttl)
			}
			for range 200 {
				i := random.IntN(len(links))
				switch random.IntN(12) {
				case 0:
					links[i].Cut()
				case 1:
					links[i].LoseAnswers()
				case 2:
					links[i].Delay(time.Duration(random.IntN(9000)) * time.Millisecond)
				case 3, 4, 5:
					links[i].Mend()
				case 6:
					_ = leases[i].Release(t.Context()) // may be cut off
				default:
					if _, err := leases[i].Try(t.Context()); err != nil && !errors.Is(err, fleettest.ErrCutOff) {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
				owners := 0
				for i, l := range leases {
					if l.Held() {
						owners++
						took[i] = true
					}
				}
				if owners > 1 {
					t.Fatalf("seed %d: %d have it", seed, owners)
				}
			}
			if len(took) < 2 {
				t.Errorf("seed %d: it never changed hands", seed)
			}
		})
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
