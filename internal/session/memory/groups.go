package memory

import (
	"context"
	"sync"
	"time"

	"keyway/internal/session"
)

// groupsPerItem is one more than a session has.
const groupsPerItem = 4

type groups struct {
	mu  sync.Mutex
	by  map[session.Key]map[session.Key]time.Time // group, then member: when its time is over
	n   int                                       // members of all groups
	max int
}

// sweep is for callers that hold the lock.
func (g *groups) sweep(now time.Time) {
	for name, members := range g.by {
		for k, expires := range members {
			if !now.Before(expires) {
				delete(members, k)
				g.n--
			}
		}
		if len(members) == 0 {
			delete(g.by, name)
		}
	}
}

// Join implements session.Groups. It fails with ErrFull when there is no room, and
// has then joined none.
func (s *Store) Join(ctx context.Context, k session.Key, names []session.Key, ttl time.Duration) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	g, now := &s.groups, time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n+len(names) > g.max {
		if g.sweep(now); g.n+len(names) > g.max {
			return ErrFull
		}
	}
	for _, name := range names {
		members := g.by[name]
		if members == nil {
			members = map[session.Key]time.Time{}
			g.by[name] = members
		}
		if _, there := members[k]; !there {
			g.n++
		}
		members[k] = now.Add(ttl)
	}
	return nil
}

// Members implements session.Groups.
func (s *Store) Members(ctx context.Context, name session.Key) ([]session.Key, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	g, now := &s.groups, time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	var keys []session.Key
	for k, expires := range g.by[name] {
		if now.Before(expires) {
			keys = append(keys, k)
		}
	}
	return keys, nil
}
