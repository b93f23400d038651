package session

import (
	"context"
	"crypto/rand"
	"sync/atomic"
	"time"
)

// RightsFor is how long roles and permissions count that could not be learned again
// (Record.RightsMissed), or whose access token is over. What was taken away at the IdP lives on for no longer than
// that after the refresh that missed it, or was due, and a fault of a few minutes is nobody's.
const RightsFor = 5 * time.Minute

const (
	// rightsEvery is the least time between two questions about one session, whichever
	// replicas ask.
	rightsEvery = 3 * time.Second
	// rightsWithin bounds learning them, the store's answers included.
	rightsWithin = 10 * time.Second
	// rightsAtOnce is how many sessions are asked about at once. An IdP whose UserInfo
	// hangs must not take the connections that refreshes need.
	rightsAtOnce = 16
)

// RightsMissed reports whether roles and permissions are of before the last refresh.
func (s *Session) RightsMissed() bool { return !s.rec.RightsMissed.IsZero() }

// lapseAt is when what is known of the user's rights counts no more; zero: it holds as
// long as the session. Rights are read with the tokens, so they are of before when a
// refresh has missed them, and when the access token is over and nobody has refreshed it.
// Without a refresh token there is nobody to ask.
func (s *Session) lapseAt() time.Time {
	since := s.rec.RightsMissed
	end := s.rec.AccessExpiry
	if end.IsZero() {
		end = s.refreshAt
	}
	if !end.IsZero() && !s.rec.RefreshToken.IsZero() && (since.IsZero() || end.Before(since)) {
		since = end
	}
	if since.IsZero() {
		return since
	}
	return since.Add(RightsFor)
}

// RightsLapsed reports whether roles and permissions have been of before for RightsFor:
// nobody knows what the user may do. The session goes on; what needs to know can't be
// decided.
func (s *Session) RightsLapsed(now time.Time) bool {
	at := s.lapseAt()
	return !at.IsZero() && !now.Before(at)
}

// lapses is when rights will have lapsed; zero: never, or they have.
func (s *Session) lapses(now time.Time) time.Time {
	if at := s.lapseAt(); now.Before(at) {
		return at
	}
	return time.Time{}
}

// FreshRights is s where what its user may do is wanted, and no access token. If a
// refresh is due, it goes on beside the request, and s is the answer. Only rights that have
// lapsed are waited for, as in [Manager.Fresh], with its errors. It costs nothing while
// the access token is good for a while.
func (m *Manager) FreshRights(ctx context.Context, s *Session, refresh RefreshFunc) (*Session, error) {
	now := time.Now()
	switch {
	case !m.due(s, now):
	case s.RightsLapsed(now):
		return m.Fresh(ctx, s, refresh)
	case !m.shared.backoff.active(s.key, now):
		m.join(ctx, s.key, refresh)
	}
	return s, nil
}

// learning is what is under way of it in this process.
type learning struct {
	pauses backoff
	asking atomic.Int32
}

// RenewRights has rights learned that a refresh has missed, beside the request: soon,
// and less and less often while that fails. learn asks with the access token that the
// session has, and returns the record with what the IdP says, and RightsMissed zero;
// what else it changes is not kept. Where new tokens are needed first (the access
// token is over, or Record.RefreshBy has come) they are got by refresh. It never
// waits, and costs nothing for a session that has missed none.
func (m *Manager) RenewRights(ctx context.Context, s *Session, refresh, learn RefreshFunc) {
	if !s.RightsMissed() {
		return
	}
	now, r := time.Now(), &m.shared.rights
	switch {
	case m.due(s, now):
		if !m.shared.backoff.active(s.key, now) {
			m.join(ctx, s.key, refresh)
		}
		return
	case !s.rec.RefreshBy.IsZero() || !s.AccessValid(now) || r.pauses.active(s.key, now):
		return
	}
	if r.asking.Add(1) > rightsAtOnce {
		r.asking.Add(-1)
		return
	}
	r.pauses.failed(s.key, now) // until it has not
	key := s.key                // s may not be kept: it has tokens
	started := m.shared.background(ctx, rightsWithin, func(ctx context.Context) {
		defer r.asking.Add(-1)
		if m.latest().learn(ctx, key, learn) {
			r.pauses.forget(key)
		}
	})
	if !started {
		r.asking.Add(-1)
	}
}

// learn reports whether rights are known again.
func (m *Manager) learn(ctx context.Context, k Key, learn RefreshFunc) bool {
	// Nobody releases it: it is the pause for all replicas.
	if got, err := m.store.Acquire(ctx, "rights:"+k.String(), rand.Text(), rightsEvery); err != nil || !got {
		return false
	}
	s, err := m.load(ctx, k)
	if err != nil || !s.RightsMissed() {
		return err == nil
	}
	rec, err := learn(ctx, s.rec.clone())
	if err != nil {
		return false
	}
	known := false
	_, err = m.Update(ctx, s, func(now Record) Record {
		if known = now.AccessToken.Equal(s.rec.AccessToken); known { // else a refresh was later than what was learned
			now.Roles, now.Permissions, now.Claims, now.RightsMissed = rec.Roles, rec.Permissions, rec.Claims, rec.RightsMissed
		}
		return now
	})
	return err == nil && known
}
