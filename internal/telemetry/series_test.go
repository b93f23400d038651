package telemetry

import (
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

func TestSeriesTellsWhatHappenedInEachSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSeries()
		began := time.Now()
		ask := func(status int, took time.Duration) { s.Begin(); s.Observe(status, took) }
		for range 98 {
			ask(200, 2*time.Millisecond)
		}
		ask(101, 2*time.Millisecond)
		ask(303, 400*time.Millisecond)
		time.Sleep(time.Second)
		ask(401, time.Millisecond)
		ask(403, time.Millisecond)
		ask(404, time.Millisecond)
		ask(499, time.Millisecond)
		ask(502, time.Second)
		ask(0, time.Second) // broken off before it began
		s.Begin()           // a stream
		time.Sleep(2 * time.Second)
		s.Begin()
		s.End() // a probe
		s.Observe(200, 2*time.Second)
		if len(s.Points(time.Time{})) != 3 {
			t.Fatalf("the second that is under way is told: %v", s.Points(time.Time{}))
		}
		time.Sleep(time.Second)

		got := s.Points(time.Time{})
		want := []Point{{Good: 100}, {ClientErrors: 4, ServerErrors: 2, Refused: 2, InFlight: 1}, {InFlight: 1}, {Good: 1}}
		if len(got) != len(want) {
			t.Fatalf("%d seconds, want %d: %+v", len(got), len(want), got)
		}
		for i, p := range got {
			if at := began.Add(time.Duration(i) * time.Second); !p.At.Equal(at) {
				t.Errorf("second %d began at %v, want %v", i, p.At, at)
			}
			w := want[i]
			w.At, w.P50, w.P99 = p.At, p.P50, p.P99
			if p != w {
				t.Errorf("second %d: %+v, want %+v", i, p, w)
			}
		}
		if math.Abs(got[0].P50-2) > .2 || math.Abs(got[0].P99-2) > .2 || math.Abs(got[3].P99-2000) > 200 || got[2].P99 != 0 {
			t.Errorf("durations: %+v", got)
		}
		// Who has been told goes on from there.
		if more := s.Points(got[1].At); len(more) != 2 || !more[0].At.Equal(got[2].At) {
			t.Errorf("since the second: %+v", more)
		}
		if none := s.Points(got[3].At); none == nil || len(none) != 0 {
			t.Errorf("since the last: %+v", none)
		}
		if all := s.Points(began.Add(-time.Hour)); len(all) != 4 {
			t.Errorf("since before: %+v", all)
		}
	})
}

func TestSeriesForgetsAfterFifteenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSeries()
		for range 2 * seriesSlots {
			s.Begin()
			s.Observe(200, time.Millisecond)
			time.Sleep(time.Second)
		}
		got := s.Points(time.Time{})
		if len(got) != seriesSeconds || time.Since(got[0].At) != seriesSeconds*time.Second {
			t.Fatalf("%d seconds, from %v", len(got), got[0].At)
		}
		for _, p := range got {
			if p.Good != 1 || p.InFlight != 0 {
				t.Fatalf("%+v", p)
			}
		}
		time.Sleep(time.Hour) // nobody came
		for _, p := range s.Points(time.Time{}) {
			if p.Good != 0 || p.P99 != 0 {
				t.Fatalf("what is over comes back: %+v", p)
			}
		}
	})
}

func TestSeriesCountsEverybodyAtOnce(t *testing.T) {
	s := NewSeries()
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.Points(time.Time{})
			}
		}
	})
	const each = 5000
	for range 8 {
		writers.Go(func() {
			for range each {
				s.Begin()
				s.Observe(200, time.Millisecond)
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	all := 0
	for n := uint64(1); n <= s.number(time.Now()); n++ {
		all += s.point(n, 0).Good
	}
	if all != 8*each {
		t.Errorf("%d counted, want %d", all, 8*each)
	}
}

func TestDurationsAreToldApart(t *testing.T) {
	for took := time.Duration(1 << tookLeast); took < 60*time.Second; took += took/10 + 1 {
		ms := float64(took) / 1e6
		if got := bucketMiddle(tookBucket(took)); math.Abs(got-ms)/ms > .126 {
			t.Fatalf("%v is taken for %v ms", took, got)
		}
	}
	for took, want := range map[time.Duration]int{-1: 0, 0: 0, time.Microsecond: 0, time.Hour: tookBuckets - 1, math.MaxInt64: tookBuckets - 1} {
		if got := tookBucket(took); got != want {
			t.Errorf("%v: bucket %d, want %d", took, got, want)
		}
	}
}

func TestSeriesIsBounded(t *testing.T) {
	if size := unsafe.Sizeof(Series{}); size > 3e6 {
		t.Errorf("a series takes %d bytes", size)
	}
	s := NewSeries()
	if n := testing.AllocsPerRun(1000, func() { s.Begin(); s.Observe(200, time.Millisecond) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSeries(b *testing.B) {
	s := NewSeries()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Begin()
			s.Observe(200, time.Millisecond)
		}
	})
}
