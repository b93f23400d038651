package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"keyway/internal/secret"
)

const (
	// leaseFor outlasts a few lost renewals, and is what others wait for at most
	// when a replica dies in the middle of a refresh.
	leaseFor   = 10 * time.Second
	leaseRenew = 3 * time.Second
	// pollEvery is for what another replica saves, in case that is not told.
	pollEvery = 250 * time.Millisecond
	// saveWithin is how long new tokens are held for a store that is away. After
	// that they are lost, and the user has to sign in again.
	saveWithin  = time.Minute
	saveRetry   = 200 * time.Millisecond
	leaseGoodby = 2 * time.Second
	// orphanWithin bounds telling of tokens that nobody needs.
	orphanWithin = 10 * time.Second
)

// refresh renews the tokens of k, unless somebody else does. release frees the
// lease, and is called once all who wait have been told.
//
// What can't be made safe is a crash between the IdP's answer and our save
// (threat 66), or a store that loses the lease in a fail-over: then a refresh
// token that the IdP replaced is used again, the IdP says that the grant is
// gone, and the user signs in once more. It can't loop, because that ends the
// session.
func (m *Manager) refresh(ctx context.Context, k Key, ask RefreshFunc) (_ *Session, release func(), _ error) {
	name, owner := "refresh:"+k.String(), rand.Text()
	s, got, err := m.lease(ctx, k, name, owner)
	if !got {
		return s, func() {}, err
	}
	stop := m.keepLease(ctx, name, owner)
	var pause time.Duration
	release = func() {
		stop()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseGoodby)
		defer cancel()
		if pause > 0 { // before: whoever has the lease next finds it
			m.tellPause(ctx, k, pause)
		}
		_ = m.store.Release(ctx, name, owner) // else it ends by itself
	}
	// Between our read and the lease, whoever had it may have been done.
	if s, err = m.latest().load(ctx, k); err != nil || !m.latest().due(s, time.Now()) {
		return s, release, err
	}
	if err = m.paused(ctx, k); err != nil {
		return nil, release, err
	}
	s, pause, err = m.ask(ctx, s, ask)
	return s, release, err
}

// lease waits until it has the lease, or what it is for has been done.
func (m *Manager) lease(ctx context.Context, k Key, name, owner string) (s *Session, got bool, err error) {
	changed, stop := m.shared.watchers.add(k)
	defer stop()
	for {
		if s, err = m.latest().load(ctx, k); err != nil || !m.latest().due(s, time.Now()) {
			return s, false, err
		}
		if got, err = m.store.Acquire(ctx, name, owner, leaseFor); err != nil {
			return nil, false, fromStore(err)
		}
		if got {
			return s, true, nil
		}
		poll := time.NewTimer(pollEvery)
		select {
		case <-changed:
		case <-poll.C:
		case <-m.shared.closing:
			err = fmt.Errorf("%w: shutting down", ErrUnavailable)
		case <-ctx.Done():
			err = fmt.Errorf("%w: another replica has been at it for too long", ErrIdPUnavailable)
		}
		poll.Stop()
		if err != nil {
			return nil, false, err
		}
	}
}

// keepLease renews the lease until stop. One that is lost all the same changes
// nothing for us: the IdP has been asked, and what it answers must be saved.
func (m *Manager) keepLease(ctx context.Context, name, owner string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { m.shared.defect(recover()) }()
		tick := time.NewTicker(leaseRenew)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			call, cancel := context.WithTimeout(ctx, leaseRenew)
			held, err := m.store.Renew(call, name, owner, leaseFor)
			cancel()
			if err == nil && !held {
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// ask has the IdP renew the tokens of s, and saves them. pause is for how long it should
// not be asked again.
func (m *Manager) ask(ctx context.Context, s *Session, ask RefreshFunc) (_ *Session, pause time.Duration, _ error) {
	used := s.rec.RefreshToken
	call, cancel := context.WithTimeout(ctx, m.o.RefreshTimeout)
	rec, err := ask(call, s.rec.clone())
	cancel()
	switch {
	case err == nil:
		m.shared.backoff.forget(s.key)
		next, err := m.save(ctx, s, used, rec)
		if errors.Is(err, ErrEnded) {
			m.orphan(ctx, rec)
		}
		return next, 0, err
	case errors.Is(err, ErrGrantGone):
		m.shared.backoff.forget(s.key)
		next, err := m.grantGone(ctx, s, used, err)
		return next, 0, err
	default:
		return nil, m.shared.backoff.failed(s.key, time.Now()), fmt.Errorf("%w: %w", ErrIdPUnavailable, err)
	}
}

// orphan hands over tokens of a session that has ended meanwhile. Those of one
// that lives are left alone, even where they could not be saved: to revoke a
// refresh token is to end its grant (RFC 7009 section 2.1).
func (m *Manager) orphan(ctx context.Context, rec Record) {
	if m.o.Orphaned == nil {
		return
	}
	tell := func(ctx context.Context) { m.o.Orphaned(ctx, rec) }
	if !m.shared.background(ctx, orphanWithin, tell) { // shutting down, which waits for us
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), orphanWithin)
		defer cancel()
		tell(ctx)
	}
}

// grantGone ends the session, unless somebody has saved another refresh token
// since: then it was not the grant that was gone, but the token that we used.
func (m *Manager) grantGone(ctx context.Context, s *Session, used secret.Value, why error) (*Session, error) {
	now, err := m.latest().load(ctx, s.key)
	if err != nil {
		return nil, err
	}
	if !now.rec.RefreshToken.Equal(used) {
		return now, nil
	}
	if err := m.endKey(ctx, s.key); err != nil {
		return nil, err // the next refresh will come to the same
	}
	return nil, fmt.Errorf("%w: %w", ErrEnded, why)
}

// save writes the new tokens over the ones that were used, and over nothing
// else: not over a session that has ended, and not over a newer refresh.
func (m *Manager) save(ctx context.Context, s *Session, used secret.Value, rec Record) (*Session, error) {
	deadline := time.Now().Add(saveWithin)
	for {
		next, err := m.latest().replace(ctx, s, rec)
		if errors.Is(err, ErrConflict) {
			var now *Session
			if now, err = m.latest().load(ctx, s.key); err == nil {
				switch got := now.rec.RefreshToken; {
				case got.Equal(rec.RefreshToken) && now.rec.AccessToken.Equal(rec.AccessToken):
					return now, nil // it was our own write, whose answer we did not hear
				case !got.Equal(used):
					return now, nil
				}
				s, rec = now, withTokens(*now.rec, rec)
				continue
			}
		}
		if err == nil || !errors.Is(err, ErrUnavailable) || !time.Now().Before(deadline) {
			return next, err
		}
		retry := time.NewTimer(saveRetry)
		select {
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return nil, err
		}
	}
}

// withTokens is rec with what a refresh brings.
func withTokens(rec, from Record) Record {
	rec.AccessToken, rec.AccessExpiry, rec.RefreshToken = from.AccessToken, from.AccessExpiry, from.RefreshToken
	rec.IDToken, rec.TokenType, rec.TokenKey, rec.Scope, rec.GrantedAt = from.IDToken, from.TokenType, from.TokenKey, from.Scope, from.GrantedAt
	rec.Email, rec.Name, rec.Claims = from.Email, from.Name, from.Claims
	rec.Roles, rec.Permissions, rec.RightsMissed, rec.RefreshBy = from.Roles, from.Permissions, from.RightsMissed, from.RefreshBy
	return rec
}
