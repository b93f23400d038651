package limit

import "time"

// Next is one step of the algorithm. at is when everything that was allowed so far
// would be through at an even pace (the theoretical arrival time), 0 or a time that
// is past for nothing; it and now are ns on one clock. It returns the next at,
// whether this one is allowed, and how long until the one after it is (allowed), or
// this one would be (not allowed). A rate that has changed counts at once: nobody
// owes more than a whole Per.
func (r Rate) Next(at, now int64) (next int64, ok bool, wait time.Duration) {
	per := int64(r.Per)
	each := max(per/int64(r.Count), 1)
	at = min(max(at, now), now+per)
	if over := at + each - (now + per); over > 0 {
		return at, false, time.Duration(over)
	}
	at += each
	return at, true, time.Duration(max(at+each-(now+per), 0))
}
