package limit

import "time"

// Next is one step of the algorithm. at is when everything that was allowed so far
// would be through at an even pace (the theoretical arrival time), 0 or a time that
// is past for nothing; it and now are ns on one clock. It returns the next at, how
// long until the one after this is allowed (ok) or this one would be (not ok), and
// whether this one is. A rate that has changed counts at once: nobody owes more than
// a whole Per.
func (r Rate) Next(at, now int64) (next int64, wait time.Duration, ok bool) {
	per := int64(r.Per)
	each := max(per/int64(r.Count), 1)
	at = min(max(at, now), now+per)
	if over := at + each - (now + per); over > 0 {
		return at, time.Duration(over), false
	}
	at += each
	return at, time.Duration(max(at+each-(now+per), 0)), true
}
