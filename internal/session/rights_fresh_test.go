package session_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/principal"
	"keyway/internal/session"
	"keyway/internal/session/sessiontest"
	"keyway/internal/threat"
)

// demoted is an IdP at which ada has been an admin, and is a viewer by now.
func demoted(t *testing.T, m *session.Manager, life, delay time.Duration) (header []string, idp *sessiontest.IdP, refresh session.RefreshFunc) {
	t.Helper()
	idp = sessiontest.NewIdP(life, delay)
	rec := idp.Grant("ada")
	rec.Roles = []string{"admin"}
	header, _ = sessiontest.SignIn(t, m, rec)
	return header, idp, func(ctx context.Context, rec session.Record) (session.Record, error) {
		rec, err := idp.Refresh(ctx, rec)
		rec.Roles = []string{"viewer"}
		return rec, err
	}
}

// Somebody who needs no access token has rights of before for no longer than somebody
// who does: the session is refreshed when that is due, beside the request, once.
func TestRightsAreReadAgainThoughNobodyNeedsAToken(t *testing.T) {
	threat.Covers(t, 49, 65)
	for name, after := range map[string]time.Duration{
		"about to be over": 9*time.Minute + time.Second,
		"over":             10*time.Minute + session.RightsFor - time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memoryStore(t)
				here, there := sessiontest.Manager(t, store, nil), sessiontest.Manager(t, store, nil)
				header, idp, refresh := demoted(t, here, 10*time.Minute, 5*time.Second)
				time.Sleep(9*time.Minute - time.Second)
				if _, err := here.FreshRights(t.Context(), mustFind(t, here, header), refresh); err != nil {
					t.Fatal(err)
				}
				time.Sleep(after - 9*time.Minute + time.Second)
				if calls, _ := idp.Calls(); calls != 0 {
					t.Fatalf("%d refreshes before one was due", calls)
				}
				began := time.Now()
				var all sync.WaitGroup
				for i := range 50 {
					m := []*session.Manager{here, there}[i%2]
					all.Go(func() {
						s, err := find(t, m, header)
						if err == nil {
							s, err = m.FreshRights(t.Context(), s, refresh)
						}
						if err != nil || !slices.Equal(s.Principal().Roles, []string{"admin"}) {
							t.Errorf("answered with %v, %v", s, err)
						}
					})
				}
				all.Wait()
				if took := time.Since(began); took != 0 {
					t.Errorf("they waited for %v", took)
				}
				time.Sleep(6 * time.Second)
				for _, m := range []*session.Manager{here, there} {
					if got := rolesNow(t, m, header); !slices.Equal(got, []string{"viewer"}) {
						t.Errorf("after the refresh: %v", got)
					}
				}
				if calls, reused := idp.Calls(); calls != 1 || reused != 0 {
					t.Errorf("%d refreshes, %d reused", calls, reused)
				}
			})
		})
	}
}

// Who was away for long is not answered by what he could do then; and an IdP that is
// down costs him no session.
func TestRightsOfBeforeDontCountForLong(t *testing.T) {
	threat.Covers(t, 49, 67)
	synctest.Test(t, func(t *testing.T) {
		m := sessiontest.Manager(t, memoryStore(t), nil)
		header, idp, refresh := demoted(t, m, 10*time.Minute, time.Second)
		idp.Down(true)
		time.Sleep(10*time.Minute + session.RightsFor - time.Second)
		if s := mustFind(t, m, header); s.RightsLapsed(time.Now()) || s.Principal().Roles == nil {
			t.Error("lapsed early")
		}
		time.Sleep(time.Second)
		for range 3 {
			s := mustFind(t, m, header)
			if !s.RightsLapsed(time.Now()) || s.Principal().Roles != nil || s.Principal().Subject != "ada" {
				t.Errorf("lapsed %v, %v", s.RightsLapsed(time.Now()), s.Principal())
			}
			_, err := m.FreshRights(t.Context(), s, refresh)
			wantErr(t, "with an IdP that is down", err, session.ErrIdPUnavailable)
			time.Sleep(time.Second)
		}
		idp.Down(false)
		time.Sleep(30 * time.Second)
		s, err := m.FreshRights(t.Context(), mustFind(t, m, header), refresh)
		if err != nil || !slices.Equal(s.Principal().Roles, []string{"viewer"}) || s.RightsLapsed(time.Now()) {
			t.Errorf("when it is back: %v, %v", s, err)
		}
	})
}

