package telemetry

import (
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Point is what happened within one second.
type Point struct {
	At           time.Time `json:"at"`            // the second's beginning
	Good         int       `json:"good"`          // answers 1xx to 3xx
	ClientErrors int       `json:"client_errors"` // 4xx
	ServerErrors int       `json:"server_errors"` // 5xx, and answers that were broken off
	Refused      int       `json:"refused"`       // of the 4xx: 401 and 403
	InFlight     int       `json:"in_flight"`     // at its end, with streams
	// P50 and P99 are of the durations, in milliseconds, to 1 part in 8; 0 without
	// requests.
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

const (
	// seriesSeconds is how far back a Series goes: 15 minutes.
	seriesSeconds = 15 * 60
	// seriesSlots is one more than is told, because the second that is under way is
	// not.
	seriesSlots = seriesSeconds + 1
	// seriesShards keeps processors from waiting for each other's cache lines.
	seriesShards = 4
)

// Series is what happened in each of the last 15 minutes' seconds. It takes 2.9 MB,
// whatever happens; [Series.Begin] and [Series.Observe] take no lock and allocate
// nothing. It is safe for concurrent use, and made by [NewSeries].
type Series struct {
	start  time.Time // of second 1, with a monotonic reading
	flying atomic.Int64
	shards [seriesShards][seriesSlots]second
}

// second is one shard's part of a second.
type second struct {
	began, ended                         tally
	good, clientErrs, serverErrs, denied tally
	took                                 [tookBuckets]tally
}

// tally counts within one second: that second's number is in the upper half, and so
// nobody has to clear it before the next one counts in its place.
type tally struct{ v atomic.Uint64 }

func (t *tally) inc(second uint64) {
	for {
		v := t.v.Load()
		if v>>32 == second {
			t.v.Add(1)
			return
		}
		// Whoever is late by a quarter of an hour is not counted.
		if v>>32 > second || t.v.CompareAndSwap(v, second<<32|1) {
			return
		}
	}
}

func (t *tally) at(second uint64) int {
	if v := t.v.Load(); v>>32 == second {
		return int(v & (1<<32 - 1))
	}
	return 0
}

// NewSeries makes one that begins now.
func NewSeries() *Series { return &Series{start: time.Now()} }

// number is which second now is in; the first is 1, since 0 is what nobody has
// counted in.
func (s *Series) number(now time.Time) uint64 {
	return uint64(max(0, now.Sub(s.start))/time.Second) + 1
}

func (s *Series) shard(number uint64) *second {
	return &s.shards[rand.Uint32()%seriesShards][number%seriesSlots]
}

// Begin notes that a request has come in. Each is ended by [Series.Observe] or
// [Series.End].
func (s *Series) Begin() { s.begin(time.Now()) }

func (s *Series) begin(now time.Time) {
	n := s.number(now)
	s.flying.Add(1)
	s.shard(n).began.inc(n)
}

// End is the end of a request that is none of the users', as a probe's.
func (s *Series) End() { s.end(time.Now()) }

func (s *Series) end(now time.Time) {
	n := s.number(now)
	s.flying.Add(-1)
	s.shard(n).ended.inc(n)
}

// Observe counts a request that has ended. A status below 100 is one of an answer
// that was broken off before it began, a duration below 0, of a stream, whose end says
// nothing of speed.
func (s *Series) Observe(status int, took time.Duration) { s.observe(time.Now(), status, took) }

// observe is for whoever has looked at the clock already.
func (s *Series) observe(now time.Time, status int, took time.Duration) {
	n := s.number(now)
	s.flying.Add(-1)
	at := s.shard(n)
	at.ended.inc(n)
	switch {
	case status >= 100 && status < 400:
		at.good.inc(n)
	case status >= 400 && status < 500:
		at.clientErrs.inc(n)
		if status == 401 || status == 403 {
			at.denied.inc(n)
		}
	default:
		at.serverErrs.inc(n)
	}
	if took >= 0 {
		at.took[tookBucket(took)].inc(n)
	}
}

// Points are the seconds that began after since and are over, the oldest first: at
// most those of the last 15 minutes, and none from before s was
// made. It is for a few readers, a few times a second.
func (s *Series) Points(since time.Time) []Point {
	now := s.number(time.Now())
	inFlight := int(s.flying.Load())
	// What is under way at the end of a second is what is now, less what began and
	// plus what ended since. Requests may pass between these reads; 0 is the least
	// that makes sense.
	flown := func(n uint64) (change int) {
		for i := range s.shards {
			at := &s.shards[i][n%seriesSlots]
			change += at.began.at(n) - at.ended.at(n)
		}
		return change
	}
	first := uint64(1)
	if now > seriesSeconds {
		first = now - seriesSeconds
	}
	if !since.IsZero() {
		if gone := since.Sub(s.start); gone >= 0 {
			first = max(first, uint64(gone/time.Second)+2)
		}
	}
	if first >= now {
		return []Point{}
	}
	points := make([]Point, now-first)
	for n := now; n > first; n-- {
		inFlight -= flown(n)
		points[n-1-first] = s.point(n-1, max(0, inFlight))
	}
	return points
}

func (s *Series) point(n uint64, inFlight int) Point {
	p := Point{At: s.start.Add(time.Duration(n-1) * time.Second), InFlight: inFlight}
	var took [tookBuckets]int
	all := 0
	for i := range s.shards {
		at := &s.shards[i][n%seriesSlots]
		p.Good += at.good.at(n)
		p.ClientErrors += at.clientErrs.at(n)
		p.ServerErrors += at.serverErrs.at(n)
		p.Refused += at.denied.at(n)
		for b := range took {
			c := at.took[b].at(n)
			took[b] += c
			all += c
		}
	}
	if all > 0 {
		p.P50, p.P99 = quantile(&took, all, 50), quantile(&took, all, 99)
	}
	return p
}

// Durations are told apart by four steps to each doubling, from 16 µs to 67 s.
const (
	tookSteps   = 4
	tookLeast   = 14 // 2^14 ns
	tookMost    = 36 // 2^36 ns
	tookBuckets = (tookMost-tookLeast)*tookSteps + 1
)

func tookBucket(took time.Duration) int {
	ns := uint64(max(took, 0))
	if ns < 1<<tookLeast {
		return 0
	}
	log := bits.Len64(ns) - 1
	if log >= tookMost {
		return tookBuckets - 1
	}
	return 1 + (log-tookLeast)*tookSteps + int(ns>>(log-2)&(tookSteps-1))
}

// bucketMiddle is what a duration in a bucket is taken for, in milliseconds.
func bucketMiddle(b int) float64 {
	if b == 0 {
		return float64(uint64(1)<<tookLeast) / 2 / 1e6
	}
	b--
	low := float64(uint64(1)<<(tookLeast+b/tookSteps)) * (1 + float64(b%tookSteps)/tookSteps)
	width := float64(uint64(1)<<(tookLeast+b/tookSteps)) / tookSteps
	return (low + width/2) / 1e6
}

// quantile is the duration that percent of all take at most.
func quantile(took *[tookBuckets]int, all, percent int) float64 {
	rank := max(1, (all*percent+99)/100)
	for b, n := range took {
		if rank -= n; rank <= 0 {
			return bucketMiddle(b)
		}
	}
	return bucketMiddle(tookBuckets - 1)
}
