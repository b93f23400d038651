package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// patience is how long a request waits for a refresh while its access token is
// still good: the token is refreshed ahead, so that a slow IdP delays nobody.
const patience = time.Second

// waitSlack is what a request whose token is over waits beyond the IdP's own
// time: for the lease and the save.
const waitSlack = 5 * time.Second

// unknownLife is after how long an access token is renewed whose life nobody has told
// (expires_in is no more than recommended, RFC 6749 section 5.1): the token may be good
// for longer, but rights are read with it.
const unknownLife = time.Hour

// RefreshFunc asks the IdP for new tokens with rec.RefreshToken, and returns rec
// with what came of it, GrantedAt included. It returns an error that is
// ErrGrantGone when, and only when, the IdP says that this grant is over. ctx is
// not the request's: it does not end when the user closes the tab.
type RefreshFunc func(ctx context.Context, rec Record) (Record, error)

// refreshAt is when a refresh is due: RefreshAhead before the end, but not in
// the first four fifths of a token's life, so that a token of a minute is not
// refreshed at each request. Zero: never.
func refreshAt(rec *Record, ahead time.Duration) time.Time {
	if rec.RefreshToken.IsZero() {
		return time.Time{}
	}
	var at time.Time
	if !rec.AccessExpiry.IsZero() {
		at = inTime(rec, ahead)
	} else if !rec.GrantedAt.IsZero() {
		at = rec.GrantedAt.Add(unknownLife)
	}
	if by := rec.RefreshBy; !by.IsZero() && (at.IsZero() || by.Before(at)) {
		return by
	}
	return at
}

// inTime is when the access token is about to end.
func inTime(rec *Record, ahead time.Duration) time.Time {
	if life := rec.AccessExpiry.Sub(rec.GrantedAt); life > 0 && !rec.GrantedAt.IsZero() {
		ahead = min(ahead, life/5)
	}
	// A token that is not used any more must be due.
	return rec.AccessExpiry.Add(-max(ahead, accessMargin(rec)))
}

func accessValid(rec *Record, now time.Time) bool {
	return rec.AccessExpiry.IsZero() || now.Add(accessMargin(rec)).Before(rec.AccessExpiry)
}

// accessMargin leaves time for the request to reach an upstream whose clock is a
// little ahead.
func accessMargin(rec *Record) time.Duration {
	const most = 5 * time.Second
	if life := rec.AccessExpiry.Sub(rec.GrantedAt); life > 0 && !rec.GrantedAt.IsZero() {
		return min(most, life/10)
	}
	return most
}

func (s *Session) refreshDue(now time.Time) bool {
	return !s.refreshAt.IsZero() && !now.Before(s.refreshAt)
}

// due is refreshDue, or that nobody can use the access token, because the key that it
// is bound to is not there any more. For that it is renewed whatever its age.
func (m *Manager) due(s *Session, now time.Time) bool { return s.refreshDue(now) || m.keyGone(s) }

// Due reports whether [Manager.Fresh] would do more than to return s.
func (m *Manager) Due(s *Session) bool { return m.due(s, time.Now()) }

func (m *Manager) keyGone(s *Session) bool {
	return s.rec.TokenKey != "" && m.o.HasTokenKey != nil && !s.rec.RefreshToken.IsZero() && !m.o.HasTokenKey(s.rec.TokenKey)
}

// Fresh is the session with an access token that is good for a while, refreshed
// if that is due. However many requests on however many replicas ask at once,
// the IdP is asked once, and all get the result.
//
// While the access token is good, trouble is nobody's: the session comes back as
// it is, and the IdP is asked again after a while. Once it is over the errors
// are ErrIdPUnavailable and ErrUnavailable, which keep the session, and ErrEnded
// if the IdP says that the grant is gone or somebody ended the session. A
// session without a refresh token comes back as it is, see AccessValid.
func (m *Manager) Fresh(ctx context.Context, s *Session, refresh RefreshFunc) (*Session, error) {
	now := time.Now()
	if !m.due(s, now) {
		return s, nil
	}
	gone := m.keyGone(s)
	valid := s.AccessValid(now) && !gone
	if m.shared.backoff.active(s.key, now) {
		if valid {
			return s, nil
		}
		return nil, ErrIdPUnavailable
	}
	f := m.join(ctx, s.key, refresh)
	wait := m.o.RefreshTimeout + waitSlack
	if valid {
		wait = patience
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-f.done:
	case <-timer.C:
		if valid {
			return s, nil
		}
		return nil, fmt.Errorf("%w: no answer within %v", ErrIdPUnavailable, wait)
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrIdPUnavailable, ctx.Err())
	}
	switch {
	case f.err == nil:
		return f.s, nil
	case errors.Is(f.err, ErrEnded):
		return nil, f.err
	case !gone && s.AccessValid(time.Now()):
		return s, nil
	default:
		return nil, f.err
	}
}

// flights is the refreshes under way in this process.
type flights struct {
	mu sync.Mutex
	by map[Key]*flight
}

// flight is one of them; s and err are set before done is closed.
type flight struct {
	done chan struct{}
	s    *Session
	err  error
}

// join is the refresh of k that is under way, or a new one, on a context of its
// own: a tab that is closed must not lose a refresh token that the IdP has just
// replaced.
func (m *Manager) join(ctx context.Context, k Key, refresh RefreshFunc) *flight {
	fs := &m.shared.flights
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.by[k]; f != nil {
		return f
	}
	f := &flight{done: make(chan struct{})}
	limit := 2*m.o.RefreshTimeout + leaseFor + saveWithin
	started := m.shared.background(ctx, limit, func(ctx context.Context) {
		release, failed := func() {}, true
		f.err = errDefect // unless refresh returns
		defer func() {
			if failed {
				m.shared.backoff.failed(k, time.Now())
			}
			fs.mu.Lock()
			delete(fs.by, k)
			fs.mu.Unlock()
			close(f.done)
			release()
		}()
		f.s, release, f.err = m.refresh(ctx, k, refresh)
		failed = false
	})
	if !started {
		f.err = fmt.Errorf("%w: shutting down", ErrUnavailable)
		close(f.done)
		return f
	}
	if fs.by == nil {
		fs.by = map[Key]*flight{}
	}
	fs.by[k] = f
	return f
}
