package limit

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"
)

// Key is what is counted of whom.
type Key struct {
	Kind    Kind
	prefix  netip.Prefix // the zero one: an address that is not known, or an account
	account accountSum   // the zero one: an address
}

// accountSum stands for an account: tables have one size of key, however long a name.
type accountSum [16]byte

// AppendTo appends bytes that no other key has. An address, or an account, can be
// worked out from them: whoever keeps them elsewhere hashes them with a secret first.
func (k Key) AppendTo(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(k.Kind)))
	b = append(b, k.Kind...)
	if k.account != (accountSum{}) {
		// Longer than any address, and by that no address.
		return append(append(b, "account"...), k.account[:]...)
	}
	b, _ = k.prefix.AppendBinary(b) // never fails; of 1, 5 or 17 bytes, so no two families are one
	return b
}

// KeyOfAccount is the key of somebody who is known.
func KeyOfAccount(kind Kind, provider, subject string) Key {
	b := binary.AppendUvarint(make([]byte, 0, 128), uint64(len(provider)))
	b = append(append(b, provider...), subject...)
	sum := sha256.Sum256(b)
	return Key{Kind: kind, account: accountSum(sum[:])}
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
	return Key{Kind: kind, prefix: prefix}
}

// prefixes are lengths of prefixes, with the defaults for 0: a whole IPv4 address, and
// what one customer has of IPv6.
func prefixes(v4, v6 int) (int, int) { return cmp.Or(v4, 32), cmp.Or(v6, 64) }

// Counters count for everybody who asks them. They are safe for concurrent use.
type Counters interface {
	// Take counts n for k, unless that is beyond rate. wait is how long until one more
	// is allowed if these were (0: at once), else until these would be, at least 1 ns.
	// More than the whole rate count as the whole rate. They return soon after ctx
	// ends. An error means that nobody can know.
	Take(ctx context.Context, k Key, rate Rate, n int) (wait time.Duration, ok bool, err error)
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
func (m *Memory) Take(_ context.Context, k Key, rate Rate, n int) (wait time.Duration, ok bool, err error) {
	now := clock(m.epoch)
	m.at.step(k, now, func(at int64) (next int64) {
		next, wait, ok = rate.Next(at, now, n)
		return next
	})
	return wait, ok, nil
}

// giveBack undoes a Take that was allowed.
func (m *Memory) giveBack(k Key, rate Rate, n int) {
	m.at.step(k, clock(m.epoch), func(at int64) int64 { return max(at-rate.of(n), 0) })
}

// clock is in ns, above 0.
func clock(epoch time.Time) int64 { return int64(time.Since(epoch)) + 1 }
