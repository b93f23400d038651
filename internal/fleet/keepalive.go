package fleet

import "time"

const (
	// shortest is how often a small fleet speaks.
	shortest = 4 * time.Second
	// share is how much of the fleet's time one keep-alive takes: with jitter
	// (see [jitter]) at most 1/(0.9 × 250 ms) = 4.4 writes a second.
	share = 250 * time.Millisecond
	// burst is the same for what has changed and can't wait: 50 writes a second,
	// for as long as it takes each replica to say it once.
	burst = 20 * time.Millisecond
	// largest is the size from which a fleet speaks no more seldom. How many there
	// are is what the store says, which others may be able to write to: it must not
	// make us speak once an hour.
	largest = 1000
)

func size(replicas int) time.Duration { return time.Duration(min(max(0, replicas), largest)) }

// KeepAlive is how often a replica says that it lives when nothing else is new:
//
//	max(4 s, 250 ms × live replicas), at most 250 s
//
// So a fleet of up to 16 speaks every 4 s each, and a larger one speaks less
// often each and not more often together. For 3 replicas that makes 0.75 writes a
// second, for 1,000 it makes 4 (4.4 at most, jitter included), every 250 s each. That is the most;
// beyond 1,000, more replicas make more writes.
func KeepAlive(replicas int) time.Duration {
	return max(shortest, size(replicas)*share)
}

// Gone is how long after its last word a replica counts as live:
//
//	2 × KeepAlive + 4 s
//
// Its next word may be lost once, and be late. For up to 16 replicas that is
// 12 s, for 1,000 it is 504 s: what a write costs 1,000 replicas is paid in the
// time after which a crash among them is noticed. One that ends in an orderly way
// says so, and holds nothing up.
func Gone(replicas int) time.Duration { return 2*KeepAlive(replicas) + shortest }

// Spread is the time over which a fleet says what has changed everywhere at once,
// such as a new version: 20 ms × live replicas, which is 60 ms for 3 and 20 s
// for 1,000 and more.
func Spread(replicas int) time.Duration { return size(replicas) * burst }

// retryAfter is how long after a failed attempt the next one is: some 20 fit
// before the replica counts as gone.
func retryAfter(replicas int) time.Duration { return KeepAlive(replicas) / 8 }
