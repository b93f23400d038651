package session_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/problem"
	"keyway/internal/secret"
	"keyway/internal/session"
	"keyway/internal/session/sessiontest"
	"keyway/internal/threat"
)

// renewals counts what happens to leases.
type renewals struct {
	session.Store
	renewed, acquired atomic.Int32
}

func (r *renewals) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	got, err := r.Store.Acquire(ctx, name, owner, ttl)
	if got {
		r.acquired.Add(1)
	}
	return got, err
}

func (r *renewals) Renew(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	got, err := r.Store.Renew(ctx, name, owner, ttl)
	if got {
		r.renewed.Add(1)
	}
	return got, err
}

func TestRefreshStampede(t *testing.T) {
	for name, delay := range map[string]time.Duration{
		"IdP 5 s slow":           5 * time.Second,
		"slower than the lease":  25 * time.Second,
		"an IdP without a delay": 0,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				threat.Covers(t, 65)
				store := &renewals{Store: memoryStore(t)}
				a, b := sessiontest.Manager(t, store, nil), sessiontest.Manager(t, store, nil)
				sessiontest.Stampede(t, a, b, delay)
				if want := int32(delay / (3 * time.Second)); store.renewed.Load() < want {
					t.Errorf("the lease was renewed %d times, want %d", store.renewed.Load(), want)
				}
				synctest.Wait()
				if ok, err := store.Acquire(t.Context(), "refresh:probe", "x", time.Second); err != nil || !ok {
					t.Error(ok, err)
				}
			})
		})
	}
}

// expired has a session whose access token is over.
func expired(t *testing.T, m *session.Manager, idp *sessiontest.IdP) (header []string, s *session.Session) {
	t.Helper()
	header, _ = sessiontest.SignIn(t, m, idp.Grant("ada"))
	time.Sleep(idp.Life)
	return header, mustFind(t, m, header)
}

func TestRefreshAheadOfTheEnd(t *testing.T) {
	for _, tc := range []struct {
		name       string
		life, due  time.Duration // due: not before, counted from the grant
		hasRefresh bool
	}{
		{"an hour", time.Hour, 59 * time.Minute, true},
		{"a minute", time.Minute, 48 * time.Second, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				idp := sessiontest.NewIdP(tc.life, 0)
				m := sessiontest.Manager(t, memoryStore(t), func(o *session.Options) { o.Absolute = 24 * time.Hour })
				header, s := sessiontest.SignIn(t, m, idp.Grant("ada"))
				time.Sleep(tc.due - time.Second)
				got, err := m.Fresh(t.Context(), s, idp.Refresh)
				if calls, _ := idp.Calls(); calls != 0 || err != nil || !got.AccessToken().Equal(s.AccessToken()) {
					t.Errorf("refreshed too early: %d calls, %v", calls, err)
				}
				time.Sleep(time.Second)
				if got, err = m.Fresh(t.Context(), mustFind(t, m, header), idp.Refresh); err != nil || got.AccessToken().Equal(s.AccessToken()) {
					t.Errorf("not refreshed when due: %v", err)
				}
			})
		})
	}
	t.Run("no refresh token", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			idp := sessiontest.NewIdP(time.Minute, 0)
			rec := idp.Grant("ada")
			rec.RefreshToken = session.Record{}.RefreshToken
			m := sessiontest.Manager(t, memoryStore(t), nil)
			header, _ := sessiontest.SignIn(t, m, rec)
			time.Sleep(2 * time.Minute)
			s, err := m.Fresh(t.Context(), mustFind(t, m, header), idp.Refresh)
			if err != nil || s.AccessValid(time.Now()) {
				t.Errorf("%v; want the session as it is, with a token that is known to be over", err)
			}
		})
	})
}

func TestASlowIdPDelaysNobodyWhoseTokenIsGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp := sessiontest.NewIdP(10*time.Minute, 20*time.Second)
		m := sessiontest.Manager(t, memoryStore(t), nil)
		header, s := sessiontest.SignIn(t, m, idp.Grant("ada"))
		time.Sleep(9*time.Minute + time.Second)
		start := time.Now()
		got, err := m.Fresh(t.Context(), mustFind(t, m, header), idp.Refresh)
		if err != nil || !got.AccessToken().Equal(s.AccessToken()) {
			t.Fatalf("%v; want the good token", err)
		}
		if waited := time.Since(start); waited > time.Second {
			t.Errorf("waited %v", waited)
		}
		time.Sleep(20 * time.Second)
		if mustFind(t, m, header).AccessToken().Equal(s.AccessToken()) {
			t.Error("the refresh did not go on")
		}
	})
}

