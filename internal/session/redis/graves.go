package redis

import (
	"context"
	"sync"
	"time"

	"keyway/internal/session"
)

const (
	// graveFor is far beyond what a replica lags behind its master, so that what
	// was deleted longer ago can't come back in a fail-over.
	graveFor  = 2 * time.Minute
	maxGraves = 10_000
)

// graves is what this process has deleted a short while ago.
//
// A fail-over can lose the last writes, and with them a logout: the session
// would be back (threat 68). So after each loss of a connection, which a
// fail-over always is, they are deleted again. Keys are random and never used
// twice, so that can't hit anybody else.
type graves struct {
	mu   sync.Mutex
	keys []grave // oldest first
}

type grave struct {
	key session.Key
	at  time.Time
}

func (g *graves) add(k session.Key, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := 0
	for old < len(g.keys) && (now.Sub(g.keys[old].at) > graveFor || len(g.keys)-old >= maxGraves) {
		old++
	}
	if old > len(g.keys)/2 { // else it costs more than it frees
		g.keys = append([]grave(nil), g.keys[old:]...)
	} else {
		g.keys = g.keys[old:]
	}
	g.keys = append(g.keys, grave{k, now})
}

func (g *graves) recent(now time.Time) (keys []session.Key) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, v := range g.keys {
		if now.Sub(v.at) <= graveFor {
			keys = append(keys, v.key)
		}
	}
	return keys
}

// connectionLost has the graves dug again.
func (s *Store) connectionLost() {
	select {
	case s.lost <- struct{}{}:
	default:
	}
}

// bury deletes again, at once and twice more: the first connection after a loss
// may still be to the old master.
func (s *Store) bury() {
	again := []time.Duration{0, time.Second, 4 * time.Second}
	next := len(again) // nothing to do until a connection is lost
	for {
		var due <-chan time.Time
		if next < len(again) {
			due = time.After(again[next])
		}
		select {
		case <-s.stop:
			return
		case <-s.lost:
			next = 0
			continue
		case <-due:
			next++
		}
		for _, k := range s.graves.recent(time.Now()) {
			buried := true // or given up, if that met a defect
			if s.contained(func() { buried = s.buryOne(k) }); !buried {
				return
			}
		}
	}
}

// buryOne tries until Redis has answered, or the store is closed.
func (s *Store) buryOne(k session.Key) bool {
	for {
		if err := s.deleteRecord(context.Background(), k); err == nil {
			return true
		}
		timer := time.NewTimer(probeEvery)
		select {
		case <-timer.C:
		case <-s.stop:
			timer.Stop()
			return false
		}
	}
}
