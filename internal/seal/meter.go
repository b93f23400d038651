package seal

import (
	"sync"
	"sync/atomic"
)

// Meter counts what keys are used for, by secret and version, for as long as the
// process lives: whatever is built from one ring after another counts on. It is
// safe for concurrent use. A nil Meter counts nothing.
type Meter struct {
	mu   sync.Mutex
	uses map[meterKey]*uses
}

type meterKey struct{ secret, version string }

// uses are added to on the way of a request: one atomic addition, some
// nanoseconds.
type uses struct{ made, checked atomic.Uint64 }

// Use is what one version of a secret was used for.
type Use struct {
	Secret, Version string
	Made            uint64 // sealed or minted
	Checked         uint64 // hashed to look something up, opened, or checked
}

// NewMeter begins to count.
func NewMeter() *Meter { return &Meter{uses: map[meterKey]*uses{}} }

func (m *Meter) of(secret, version string) *uses {
	if m == nil {
		return &uses{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := meterKey{secret, version}
	if m.uses[key] == nil {
		m.uses[key] = &uses{}
	}
	return m.uses[key]
}

// Uses are all that was counted, in no order.
func (m *Meter) Uses() []Use {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Use, 0, len(m.uses))
	for key, u := range m.uses {
		all = append(all, Use{key.secret, key.version, u.made.Load(), u.checked.Load()})
	}
	return all
}

// one is the meter that was given, if any.
func one(meters []*Meter) *Meter {
	if len(meters) == 0 {
		return nil
	}
	return meters[0]
}