func TestAClosedTabLosesNoToken(t *testing.T) {
	threat.Covers(t, 65)
	synctest.Test(t, func(t *testing.T) {
		idp := sessiontest.NewIdP(time.Minute, 5*time.Second)
		m := sessiontest.Manager(t, memoryStore(t), nil)
		header, s := expired(t, m, idp)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := m.Fresh(ctx, s, idp.Refresh)
		wantErr(t, "the request that was given up", err, context.DeadlineExceeded)
		time.Sleep(5 * time.Second)
		if got := mustFind(t, m, header); !got.AccessValid(time.Now()) {
			t.Error("the refresh ended with the request")
		}
		if calls, reused := idp.Calls(); calls != 1 || reused != 0 {
			t.Errorf("%d refreshes, %d reused", calls, reused)
		}
	})
}

func TestAnIdPThatIsDownCostsNobodyASession(t *testing.T) {
	threat.Covers(t, 67)
	synctest.Test(t, func(t *testing.T) {
		idp := sessiontest.NewIdP(10*time.Minute, 0)
		m := sessiontest.Manager(t, memoryStore(t), nil)
		header, s := sessiontest.SignIn(t, m, idp.Grant("ada"))
		idp.Down(true)
		time.Sleep(9*time.Minute + time.Second)
		for range 59 - 5 { // a request a second, while the token is good
			got, err := m.Fresh(t.Context(), mustFind(t, m, header), idp.Refresh)
			if err != nil || !got.AccessToken().Equal(s.AccessToken()) {
				t.Fatalf("with a token that is good: %v", err)
			}
			time.Sleep(time.Second)
		}
		if calls, _ := idp.Calls(); calls < 3 || calls > 8 {
			t.Errorf("%d calls of an IdP that is down, in a minute of a request a second", calls)
		}
		time.Sleep(time.Minute)
		for range 3 {
			_, err := m.Fresh(t.Context(), mustFind(t, m, header), idp.Refresh)
			wantErr(t, "with a token that is over", err, session.ErrIdPUnavailable)
			if code := problem.CodeOf(err); code != problem.IdPUnavailable || code.Status() != http.StatusServiceUnavailable {
				t.Errorf("shown as %s", code)
			}
		}
		idp.Down(false)
		time.Sleep(31 * time.Second) // at most
		if got, err := m.Fresh(t.Context(), mustFind(t, m, header), idp.Refresh); err != nil || !got.AccessValid(time.Now()) {
			t.Errorf("when the IdP is back: %v", err)
		}
	})
}

func TestOnlyTheIdPsWordEndsASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp := sessiontest.NewIdP(time.Minute, 0)
		m := sessiontest.Manager(t, memoryStore(t), nil)
		header, s := expired(t, m, idp)
		idp.Revoke("ada")
		_, err := m.Fresh(t.Context(), s, idp.Refresh)
		wantErr(t, "Fresh", err, session.ErrEnded)
		_, err = find(t, m, header)
		wantErr(t, "Find", err, session.ErrEnded)
	})
}

// What another replica saved meanwhile shows that it was the token that was
// used up, not the grant that is gone.
func TestAGrantIsNotGoneIfAnotherReplicaHasARefresh(t *testing.T) {
	threat.Covers(t, 68)
	synctest.Test(t, func(t *testing.T) {
		store := memoryStore(t)
		idp := sessiontest.NewIdP(time.Minute, 0)
		m, other := sessiontest.Manager(t, store, nil), sessiontest.Manager(t, store, nil)
		header, s := expired(t, m, idp)
		got, err := m.Fresh(t.Context(), s, func(ctx context.Context, rec session.Record) (session.Record, error) {
			// The lease was lost, and the other replica refreshes at the same time.
			if _, err := other.Update(ctx, s, func(session.Record) session.Record { return idp.Grant("ada") }); err != nil {
				t.Error(err)
			}
			return session.Record{}, session.ErrGrantGone
		})
		if err != nil || !got.AccessValid(time.Now()) {
			t.Fatalf("Fresh: %v", err)
		}
		mustFind(t, m, header)
	})
}

