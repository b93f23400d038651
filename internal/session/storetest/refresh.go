package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"keyway/internal/session"
	"keyway/internal/session/sessiontest"
)

// refused tells when an Acquire has found the name taken.
type refused struct {
	session.Store
	once chan struct{}
}

func (r refused) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	got, err := r.Store.Acquire(ctx, name, owner, ttl)
	if err == nil && !got {
		select {
		case r.once <- struct{}{}:
		default:
		}
	}
	return got, err
}

// failedRefresh has one replica give up on an IdP while another waits for its answer.
func failedRefresh(t *testing.T, s session.Store) {
	waits := refused{s, make(chan struct{}, 1)}
	here, there := sessiontest.Manager(t, s, nil), sessiontest.Manager(t, waits, nil)
	idp := sessiontest.NewIdP(time.Hour, 0)
	grant := idp.Grant("ada")
	grant.GrantedAt, grant.AccessExpiry = time.Now().Add(-time.Hour), time.Now().Add(-time.Second) // over
	_, one := sessiontest.SignIn(t, here, grant)
	asked, gone := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := here.Fresh(t.Context(), one, func(context.Context, session.Record) (session.Record, error) {
			close(asked)
			select {
			case <-waits.once:
			case <-time.After(patience):
			}
			return session.Record{}, errors.New("no answer")
		})
		gone <- err
	}()
	<-asked
	_, err := there.Fresh(t.Context(), one, func(_ context.Context, rec session.Record) (session.Record, error) {
		t.Error("the IdP was asked the same at once again")
		return rec, errors.New("no answer")
	})
	wantErr(t, "who waited elsewhere", err, session.ErrIdPUnavailable)
	wantErr(t, "who asked", <-gone, session.ErrIdPUnavailable)
	Eventually(t, "the IdP is asked again", func() bool {
		now, err := there.Fresh(t.Context(), one, idp.Refresh)
		return err == nil && now.AccessValid(time.Now())
	})
}
