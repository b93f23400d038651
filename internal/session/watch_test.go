package session_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/session"
	"keyway/internal/session/sessiontest"
	"keyway/internal/threat"
)

func TestAStreamEndsWithItsSession(t *testing.T) {
	for name, tc := range map[string]struct {
		end    func(t *testing.T, here, there *session.Manager, header []string, s *session.Session)
		within time.Duration
	}{
		"signed out here": {func(t *testing.T, here, _ *session.Manager, _ []string, s *session.Session) {
			here.End(t.Context(), s)
		}, time.Second},
		"signed out on another replica": {func(t *testing.T, _, there *session.Manager, _ []string, s *session.Session) {
			there.End(t.Context(), s)
		}, time.Second},
		"replaced at sign-in": {func(t *testing.T, _, there *session.Manager, header []string, _ *session.Session) {
			if _, _, err := there.Renew(t.Context(), header, ada(), sessiontest.Home); err != nil {
				t.Error(err)
			}
		}, time.Second},
		"idle":     {func(*testing.T, *session.Manager, *session.Manager, []string, *session.Session) {}, 10*time.Minute + time.Second},
		"absolute": {keepUsing, time.Hour + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				threat.Covers(t, 33)
				store := memoryStore(t)
				with := func(o *session.Options) { o.Idle, o.Absolute = 10*time.Minute, time.Hour }
				here, there := sessiontest.Manager(t, store, with), sessiontest.Manager(t, store, with)
				header, s := sessiontest.SignIn(t, here, ada())
				ctx, stop := here.Watch(t.Context(), s)
				defer stop()
				synctest.Wait()
				if ctx.Err() != nil {
					t.Fatal("the stream ended at once")
				}
				start := time.Now()
				go tc.end(t, here, there, header, s)
				<-ctx.Done()
				if took := time.Since(start); took > tc.within {
					t.Errorf("the stream ended after %v, want %v", took, tc.within)
				}
				if !errors.Is(context.Cause(ctx), session.ErrEnded) {
					t.Errorf("cause %v, want ErrEnded", context.Cause(ctx))
				}
			})
		})
	}
}

func keepUsing(t *testing.T, here, _ *session.Manager, header []string, _ *session.Session) {
	for {
		time.Sleep(time.Minute)
		if _, err := find(t, here, header); err != nil {
			return
		}
	}
}

func TestAStreamOutlivesChangesAndOutages(t *testing.T) {
	threat.Covers(t, 67)
	synctest.Test(t, func(t *testing.T) {
		store := &flaky{Store: memoryStore(t)}
		m := sessiontest.Manager(t, store, nil)
		_, s := sessiontest.SignIn(t, m, ada())
		ctx, stop := m.Watch(t.Context(), s)
		defer stop()
		if _, err := m.Update(t.Context(), s, func(r session.Record) session.Record { return r }); err != nil {
			t.Fatal(err)
		}
		store.noGet.Store(true)
		time.Sleep(10 * time.Minute)
		if ctx.Err() != nil {
			t.Fatalf("the stream ended: %v", context.Cause(ctx))
		}
		// Signed out while nobody could tell us: noticed once somebody can.
		if err := store.Store.Delete(t.Context(), s.Key()); err != nil {
			t.Fatal(err)
		}
		store.noGet.Store(false)
		start := time.Now()
		<-ctx.Done()
		if took := time.Since(start); took > time.Second {
			t.Errorf("ended %v after the store was back", took)
		}
	})
}

func TestAStreamThatIsOverLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sessiontest.Manager(t, memoryStore(t), nil)
		_, s := sessiontest.SignIn(t, m, ada())
		ctx, stop := m.Watch(t.Context(), s)
		stop()
		<-ctx.Done()
		if errors.Is(context.Cause(ctx), session.ErrEnded) {
			t.Error("a stream that was closed says that the session has ended")
		}
		synctest.Wait() // its goroutine is gone, or the bubble would not end
	})
}
