package limit

import (
	"cmp"
	"context"
	"encoding/binary"
	"net/netip"
	"time"
)

// Key is what is counted of whom.
type Key struct {
	Kind   Kind
	prefix netip.Prefix // the zero one: an address that is not known
}

// AppendTo appends bytes that no other key has. An address can be worked out from
// them: whoever keeps them elsewhere hashes them with a secret first.
func (k Key) AppendTo(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(k.Kind)))
	b = append(b, k.Kind...)
	b, _ = k.prefix.AppendBinary(b) // never fails; of 1, 5 or 17 bytes, so no two families are one
	return b
}

// KeyOf is the key of addr's prefix, v4 or v6 bits long. A v4 address mapped to v6 is
// the v4 address, and a zone says nothing.
func KeyOf(kind Kind, addr netip.Addr, v4, v6 int) Key {
	addr = addr.Unmap()
	bits := v6
	if addr.Is4() {
		bits = v4
	}
	prefix, _ := addr.Prefix(bits) // without a zone, and without the bits behind
	return Key{kind, prefix}
}

// prefixes are lengths of prefixes, with the defaults for 0: a whole IPv4 address, and
// what one customer has of IPv6.
func prefixes(v4, v6 int) (int, int) { return cmp.Or(v4, 32), cmp.Or(v6, 64) }

// Counters count for everybody who asks them. They are safe for concurrent use.
type Counters interface {
	// Take counts one for k, unless that is beyond rate. wait is how long until the
	// next one is allowed if this one was (0: at once), else until this one would
	// be, at least 1 ns. They return soon after ctx ends. An error means that nobody
	// can know.
	Take(ctx context.Context, k Key, rate Rate) (wait time.Duration, ok bool, err error)
}

// Memory are Counters in memory that is bounded by [MaxKeys].
type Memory struct {
	epoch time.Time // times are since then: no change of the clock gives or takes
	at    *table[Key]
}

var _ Counters = (*Memory)(nil)

// NewMemory makes Counters that start at nothing.
func NewMemory() *Memory { return newMemory(MaxKeys) }

func newMemory(keys int) *Memory {
	return &Memory{epoch: time.Now(), at: newTable[Key](keys)}
}

// Take implements Counters. It never fails, and does not wait.
func (m *Memory) Take(_ context.Context, k Key, rate Rate) (wait time.Duration, ok bool, err error) {
	now := clock(m.epoch)
	m.at.step(k, now, func(at int64) (next int64) {
		next, wait, ok = rate.Next(at, now)
		return next
	})
	return wait, ok, nil
}

// clock is in ns, above 0.
func clock(epoch time.Time) int64 { return int64(time.Since(epoch)) + 1 }
