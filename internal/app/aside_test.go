package app

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/fleet/fleettest"
	"keyway/internal/threat"
)

// clocks is a replica, r1, whose clock is the test's, and a store and others with
// clocks of their own.
type clocks struct {
	t     *testing.T
	store *fleettest.Memory
	ahead time.Duration // of r1, before the store
	r1    *sharing
	r2    *fleet.Lease
}

func clocksOf(t *testing.T, ahead time.Duration) *clocks {
	c := &clocks{t: t, store: fleettest.NewMemory(), ahead: ahead}
	c.store.Step(-ahead)
	link := c.store.Link()
	c.r1 = newSharing(link, link, "r1", time.Hour, time.Minute, slog.New(slog.DiscardHandler))
	c.r2 = fleet.NewLease(c.store.Link(), "rotation", "r2", leaseFor)
	c.says("r1", ahead)
	return c
}

// says has a replica speak whose clock is ahead of the store's by so much.
func (c *clocks) says(id string, ahead time.Duration) {
	c.t.Helper()
	seen := time.Now().Add(ahead - c.ahead)
	if _, err := fleet.NewPresence(c.store.Link(), time.Hour).Say(c.t.Context(), fleet.Report{ID: id, Seen: seen, Until: seen.Add(time.Hour)}); err != nil {
		c.t.Fatal(err)
	}
}

// leads has r1 look as often as it does, and reports whether it leads then.
func (c *clocks) leads(within time.Duration) (leads bool) {
	c.t.Helper()
	for range int(within / time.Second) {
		time.Sleep(time.Second)
		var err error
		if leads, err = c.r1.Lead(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
		if leads {
			if _, err := c.r1.Roll(c.t.Context()); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	return leads
}

func (c *clocks) r2Tries() bool {
	c.t.Helper()
	got, err := c.r2.Try(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

func TestAWrongClockDoesNotLeadWhereAnotherIsRight(t *testing.T) {
	threat.Covers(t, 63)
	for name, ahead := range map[string]time.Duration{"fast": 5 * time.Minute, "slow": -5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := clocksOf(t, ahead)
				if !c.leads(10 * time.Second) {
					t.Fatal("alone, it does not lead")
				}
				c.says("r2", time.Second)
				if c.leads(4 * time.Second) {
					t.Fatal("it leads on")
				}
				if !c.r2Tries() {
					t.Fatal("the other can't take over at once")
				}
				for range 100 {
					if c.leads(2 * time.Second) {
						t.Fatal("it took the lease back")
					}
					c.r2Tries()
				}
				// Its clock is set right.
				c.store.Step(ahead)
				if err := c.r2.Release(t.Context()); err != nil {
					t.Fatal(err)
				}
				if !c.leads(10 * time.Second) {
					t.Error("with the right time it does not lead")
				}
			})
		})
	}
}

// A wrong clock is better than nobody.
func TestAWrongClockLeadsWhereNoOtherDoes(t *testing.T) {
	threat.Covers(t, 63)
	for name, other := range map[string]time.Duration{
		"all are off":             -10 * time.Minute,
		"the other does not lead": 0,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := clocksOf(t, 5*time.Minute)
				c.says("r2", other)
				if !c.leads(time.Minute) {
					t.Fatal("nobody leads")
				}
				for range 60 {
					if !c.leads(5 * time.Second) {
						t.Fatal("it changes its mind")
					}
				}
			})
		})
	}
}

func TestAClockThatIsALittleOffLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clocksOf(t, 59*time.Second)
		c.says("r2", 0)
		if !c.leads(10 * time.Second) {
			t.Error("it does not lead")
		}
	})
}