// Whom the IdP does not know any more is signed out, whatever he uses.
func TestAGrantThatIsGoneIsNoticedBesideTheRequest(t *testing.T) {
	threat.Covers(t, 49)
	synctest.Test(t, func(t *testing.T) {
		m := sessiontest.Manager(t, memoryStore(t), nil)
		header, idp, refresh := demoted(t, m, 10*time.Minute, 0)
		idp.Revoke("ada")
		time.Sleep(10 * time.Minute)
		if _, err := m.FreshRights(t.Context(), mustFind(t, m, header), refresh); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, err := find(t, m, header)
		wantErr(t, "afterwards", err, session.ErrEnded)
	})
}

// An IdP that does not say how long a token is good is asked once an hour.
func TestRightsWithATokenOfUnknownLife(t *testing.T) {
	threat.Covers(t, 49)
	synctest.Test(t, func(t *testing.T) {
		m := sessiontest.Manager(t, memoryStore(t), func(o *session.Options) { o.Absolute = 10 * time.Hour })
		idp := sessiontest.NewIdP(time.Hour, 0)
		rec := idp.Grant("ada")
		rec.Roles, rec.AccessExpiry = []string{"admin"}, time.Time{}
		header, _ := sessiontest.SignIn(t, m, rec)
		refresh := func(ctx context.Context, rec session.Record) (session.Record, error) {
			rec, err := idp.Refresh(ctx, rec)
			rec.Roles, rec.AccessExpiry = []string{"viewer"}, time.Time{}
			return rec, err
		}
		use := func() {
			if _, err := m.FreshRights(t.Context(), mustFind(t, m, header), refresh); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		time.Sleep(time.Hour - time.Second)
		use()
		if calls, _ := idp.Calls(); calls != 0 {
			t.Errorf("%d refreshes within the hour", calls)
		}
		time.Sleep(time.Second)
		use()
		use()
		if calls, _ := idp.Calls(); calls != 1 || !slices.Equal(rolesNow(t, m, header), []string{"viewer"}) {
			t.Errorf("%d refreshes, %v", calls, rolesNow(t, m, header))
		}
		idp.Down(true)
		time.Sleep(time.Hour + session.RightsFor)
		if s := mustFind(t, m, header); !s.RightsLapsed(time.Now()) || !s.AccessValid(time.Now()) {
			t.Errorf("lapsed %v, the token can be used %v", s.RightsLapsed(time.Now()), s.AccessValid(time.Now()))
		}
	})
}

// Without a refresh token there is nobody to ask: what the sign-in said holds until the
// session ends.
func TestRightsWithoutARefreshToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sessiontest.Manager(t, memoryStore(t), nil)
		rec := ada()
		rec.Roles, rec.AccessExpiry, rec.GrantedAt, rec.RefreshToken = []string{"admin"}, time.Now().Add(time.Minute), time.Now(), session.Record{}.RefreshToken
		header, _ := sessiontest.SignIn(t, m, rec)
		time.Sleep(30 * time.Minute)
		s, err := m.FreshRights(t.Context(), mustFind(t, m, header), func(context.Context, session.Record) (session.Record, error) {
			return session.Record{}, errors.New("asked")
		})
		if err != nil || s.RightsLapsed(time.Now()) || !slices.Equal(s.Principal().Roles, []string{"admin"}) {
			t.Errorf("%v, %v", s, err)
		}
	})
}

