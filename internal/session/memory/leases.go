package memory

import (
	"context"
	"sync"
	"time"
)

type leases struct {
	mu   sync.Mutex
	held map[string]lease
	max  int
}

type lease struct {
	owner   string
	expires time.Time
}

func (l *leases) sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, h := range l.held {
		if !now.Before(h.expires) {
			delete(l.held, name)
		}
	}
}

// Acquire implements session.Leases. It fails with ErrFull when there is no room.
func (s *Store) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	if err := s.ready(ctx); err != nil {
		return false, err
	}
	l := &s.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	h, known := l.held[name]
	if known && now.Before(h.expires) {
		return false, nil
	}
	if !known && len(l.held) >= l.max {
		return false, ErrFull
	}
	l.held[name] = lease{owner, now.Add(ttl)}
	return true, nil
}

// Renew implements session.Leases.
func (s *Store) Renew(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	if err := s.ready(ctx); err != nil {
		return false, err
	}
	l := &s.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if h, ok := l.held[name]; !ok || h.owner != owner || !now.Before(h.expires) {
		return false, nil
	}
	l.held[name] = lease{owner, now.Add(ttl)}
	return true, nil
}

// Release implements session.Leases.
func (s *Store) Release(ctx context.Context, name, owner string) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	l := &s.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[name].owner == owner {
		delete(l.held, name)
	}
	return nil
}

// Holder implements session.Leases.
func (s *Store) Holder(ctx context.Context, name string) (owner string, held bool, err error) {
	if err := s.ready(ctx); err != nil {
		return "", false, err
	}
	l := &s.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	if h, ok := l.held[name]; ok && time.Now().Before(h.expires) {
		return h.owner, true, nil
	}
	return "", false, nil
}
