package app

import (
	"log/slog"
	"sync"
	"time"

	"keyway/internal/keyring"
)

// lostAfter is how long sessions under a session key that nobody here has are
// kept for: a replica that has it may be about to share it.
const lostAfter = time.Minute

// lostVersions finds out which versions of the session key no replica has any
// more: those that are unknown for lostAfter, and still unknown when the fleet's
// ring has been read after that. While the ring can't be read, nobody can know.
type lostVersions struct {
	log *slog.Logger

	mu     sync.Mutex
	since  map[string]time.Time // first met
	told   map[string]bool
	agreed time.Time // when the ring was last read
	ring   func() keyring.Ring
}

// maxLost bounds what is remembered. Only who writes the store can make it grow.
const maxLost = 1000

// read is told that the ring has just been read and is in use.
func (l *lostVersions) read(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.agreed = now
}

// lost is session.Options.Lost.
func (l *lostVersions) lost(version string, now time.Time) bool {
	if _, err := l.ring().Lookup(version); err == nil {
		return false // it came just now; the next request has it
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	since, known := l.since[version]
	if !known {
		if l.since == nil || len(l.since) >= maxLost {
			l.since, l.told = map[string]time.Time{}, map[string]bool{}
		}
		l.since[version], since = now, now
	}
	if l.agreed.Sub(since) < lostAfter {
		return false
	}
	if !l.told[version] {
		l.told[version] = true
		l.log.Warn("sessions are sealed under a version of the session key that no replica has any more; they count as ended", "version", version)
	}
	return true
}