func TestALateRefreshBringsNobodyBack(t *testing.T) {
	threat.Covers(t, 53)
	synctest.Test(t, func(t *testing.T) {
		store := memoryStore(t)
		idp := sessiontest.NewIdP(time.Minute, 5*time.Second)
		here, there := sessiontest.Manager(t, store, nil), sessiontest.Manager(t, store, nil)
		header, s := expired(t, here, idp)
		done := make(chan error, 1)
		go func() {
			_, err := here.Fresh(t.Context(), s, idp.Refresh)
			done <- err
		}()
		time.Sleep(2 * time.Second)
		if err := there.End(t.Context(), s); err != nil { // as by back-channel logout
			t.Fatal(err)
		}
		wantErr(t, "the refresh", <-done, session.ErrEnded)
		for _, m := range []*session.Manager{here, there} {
			_, err := find(t, m, header)
			wantErr(t, "Find", err, session.ErrEnded)
		}
		if n, _ := store.Count(t.Context()); n != 0 {
			t.Errorf("%d records in the store", n)
		}
	})
}

func TestACrashInARefreshCostsOneSignIn(t *testing.T) {
	threat.Covers(t, 66)
	synctest.Test(t, func(t *testing.T) {
		idp := sessiontest.NewIdP(time.Minute, 0)
		m := sessiontest.Manager(t, memoryStore(t), nil)
		header, s := expired(t, m, idp)
		idp.LoseNextAnswer()
		_, err := m.Fresh(t.Context(), s, idp.Refresh)
		wantErr(t, "the refresh whose answer was lost", err, session.ErrIdPUnavailable)
		mustFind(t, m, header)
		time.Sleep(2 * time.Second)
		_, err = m.Fresh(t.Context(), s, idp.Refresh)
		wantErr(t, "the next, with a used token", err, session.ErrEnded)
		_, err = find(t, m, header)
		wantErr(t, "Find", err, session.ErrEnded)
		// Signed in again, all is well: no loop.
		header, _ = sessiontest.SignIn(t, m, idp.Grant("ada"))
		time.Sleep(time.Minute)
		if _, err := m.Fresh(t.Context(), mustFind(t, m, header), idp.Refresh); err != nil {
			t.Error(err)
		}
	})
}

func TestNewTokensWaitForAStoreThatIsAway(t *testing.T) {
	threat.Covers(t, 66, 67)
	synctest.Test(t, func(t *testing.T) {
		store := &flaky{Store: memoryStore(t)}
		idp := sessiontest.NewIdP(time.Minute, 0)
		m := sessiontest.Manager(t, store, nil)
		header, s := expired(t, m, idp)
		store.noReplace.Store(true)
		time.AfterFunc(10*time.Second, func() { store.noReplace.Store(false) })
		got, err := m.Fresh(t.Context(), s, idp.Refresh)
		if err != nil || !got.AccessValid(time.Now()) {
			t.Fatalf("Fresh: %v", err)
		}
		if got := mustFind(t, m, header); !got.AccessValid(time.Now()) {
			t.Error("the new tokens were not saved")
		}
		if calls, _ := idp.Calls(); calls != 1 {
			t.Errorf("%d refreshes", calls)
		}
	})
}

// deaf writes, but its first answer is lost.
type deaf struct {
	session.Store
	done atomic.Bool
}

func (d *deaf) Replace(ctx context.Context, k session.Key, rev uint64, data []byte) (session.Item, error) {
	it, err := d.Store.Replace(ctx, k, rev, data)
	if err == nil && d.done.CompareAndSwap(false, true) {
		return session.Item{}, errors.New("connection reset")
	}
	return it, err
}

func TestAWriteWhoseAnswerIsLostIsKnownAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &deaf{Store: memoryStore(t)}
		idp := sessiontest.NewIdP(time.Minute, 0)
		m := sessiontest.Manager(t, store, nil)
		header, s := expired(t, m, idp)
		if got, err := m.Fresh(t.Context(), s, idp.Refresh); err != nil || !got.AccessValid(time.Now()) {
			t.Fatalf("Fresh: %v", err)
		}
		if !mustFind(t, m, header).AccessValid(time.Now()) {
			t.Error("the new tokens are lost")
		}
	})
}

func TestARefreshKeepsWhatOthersWroteMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memoryStore(t)
		idp := sessiontest.NewIdP(time.Minute, 5*time.Second)
		m, other := sessiontest.Manager(t, store, nil), sessiontest.Manager(t, store, nil)
		_, s := expired(t, m, idp)
		go func() {
			time.Sleep(time.Second)
			if _, err := other.Update(t.Context(), s, func(r session.Record) session.Record {
				r.AuthTime = time.Unix(1, 0) // by another
				return r
			}); err != nil {
				t.Error(err)
			}
		}()
		got, err := m.Fresh(t.Context(), s, idp.Refresh)
		if err != nil || !got.AccessValid(time.Now()) {
			t.Fatalf("Fresh: %v", err)
		}
		if at := got.Record().AuthTime; !at.Equal(time.Unix(1, 0)) {
			t.Errorf("signed in at %v: a write was lost", at)
		}
	})
}

func TestAReplicaThatDiesInARefreshHoldsNobodyUpForLong(t *testing.T) {
	threat.Covers(t, 66)
	synctest.Test(t, func(t *testing.T) {
		store := memoryStore(t)
		idp := sessiontest.NewIdP(time.Minute, 0)
		m := sessiontest.Manager(t, store, nil)
		_, s := expired(t, m, idp)
		// The dead one has the lease, and had not asked the IdP yet.
		if ok, err := store.Acquire(t.Context(), "refresh:"+s.Key().String(), "dead", 10*time.Second); err != nil || !ok {
			t.Fatal(ok, err)
		}
		start := time.Now()
		if _, err := m.Fresh(t.Context(), s, idp.Refresh); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited > 11*time.Second {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestShutdownWaitsForARefresh(t *testing.T) {
	threat.Covers(t, 66)
	synctest.Test(t, func(t *testing.T) {
		store := memoryStore(t)
		idp := sessiontest.NewIdP(time.Minute, 5*time.Second)
		shared := session.NewShared(store, session.SharedOptions{})
		m := sessiontest.ManagerOn(t, shared, nil)
		header, s := expired(t, m, idp)
		go m.Fresh(t.Context(), s, idp.Refresh)
		time.Sleep(time.Second)
		if err := shared.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Fresh(t.Context(), s, idp.Refresh); !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("a refresh after the end: %v", err)
		}
		other := sessiontest.Manager(t, store, nil)
		if !mustFind(t, other, header).AccessValid(time.Now()) {
			t.Error("the new tokens were lost in the shutdown")
		}
	})
}

// Nobody can use a token whose key is gone: it is renewed at once, once for all who
// ask, and until that has worked there is none.
func TestTokenWhoseKeyIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		threat.Covers(t, 64)
		var gone atomic.Bool
		m := sessiontest.Manager(t, memoryStore(t), func(o *session.Options) {
			o.HasTokenKey = func(version string) bool { return version != "k-1" || !gone.Load() }
		})
		record := session.Record{
			Provider: "demo", Issuer: "https://idp.example", Subject: "ada", TokenKey: "k-1", GrantedAt: time.Now(),
			AccessToken: secret.NewValue([]byte("a-1")), AccessExpiry: time.Now().Add(time.Hour), RefreshToken: secret.NewValue([]byte("r-1")),
		}
		header, _ := sessiontest.SignIn(t, m, record)
		asked := 0
		refresh := func(_ context.Context, r session.Record) (session.Record, error) {
			if asked++; asked == 1 {
				return r, errors.New("away")
			}
			r.AccessToken, r.TokenKey, r.GrantedAt = secret.NewValue([]byte("a-2")), "k-2", time.Now()
			return r, nil
		}
		if s, err := m.Fresh(t.Context(), mustFind(t, m, header), refresh); err != nil || asked != 0 || s.Record().TokenKey != "k-1" {
			t.Fatalf("while the key was there: asked %d times, %v", asked, err)
		}
		gone.Store(true)
		if _, err := m.Fresh(t.Context(), mustFind(t, m, header), refresh); !errors.Is(err, session.ErrIdPUnavailable) {
			t.Errorf("with an IdP that is away: %v", err)
		}
		time.Sleep(time.Minute)
		for range 3 {
			s, err := m.Fresh(t.Context(), mustFind(t, m, header), refresh)
			if err != nil || s.Record().TokenKey != "k-2" || asked != 2 {
				t.Errorf("bound to %q after %d requests, %v", s.Record().TokenKey, asked, err)
			}
		}
	})
}
