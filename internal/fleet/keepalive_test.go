package fleet_test

import (
	"math"
	"testing"
	"time"

	"keyway/internal/fleet"
)

func TestHowOftenAFleetSpeaks(t *testing.T) {
	for _, c := range []struct {
		replicas          int
		every, gone, news time.Duration
	}{
		{0, 4 * time.Second, 12 * time.Second, 0},
		{1, 4 * time.Second, 12 * time.Second, 20 * time.Millisecond},
		{3, 4 * time.Second, 12 * time.Second, 60 * time.Millisecond},
		{16, 4 * time.Second, 12 * time.Second, 320 * time.Millisecond},
		{100, 25 * time.Second, 54 * time.Second, 2 * time.Second},
		{1000, 250 * time.Second, 504 * time.Second, 20 * time.Second},
		// What the store counts may be made up.
		{1001, 250 * time.Second, 504 * time.Second, 20 * time.Second},
		{10_000, 250 * time.Second, 504 * time.Second, 20 * time.Second},
		{math.MaxInt, 250 * time.Second, 504 * time.Second, 20 * time.Second},
		{-1, 4 * time.Second, 12 * time.Second, 0},
	} {
		if every, gone, news := fleet.KeepAlive(c.replicas), fleet.Gone(c.replicas), fleet.Spread(c.replicas); every != c.every || gone != c.gone || news != c.news {
			t.Errorf("%d replicas: every %v, gone after %v, news within %v; want %+v", c.replicas, every, gone, news, c)
		}
	}
}

// At any size that is real: few writes, and room for one word to be lost.
func TestTheStoreIsNotCostMoreByALargerFleet(t *testing.T) {
	for replicas := 1; replicas <= 1000; replicas++ {
		shortest := fleet.KeepAlive(replicas) * 9 / 10 // jitter
		if perSecond := float64(replicas) / shortest.Seconds(); perSecond >= 5 {
			t.Fatalf("%d replicas: %.2f writes a second", replicas, perSecond)
		}
		if left := fleet.Gone(replicas) - fleet.KeepAlive(replicas); left < 20*fleet.RetryAfter(replicas)/3 {
			t.Fatalf("%d replicas: %v left for what gets lost", replicas, left)
		}
	}
	for range 1000 {
		if d := fleet.Jitter(time.Minute); d < 54*time.Second || d > time.Minute {
			t.Fatalf("jitter makes %v of a minute", d)
		}
	}
	if d := fleet.Jitter(0); d != 0 {
		t.Errorf("jitter makes %v of nothing", d)
	}
}
