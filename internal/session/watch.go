package session

import (
	"context"
	"errors"
	"time"

	"keyway/internal/principal"
)

const (
	// watchEvery is for ends that the store fails to tell of.
	watchEvery = 15 * time.Second
	// watchRetry is while the store is away, which ends no stream.
	watchRetry  = 500 * time.Millisecond
	watchLookup = 2 * time.Second
)

// Watch is a context for what goes on for longer than a request, a stream: it
// ends, with the cause ErrEnded, within a second of the session's end, be that
// here, on another replica, idle or absolute. An open stream is no use of the
// session: it does not put off the idle timeout. Call stop when done.
func (m *Manager) Watch(ctx context.Context, s *Session) (_ context.Context, stop func()) {
	return m.WatchPrincipal(ctx, s, nil, Keep{})
}

// WatchPrincipal is Watch, and tells of who is signed in whenever that is told
// otherwise than s does, or than it was told last: when a refresh has brought other
// claims, here or on another replica, within a second, and when rights have lapsed. told is called on one
// goroutine, and must not block; nil: nobody wants to know.
//
// Whoever wants to know has rights read again by keep, as nobody else may.
func (m *Manager) WatchPrincipal(ctx context.Context, s *Session, told func(principal.Principal), keep Keep) (_ context.Context, stop func()) {
	has := &known{told: told, revision: s.revision, lapses: s.lapses(time.Now()), keep: keep, refreshAt: s.refreshAt, missed: s.RightsMissed()}
	has.who = has.principal(s)
	return m.shared.watch(ctx, s.key, s.rec.AbsoluteExpiry, has)
}

// known is what a watcher knows of a session.
type known struct {
	told     func(principal.Principal)
	who      principal.Principal
	revision uint64
	lapses   time.Time // when who has no rights any more; zero: not that is known

	keep      Keep
	refreshAt time.Time // zero: never
	missed    bool      // what a refresh should have brought
}

// Keep is how a session is kept up to date for somebody who goes on using it without a
// request: Refresh as in [Manager.Fresh], when that is due, and Learn as in
// [Manager.RenewRights]. Both may be called as long as it is watched. The zero Keep does
// nothing.
type Keep struct{ Refresh, Learn RefreshFunc }

// look tells if a record says otherwise, and reports whether that could be found out.
func (k *known) look(m *Manager, key Key, it Item, now time.Time) bool {
	if k.told == nil || it.Revision == k.revision && (k.lapses.IsZero() || now.Before(k.lapses)) {
		return true
	}
	s, err := m.open(key, it)
	if err != nil {
		return false // a later generation may have the key
	}
	k.revision, k.lapses, k.refreshAt, k.missed = it.Revision, s.lapses(now), s.refreshAt, s.RightsMissed()
	if who := k.principal(s); !who.Equal(&k.who) {
		k.who = who
		k.told(who)
	}
	return true
}

// principal is who has the session. Where nobody reads rights, none lapse.
func (k *known) principal(s *Session) principal.Principal {
	who := s.Principal()
	who.RightsLapsed = who.RightsLapsed && k.keep.Learn != nil
	return who
}

// watch is Watch without the Manager and the Session: a stream may go on for
// hours, and must not keep a generation's keys and a session's tokens in memory.
func (s *Shared) watch(ctx context.Context, k Key, absolute time.Time, has *known) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	changed, unsubscribe := s.watchers.add(k)
	go func() {
		defer unsubscribe()
		for {
			next, over := s.watchOnce(ctx, k, absolute, has)
			if over {
				cancel(ErrEnded)
				return
			}
			timer := time.NewTimer(next)
			select {
			case <-changed:
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
			timer.Stop()
		}
	}()
	return ctx, func() { cancel(nil) }
}

// watchOnce asks the store, which also makes the store tell of the next change.
func (s *Shared) watchOnce(ctx context.Context, k Key, absolute time.Time, has *known) (next time.Duration, over bool) {
	defer func() {
		if panicked := recover(); panicked != nil { // a stream must not go on unwatched
			s.defect(panicked)
			next, over = min(watchRetry, time.Until(absolute)), false
		}
	}()
	call, cancel := context.WithTimeout(ctx, watchLookup)
	it, err := s.store.Get(call, k)
	cancel()
	now := time.Now()
	left := absolute.Sub(now)
	switch {
	case left <= 0 || errors.Is(err, ErrNotFound):
		return 0, true
	case err != nil:
		return min(watchRetry, left), false
	case !has.look(s.newest.Load(), k, it, now):
		return min(watchRetry, left), false
	}
	next = min(watchEvery, left, max(it.Expires.Sub(now), time.Millisecond))
	if has.told == nil {
		return next, false
	}
	if !has.lapses.IsZero() {
		next = min(next, has.lapses.Sub(now))
	}
	return min(next, s.kept(ctx, k, it, has, now)), false
}

// kept has rights read again if it is time to, beside the stream, and says when to look
// again.
func (s *Shared) kept(ctx context.Context, k Key, it Item, has *known, now time.Time) time.Duration {
	next, due := watchEvery, !has.refreshAt.IsZero() && !now.Before(has.refreshAt)
	switch {
	case has.keep.Refresh == nil || has.keep.Learn == nil:
		return next
	case due && s.backoff.active(k, now):
		return s.backoff.left(k, now) + time.Millisecond
	case due:
		s.newest.Load().join(ctx, k, has.keep.Refresh)
		return backoffFirst // the store tells of what it brings, and not of a failure
	case has.missed:
		m := s.newest.Load()
		if open, err := m.open(k, it); err == nil {
			m.RenewRights(ctx, open, has.keep.Refresh, has.keep.Learn)
		}
		next = rightsEvery
	}
	if !has.refreshAt.IsZero() {
		next = min(next, has.refreshAt.Sub(now))
	}
	return next
}
