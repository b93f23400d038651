package gateway

import (
	"hash/maphash"
	"sync/atomic"
)

// goodTokens are hashes of Authorization values that were accepted lately. They
// decide nothing but whether a token is looked at, so a hash of 64 bits is enough;
// its seed is the process's. Only what was good gets in: who has none drives
// nothing out. Reading is two atomic loads.
type goodTokens struct {
	seed  maphash.Seed
	slots [8192]atomic.Uint64
}

func (g *goodTokens) find(authorization []string) (one, other *atomic.Uint64, sum uint64) {
	if len(authorization) != 1 {
		return nil, nil, 0
	}
	sum = max(maphash.String(g.seed, authorization[0]), 1)
	n := uint64(len(g.slots))
	return &g.slots[sum%n], &g.slots[(sum>>32)%n], sum
}

func (g *goodTokens) has(authorization []string) bool {
	one, other, sum := g.find(authorization)
	return one != nil && (one.Load() == sum || other.Load() == sum)
}

func (g *goodTokens) add(authorization []string) {
	one, other, sum := g.find(authorization)
	switch {
	case one == nil || one.Load() == sum || other.Load() == sum:
	case one.Load() == 0 || other.Load() != 0 && sum>>16&1 == 0:
		one.Store(sum)
	default:
		other.Store(sum)
	}
}

func (g *goodTokens) drop(authorization []string) {
	if one, other, sum := g.find(authorization); one != nil {
		one.CompareAndSwap(sum, 0)
		other.CompareAndSwap(sum, 0)
	}
}
