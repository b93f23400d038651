package fleet_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/fleet/fleettest"
)

func holding(id string) map[string]fleet.Held {
	now := time.Now()
	return map[string]fleet.Held{"k": {Holds: map[string]time.Time{id: now}, Issues: id, Since: now}}
}

// run has a replica speak until the returned function is called.
func run(t testing.TB, link *fleettest.Link, id string) (*fleet.Announcer, context.CancelFunc) {
	t.Helper()
	a := fleet.NewAnnouncer(fleet.NewPresence(link, time.Hour), id, nil)
	a.Hold(holding("a"))
	ctx, stop := context.WithCancel(t.Context())
	go a.Run(ctx)
	return a, stop
}

// live are the replicas that count as live, as one on its own link sees it.
func live(t testing.TB, m *fleettest.Memory) (ids []string) {
	t.Helper()
	roll := must[fleet.Roll](t)(fleet.NewPresence(m.Link(), time.Hour).All(t.Context()))
	for _, r := range roll.Reports {
		if r.Live(roll.Now) {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func TestThreeReplicasNoticeThatOneIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		links := make([]*fleettest.Link, 3)
		for i := range links {
			links[i] = m.Link()
			_, stop := run(t, links[i], fmt.Sprint("r", i))
			defer stop()
		}
		time.Sleep(time.Hour)
		if ids := live(t, m); len(ids) != 3 {
			t.Fatalf("live: %v", ids)
		}
		links[1].Cut() // as if killed
		cut := time.Now()
		for len(live(t, m)) == 3 {
			time.Sleep(100 * time.Millisecond)
		}
		if after := time.Since(cut); after < 8*time.Second || after > 15*time.Second {
			t.Errorf("noticed after %v", after)
		}
		links[1].Mend()
		time.Sleep(time.Second)
		if ids := live(t, m); len(ids) != 3 {
			t.Errorf("once it is back: %v", ids)
		}
	})
}

func TestAThousandReplicasCostFewWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		replicas := 1000
		announcers := make([]*fleet.Announcer, replicas)
		for i := range replicas {
			a, stop := run(t, m.Link(), fmt.Sprintf("r%03d", i))
			announcers[i] = a
			defer stop()
		}
		for range 60 { // each has promised to speak again, when it thought to be alone
			time.Sleep(time.Second)
			if ids := live(t, m); len(ids) != replicas {
				t.Fatalf("%d are live", len(ids))
			}
		}
		time.Sleep(10 * time.Minute) // they started together, which costs 2,000 writes
		if ids := live(t, m); len(ids) != replicas {
			t.Fatalf("%d are live", len(ids))
		}
		before := m.Puts()
		time.Sleep(20 * time.Minute)
		if perSecond := float64(m.Puts()-before) / (20 * time.Minute).Seconds(); perSecond >= 5 || perSecond < 3 {
			t.Errorf("%.2f writes a second", perSecond)
		}
		if ids := live(t, m); len(ids) != replicas {
			t.Errorf("%d are live after 20 minutes", len(ids))
		}

		// A new version everywhere at once.
		before = m.Puts()
		for _, a := range announcers {
			a.Hold(holding("b"))
		}
		for range 20 {
			start := m.Puts()
			time.Sleep(time.Second)
			if burst := m.Puts() - start; burst > 100 {
				t.Errorf("%d writes in a second", burst)
			}
		}
		synctest.Wait()
		for _, r := range must[fleet.Roll](t)(fleet.NewPresence(m.Link(), time.Hour).All(t.Context())).Reports {
			if r.Secrets["k"].Issues != "b" {
				t.Errorf("%s has not said yet that it issues with b", r.ID)
			}
		}
		if n := m.Puts() - before; n > replicas+100 {
			t.Errorf("%d writes for the news of %d replicas", n, replicas)
		}
	})
}

func TestNothingNewIsNotSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		a, stop := run(t, m.Link(), "r1")
		defer stop()
		synctest.Wait()
		same := holding("a")
		before := m.Puts()
		for range 100 {
			a.Hold(same)
		}
		time.Sleep(time.Second)
		if n := m.Puts() - before; n > 0 {
			t.Errorf("%d writes", n)
		}
		same["k"].Holds["b"] = time.Now() // what was handed in is not looked at again
		a.Hold(holding("b"))
		a.Hold(holding("c"))
		time.Sleep(time.Second)
		if n := m.Puts() - before; n != 1 {
			t.Errorf("%d writes for two changes within a moment", n)
		}
	})
}

func TestAReplicaThatEndsHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		_, stop := run(t, m.Link(), "r1")
		a, stop2 := run(t, m.Link(), "r2")
		defer stop()
		synctest.Wait()
		stop2()
		synctest.Wait()
		if ids := live(t, m); len(ids) != 1 || ids[0] != "r1" {
			t.Errorf("live: %v", ids)
		}
		if a.Counted() {
			t.Error("counts itself as live")
		}
		roll := must[fleet.Roll](t)(fleet.NewPresence(m.Link(), time.Hour).All(t.Context()))
		if len(roll.Reports) != 2 {
			t.Error("what it issued is forgotten")
		}
		time.Sleep(2 * time.Hour)
		roll = must[fleet.Roll](t)(fleet.NewPresence(m.Link(), time.Hour).All(t.Context()))
		if len(roll.Reports) != 1 {
			t.Error("it is remembered for ever")
		}
	})
}

// A replica knows before the others that they will not count on it any more.
func TestAReplicaThatIsCutOffKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		link := m.Link()
		a, stop := run(t, link, "r1")
		defer stop()
		synctest.Wait()
		if !a.Counted() {
			t.Fatal("is not counted")
		}
		link.Delay(time.Second) // its words arrive late, and so do the answers
		link.DelayAnswers(2 * time.Second)
		time.Sleep(time.Minute)
		for _, lose := range []func(){link.Cut, link.LoseAnswers} {
			lose()
			for range 300 {
				time.Sleep(100 * time.Millisecond)
				if others := len(live(t, m)) == 1; a.Counted() && !others {
					t.Fatal("believes to be counted, and is not")
				}
			}
			if a.Counted() {
				t.Error("still believes to be counted")
			}
			link.Mend()
			time.Sleep(3 * time.Second) // one attempt under way, and the next
			if !a.Counted() {
				t.Error("is back, and does not know")
			}
		}
	})
}

// What others wait for is said at once; counts go along with the next keep-alive.
func TestWhatIsUrgent(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fleet.Held)
		urgent bool
	}{
		"handed in": {func(h *fleet.Held) { h.HandedIn = "b" }, true},
		"trouble":   {func(h *fleet.Held) { h.Trouble = "vanished" }, true},
		"fetched":   {func(h *fleet.Held) { h.Fetched = time.Now() }, false},
		"refusals":  {func(h *fleet.Held) { h.InGuard, h.Before = 3, 1 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := fleettest.NewMemory()
				a, stop := run(t, m.Link(), "r1")
				defer stop()
				synctest.Wait()
				before := m.Puts()
				next := holding("a")
				held := next["k"]
				c.change(&held)
				next["k"] = held
				a.Hold(next)
				time.Sleep(time.Second)
				if said := m.Puts() > before; said != c.urgent {
					t.Errorf("said at once: %v", said)
				}
				time.Sleep(5 * time.Second)
				roll := must[fleet.Roll](t)(fleet.NewPresence(m.Link(), time.Hour).All(t.Context()))
				if got := roll.Reports[0].Secrets["k"]; got.HandedIn != held.HandedIn || got.Trouble != held.Trouble || got.InGuard != held.InGuard || got.Fetched.IsZero() != held.Fetched.IsZero() {
					t.Errorf("then: %+v", got)
				}
			})
		})
	}
}
