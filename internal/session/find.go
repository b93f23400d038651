package session

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// extendWithin bounds writing the idle timeout, beside the request.
const extendWithin = 2 * time.Second

// Find is the session that the request's cookie names: cookieHeaders is the
// values of its Cookie header, c where it comes from. That counts as use, so the
// idle timeout starts anew; what is written of that is one write each eighth of
// it, beside the request.
//
// Errors: ErrNone, ErrEnded, ErrBinding, ErrUnavailable, and one for which
// IsUnknownVersion is true. A session that was found within the last seconds
// costs no trip to the store, unless the store has told of a change.
func (m *Manager) Find(ctx context.Context, cookieHeaders []string, c Client) (*Session, error) {
	key, err := m.key(cookieHeaders)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	s := m.shared.cache.get(key, now)
	if s == nil {
		if s, err = m.load(ctx, key); err != nil {
			return nil, err
		}
	}
	err = m.checkBinding(s, c)
	if IsUnknownVersion(err) && m.o.Alone && m.latest() == m {
		return nil, m.giveUp(ctx, key)
	}
	if err != nil {
		return nil, err
	}
	m.touch(ctx, s, now)
	return s, nil
}

// load reads the session from the store, and puts it into the cache.
func (m *Manager) load(ctx context.Context, key Key) (*Session, error) {
	ticket := m.shared.cache.ticket(key)
	it, err := m.store.Get(ctx, key)
	if err != nil {
		return nil, fromStore(err)
	}
	s, err := m.open(key, it)
	if IsUnknownVersion(err) && m.lost(it.Data) {
		return nil, m.giveUp(ctx, key)
	}
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if s.ended(now) {
		return nil, ErrEnded
	}
	s.freshTill = now.Add(freshFor)
	m.shared.cache.put(s, ticket)
	return s, nil
}

// giveUp ends a session that rests on a version that nobody has.
func (m *Manager) giveUp(ctx context.Context, key Key) error {
	if m.o.Alone {
		_ = m.endKey(ctx, key) // else it expires
	}
	return fmt.Errorf("%w: nobody has the keys that it rests on", ErrEnded)
}

// lost reports whether what was sealed under an unknown version can't be opened
// by anybody.
func (m *Manager) lost(data []byte) bool {
	if m.latest() != m {
		return false // a later generation may know it
	}
	if m.o.Alone || m.o.Lost == nil {
		return m.o.Alone
	}
	h, _, err := parseHead(data)
	return err == nil && m.o.Lost(h.key())
}

func (m *Manager) open(key Key, it Item) (*Session, error) {
	plain, h, err := m.unsealed(key, it.Data)
	if err != nil {
		return nil, err
	}
	rec, more, err := decode(plain)
	if err != nil {
		// A newer replica wrote it: this one can't know.
		return nil, errors.Join(ErrUnavailable, err)
	}
	return m.session(key, m.saltName(h), &rec, more, it), nil
}

// checkBinding costs a hash for each new client only. A session whose binding
// names a version that nobody has any more can't be told from a stolen one.
func (m *Manager) checkBinding(s *Session, c Client) error {
	if m.o.Binding.off() || s.rec.Binding.Version == "" {
		return nil
	}
	if was := s.seen.Load(); was != nil && was.by == m && was.c == c {
		return nil
	}
	err := s.rec.Binding.check(m.o.UA, m.o.Binding, c)
	if err == nil {
		s.seen.Store(&seen{m, c})
		return nil
	}
	e := VersionError{Secret: SecretUA, Version: s.rec.Binding.Version, Who: s.user(), Err: err}
	if errors.Is(err, ErrBinding) {
		return &e
	}
	return fromKeys(e)
}

// touch moves the idle timeout, if that is worth a write: when it would gain an
// eighth. Because it never goes beyond the absolute expiry, the writes stop by
// themselves towards the end.
func (m *Manager) touch(ctx context.Context, s *Session, now time.Time) {
	if m.o.Idle == 0 {
		return
	}
	ttl := m.ttl(now, s.rec.AbsoluteExpiry)
	if now.Add(ttl).Sub(s.expires) < m.o.Idle/8 || !s.touched.CompareAndSwap(false, true) {
		return
	}
	// A write that fails is tried again by the copy that the cache reads next,
	// some seconds from now.
	m.shared.background(ctx, extendWithin, func(ctx context.Context) {
		ttl := m.ttl(time.Now(), s.rec.AbsoluteExpiry)
		if ttl <= 0 {
			return
		}
		if err := m.store.Extend(ctx, s.key, ttl); errors.Is(err, ErrNotFound) {
			m.shared.cache.drop(s.key)
		}
	})
}
