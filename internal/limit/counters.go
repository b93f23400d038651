package limit

import (
	"context"
	"encoding/binary"
	"net/netip"
	"time"
)

// Key is what is counted of whom.
type Key struct {
	Kind    Kind
	network [16]byte
	family  byte // 4, 6, or 0: an address that is not known
	bits    byte
}

// AppendTo appends bytes that no other key has. An address can be worked out from
// them: whoever keeps them elsewhere hashes them with a secret first.
func (k Key) AppendTo(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(k.Kind)))
	b = append(b, k.Kind...)
	b = append(b, k.family, k.bits)
	return append(b, k.network[:]...)
}

// KeyOf is the key of addr's prefix, v4 or v6 bits long. A v4 address mapped to v6 is
// the v4 address, and a zone says nothing.
func KeyOf(kind Kind, addr netip.Addr, v4, v6 int) Key {
	k := Key{Kind: kind}
	bits := 0
	switch {
	case addr.Is4() || addr.Is4In6():
		k.family, k.bits, bits = 4, byte(v4), 96+v4
	case addr.Is6():
		k.family, k.bits, bits = 6, byte(v6), v6
	default:
		return k
	}
	k.network = addr.As16() // without a zone
	for i := range k.network {
		if left := bits - 8*i; left < 8 {
			k.network[i] &= ^byte(0xff >> max(left, 0))
		}
	}
	return k
}

// Counters count for everybody who asks them. They are safe for concurrent use.
type Counters interface {
	// Take counts one for k, unless that is beyond rate. wait is how long until the
	// next one is allowed if this one was (0: at once), else until this one would
	// be, at least 1 ns. They return soon after ctx ends. An error means that nobody
	// can know.
	Take(ctx context.Context, k Key, rate Rate) (ok bool, wait time.Duration, err error)
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
func (m *Memory) Take(_ context.Context, k Key, rate Rate) (ok bool, wait time.Duration, err error) {
	now := clock(m.epoch)
	m.at.step(k, now, func(at int64) (next int64) {
		next, ok, wait = rate.Next(at, now)
		return next
	})
	return ok, wait, nil
}

// clock is in ns, above 0.
func clock(epoch time.Time) int64 { return int64(time.Since(epoch)) + 1 }
