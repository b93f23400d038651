package limit

import "time"

// Next is one step of the algorithm, for n at once. at is when everything that was
// allowed so far would be through at an even pace (the theoretical arrival time), 0 or
// a time that is past for nothing; it and now are ns on one clock. It returns the next
// at, how long until one more is allowed (ok) or these n would be (not ok), and whether
// they are. A rate that has changed counts at once: nobody owes more than a whole Per.
// More than the whole rate are the whole rate, or they never would be allowed.
func (r Rate) Next(at, now int64, n int) (next int64, wait time.Duration, ok bool) {
	per, each := int64(r.Per), r.each()
	at = min(max(at, now), now+per)
	if over := at + r.of(n) - (now + per); over > 0 {
		return at, time.Duration(over), false
	}
	at += r.of(n)
	return at, time.Duration(max(at+each-(now+per), 0)), true
}

// each is the pace: ns from one to the next.
func (r Rate) each() int64 { return max(int64(r.Per)/int64(r.Count), 1) }

// of is how long n take at an even pace, in ns.
func (r Rate) of(n int) int64 { return r.each() * int64(r.fitting(n)) }

// fitting is n, 1 at least and the whole rate at most.
func (r Rate) fitting(n int) int { return min(max(n, 1), r.Count) }