// A stream that goes on for hours hears of it, too, though its user does nothing.
func TestAStreamHasRightsReadAgain(t *testing.T) {
	threat.Covers(t, 49)
	synctest.Test(t, func(t *testing.T) {
		store := memoryStore(t)
		here, there := sessiontest.Manager(t, store, nil), sessiontest.Manager(t, store, nil)
		header, idp, refresh := demoted(t, here, 10*time.Minute, 0)
		told := make(chan principal.Principal, 100)
		var streams []context.Context
		for i := range 4 {
			m := []*session.Manager{here, there}[i%2]
			ctx, stop := m.WatchPrincipal(t.Context(), mustFind(t, m, header), func(who principal.Principal) { told <- who }, session.Keep{Refresh: refresh, Learn: (&info{}).learn})
			defer stop()
			streams = append(streams, ctx)
		}
		time.Sleep(9*time.Minute - time.Second)
		if calls, _ := idp.Calls(); calls != 0 || len(told) != 0 {
			t.Fatalf("%d refreshes, told %d times, before it was due", calls, len(told))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if calls, _ := idp.Calls(); calls != 1 || len(told) != 4 {
			t.Fatalf("%d refreshes, told %d times, want 1, 4", calls, len(told))
		}
		for range 4 {
			if who := <-told; !slices.Equal(who.Roles, []string{"viewer"}) {
				t.Errorf("told of %v", who.Roles)
			}
		}
		idp.Down(true)
		time.Sleep(9*time.Minute + 50*time.Second)
		if len(told) != 0 {
			t.Errorf("told of %v", (<-told).Roles)
		}
		time.Sleep(session.RightsFor + 20*time.Second)
		if len(told) != 4 || (<-told).Roles != nil {
			t.Errorf("of rights that lapsed told %d times", len(told))
		}
		for _, ctx := range streams {
			if ctx.Err() != nil {
				t.Error("a stream has ended")
			}
		}
		if calls, _ := idp.Calls(); calls > 100 {
			t.Errorf("%d refreshes while it was down", calls)
		}
	})
}

// Rights that a refresh has missed are asked for again for a stream alone, too.
func TestAStreamHasMissedRightsLearned(t *testing.T) {
	threat.Covers(t, 49)
	synctest.Test(t, func(t *testing.T) {
		m := sessiontest.Manager(t, memoryStore(t), nil)
		idp, ui := sessiontest.NewIdP(time.Hour, 0), &info{}
		_, s := missed(t, m, idp)
		told := make(chan principal.Principal, 10)
		_, stop := m.WatchPrincipal(t.Context(), s, func(who principal.Principal) { told <- who }, session.Keep{Refresh: idp.Refresh, Learn: ui.learn})
		defer stop()
		time.Sleep(2 * time.Minute)
		if n := ui.calls(); n < 3 || n > 15 || len(told) != 0 {
			t.Errorf("asked %d times, told %d times while nobody can know", n, len(told))
		}
		ui.set("viewer")
		time.Sleep(time.Minute)
		if len(told) != 1 || !slices.Equal((<-told).Roles, []string{"viewer"}) {
			t.Error("not told of what was learned")
		}
	})
}

// Nothing is read again for a stream that nothing is decided about.
func TestAPlainStreamRefreshesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sessiontest.Manager(t, memoryStore(t), nil)
		header, _, refresh := demoted(t, m, time.Minute, 0)
		var asked atomic.Int32
		count := func(ctx context.Context, rec session.Record) (session.Record, error) {
			asked.Add(1)
			return refresh(ctx, rec)
		}
		_, stop := m.WatchPrincipal(t.Context(), mustFind(t, m, header), nil, session.Keep{Refresh: count, Learn: count})
		defer stop()
		time.Sleep(10 * time.Minute)
		if asked.Load() != 0 {
			t.Errorf("%d refreshes", asked.Load())
		}
	})
}
