package session_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/problem"
	"keyway/internal/seal"
	"keyway/internal/session"
	"keyway/internal/session/sessiontest"
)

// afterLoss is a session, and a manager that lacks the key it is sealed under.
func afterLoss(t *testing.T, change func(*session.Options)) (m *session.Manager, before *session.Manager, header []string, s *session.Session) {
	t.Helper()
	store := memoryStore(t)
	before = sessiontest.Manager(t, store, nil)
	header, s = sessiontest.SignIn(t, before, ada())
	shared := session.NewShared(store, session.SharedOptions{})
	t.Cleanup(func() { shared.Close(context.Background()) })
	o := sessiontest.Options(t, shared, sessiontest.Ring(t, "token-hash-salt", "s1"), sessiontest.Ring(t, "session-key", "k9"))
	change(&o)
	m, err := session.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m, before, header, s
}

// The folder of keys is gone, and what was sealed with them is in the store: who
// had a session has to sign in again, and is told so.
func TestASessionThatNobodyCanOpenIsOver(t *testing.T) {
	m, before, header, _ := afterLoss(t, func(o *session.Options) { o.Alone = true })
	_, err := find(t, m, header)
	wantErr(t, "found", err, session.ErrEnded)
	if code := problem.CodeOf(err); code != problem.SessionEnded {
		t.Errorf("it is shown as %s", code)
	}
	// It does not take up room until it expires, either.
	until := time.Now().Add(10 * time.Second)
	for {
		if _, err = find(t, before, header); errors.Is(err, session.ErrEnded) {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("the record is still there: %v", err)
		}
	}
}

// The same for the salt that a session's binding is made with.
func TestASessionWhoseBindingNobodyCanCheckIsOver(t *testing.T) {
	for name, tc := range map[string]struct {
		alone bool
		check func(error) bool
	}{
		"alone":       {true, func(err error) bool { return errors.Is(err, session.ErrEnded) }},
		"with others": {false, func(err error) bool { return problem.CodeOf(err) == problem.KeysUnavailable }},
	} {
		t.Run(name, func(t *testing.T) {
			store := memoryStore(t)
			bound := func(o *session.Options) { o.Binding.UserAgent, o.Alone = true, tc.alone }
			header, _ := sessiontest.SignIn(t, sessiontest.Manager(t, store, bound), ada())
			m := sessiontest.Manager(t, store, func(o *session.Options) {
				bound(o)
				var err error
				if o.UA, err = seal.NewHasher(sessiontest.Ring(t, "ua-hash-salt", "u9"), session.PurposeUA); err != nil {
					t.Fatal(err)
				}
			})
			if _, err := find(t, m, header); !tc.check(err) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Where others use the store, one of them may have the key; only when none has
// it is the session over, and even then the record stays.
func TestASessionThatAnotherMayOpenIsKept(t *testing.T) {
	var lost atomic.Bool
	var asked atomic.Value
	m, before, header, _ := afterLoss(t, func(o *session.Options) {
		o.Lost = func(version string) bool { asked.Store(version); return lost.Load() }
	})
	_, err := find(t, m, header)
	if !session.IsUnknownVersion(err) || problem.CodeOf(err) != problem.KeysUnavailable {
		t.Errorf("while it is not known: %v", err)
	}
	if asked.Load() != "k1" {
		t.Errorf("asked about %v, want k1", asked.Load())
	}
	lost.Store(true)
	_, err = find(t, m, header)
	wantErr(t, "when nobody has it", err, session.ErrEnded)
	mustFind(t, before, header)
}

func TestWithoutAWayToKnowASessionIsKept(t *testing.T) {
	m, before, header, _ := afterLoss(t, func(*session.Options) {})
	if _, err := find(t, m, header); !session.IsUnknownVersion(err) || errors.Is(err, session.ErrEnded) {
		t.Error(err)
	}
	mustFind(t, before, header)
}

var errDown = errors.New("connection refused")

// With nothing ahead, a token is renewed when it can't be used any more: neither
// earlier nor, which would refuse users, later.
func TestNoRefreshAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sessiontest.Manager(t, memoryStore(t), func(o *session.Options) { o.RefreshAhead = 0 })
		idp := sessiontest.NewIdP(10*time.Minute, 0)
		header, s := sessiontest.SignIn(t, m, idp.Grant("ada"))
		for s.AccessValid(time.Now()) {
			if s = mustFind(t, m, header); !s.AccessValid(time.Now()) {
				break
			}
			if _, err := m.Fresh(t.Context(), s, idp.Refresh); err != nil {
				t.Fatal(err)
			}
			if calls, _ := idp.Calls(); calls != 0 {
				t.Fatal("refreshed while it was good")
			}
			time.Sleep(time.Second)
		}
		s, err := m.Fresh(t.Context(), s, idp.Refresh)
		if err != nil || !s.AccessValid(time.Now()) {
			t.Fatalf("the token is over, and was not renewed: %v", err)
		}
	})
}

// The user signs out while the IdP issues new tokens. Nobody will ever use them,
// so who can revoke them is told; of a session that lives, nobody is.
func TestTokensOfAnEndedSessionAreHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		orphans := make(chan session.Record, 10)
		m := sessiontest.Manager(t, memoryStore(t), func(o *session.Options) {
			o.Orphaned = func(ctx context.Context, rec session.Record) {
				if _, bounded := ctx.Deadline(); !bounded || ctx.Err() != nil {
					t.Error("want a context of its own, with a deadline")
				}
				orphans <- rec
			}
		})
		idp := sessiontest.NewIdP(time.Minute, 3*time.Second)
		_, s := expired(t, m, idp)
		if _, err := m.Fresh(t.Context(), s, idp.Refresh); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(orphans) != 0 {
			t.Error("the tokens of a session that lives were handed over")
		}

		_, s = expired(t, m, idp)
		go func() {
			time.Sleep(time.Second)
			if err := m.End(t.Context(), s); err != nil {
				t.Error(err)
			}
		}()
		_, err := m.Fresh(t.Context(), s, idp.Refresh)
		wantErr(t, "the refresh", err, session.ErrEnded)
		rec := <-orphans
		if rec.RefreshToken.IsZero() || rec.RefreshToken.Equal(s.Record().RefreshToken) {
			t.Error("want the tokens that the IdP just issued")
		}
	})
}
