package limit

import (
	"hash/maphash"
	"net/netip"
	"time"
)

// Callers count what each caller asks of each route, in one process, in memory that
// is bounded by [MaxKeys]. They keep hashes of who called, under a key that lives
// as long as the process. Safe for concurrent use.
type Callers struct {
	epoch  time.Time
	v4, v6 int
	one    maphash.Seed
	other  maphash.Seed
	at     *table[[2]uint64]
}

// NewCallers makes Callers; v4 and v6 are the leading bits of an address that count
// as one, 0 means 32 and 64.
func NewCallers(v4, v6 int) *Callers {
	v4, v6 = prefixes(v4, v6)
	return &Callers{epoch: time.Now(), v4: v4, v6: v6, one: maphash.MakeSeed(), other: maphash.MakeSeed(), at: newTable[[2]uint64](MaxKeys)}
}

// TakeUser counts one for somebody who is known.
func (c *Callers) TakeUser(route, provider, subject string, rate Rate) (retryAfter time.Duration, ok bool) {
	who := user{route, provider, subject}
	return c.take([2]uint64{maphash.Comparable(c.one, who), maphash.Comparable(c.other, who)}, rate)
}

// TakeAddr counts one for the prefix of an address.
func (c *Callers) TakeAddr(route string, addr netip.Addr, rate Rate) (retryAfter time.Duration, ok bool) {
	who := somebody{route, KeyOf(Route, addr, c.v4, c.v6)}
	return c.take([2]uint64{maphash.Comparable(c.one, who), maphash.Comparable(c.other, who)}, rate)
}

type user struct{ route, provider, subject string }

type somebody struct {
	route string
	key   Key
}

func (c *Callers) take(k [2]uint64, rate Rate) (wait time.Duration, ok bool) {
	if rate.IsZero() {
		return 0, true
	}
	now := clock(c.epoch)
	c.at.step(k, now, func(at int64) (next int64) {
		next, wait, ok = rate.Next(at, now, 1)
		return next
	})
	if ok {
		return 0, true
	}
	return wait, false
}
