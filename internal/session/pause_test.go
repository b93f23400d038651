package session_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/session"
	"keyway/internal/session/sessiontest"
	"keyway/internal/threat"
)

// When one replica gives up on an IdP that hangs, who waits on another is told so, too,
// and the IdP is not asked the same at once again.
func TestAHangingIdPIsWaitedForOnce(t *testing.T) {
	threat.Covers(t, 67)
	synctest.Test(t, func(t *testing.T) {
		store := memoryStore(t)
		patient := func(o *session.Options) { o.RefreshTimeout = 10 * time.Second }
		here, there := sessiontest.Manager(t, store, patient), sessiontest.Manager(t, store, patient)
		idp := sessiontest.NewIdP(time.Minute, time.Hour)
		header, _ := expired(t, here, idp)
		began := time.Now()
		failed := make(chan time.Duration, 6)
		for i := range 6 {
			m := here
			if i%2 == 1 {
				m = there
			}
			go func() {
				time.Sleep(time.Duration(i) * time.Second)
				s, err := find(t, m, header)
				if err == nil {
					_, err = m.Fresh(t.Context(), s, idp.Refresh)
				}
				if !errors.Is(err, session.ErrIdPUnavailable) {
					t.Errorf("who waited: %v", err)
				}
				failed <- time.Since(began)
			}()
		}
		for range 6 {
			if took := <-failed; took > 11*time.Second {
				t.Errorf("told after %v", took)
			}
		}
		if calls, _ := idp.Calls(); calls != 1 {
			t.Errorf("%d refreshes", calls)
		}
		asked := time.Now()
		_, err := there.Fresh(t.Context(), mustFind(t, there, header), idp.Refresh)
		wantErr(t, "at once again", err, session.ErrIdPUnavailable)
		if took := time.Since(asked); took > time.Second {
			t.Errorf("it waited for %v", took)
		}
	})
}

// An IdP that one replica can't reach is asked by another soon.
func TestAnIdPThatOneReplicaCantReach(t *testing.T) {
	threat.Covers(t, 67)
	synctest.Test(t, func(t *testing.T) {
		store := memoryStore(t)
		cut, well := sessiontest.Manager(t, store, nil), sessiontest.Manager(t, store, nil)
		idp, nowhere := sessiontest.NewIdP(time.Minute, 0), sessiontest.NewIdP(time.Minute, 0)
		nowhere.Down(true)
		header, s := expired(t, cut, idp)
		for range 40 {
			_, _ = cut.Fresh(t.Context(), s, nowhere.Refresh)
			time.Sleep(time.Second)
		}
		_, _ = cut.Fresh(t.Context(), s, nowhere.Refresh)
		_, _ = well.Fresh(t.Context(), mustFind(t, well, header), idp.Refresh)
		time.Sleep(3 * time.Second)
		if s, err := well.Fresh(t.Context(), mustFind(t, well, header), idp.Refresh); err != nil || !s.AccessValid(time.Now()) {
			t.Errorf("where it can be reached: %v", err)
		}
		if s, err := cut.Fresh(t.Context(), mustFind(t, cut, header), nowhere.Refresh); err != nil || !s.AccessValid(time.Now()) {
			t.Errorf("where it can't: %v", err)
		}
	})
}
