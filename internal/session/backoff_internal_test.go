package session

import (
	"encoding/binary"
	"testing"
	"time"
)

// The pauses of very many sessions are bounded, and looking for room is, too: an IdP
// that is away fails everybody, all at once.
func TestPausesAreBounded(t *testing.T) {
	key := func(n int) (k Key) {
		binary.BigEndian.PutUint64(k[:], uint64(n))
		return k
	}
	var b backoff
	now := time.Unix(1_800_000_000, 0)
	for n := range backoffKeys {
		b.failed(key(n), now)
	}
	b.failed(key(backoffKeys), now)
	if len(b.by) != backoffKeys || b.active(key(backoffKeys), now) || !b.active(key(0), now) {
		t.Errorf("%d pauses", len(b.by))
	}
	b.failed(key(1), now) // of one that is known
	later := now.Add(backoffFirst)
	b.failed(key(backoffKeys), later)
	if !b.active(key(backoffKeys), later) || len(b.by) != 2 || !b.active(key(1), later) {
		t.Errorf("%d pauses when the others are over", len(b.by))
	}
	b.swept = later
	for n := range backoffKeys {
		b.failed(key(n), later)
	}
	if full := len(b.by); full != backoffKeys {
		t.Errorf("%d pauses", full)
	}
	b.forget(key(0))
	b.failed(key(backoffKeys+1), later)
	if !b.active(key(backoffKeys+1), later) {
		t.Error("there was room")
	}
}
