package session_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/principal"
	"keyway/internal/session"
	"keyway/internal/session/sessiontest"
	"keyway/internal/threat"
)

// A stream hears of other claims within a second, wherever they came from, and only of
// other claims.
func TestAStreamHearsOfOtherClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		threat.Covers(t, 49)
		store := &flaky{Store: memoryStore(t)}
		here, there := sessiontest.Manager(t, store, nil), sessiontest.Manager(t, store.Store, nil)
		_, s := sessiontest.SignIn(t, here, ada())
		told := make(chan principal.Principal, 10)
		ctx, stop := here.WatchPrincipal(t.Context(), s, func(who principal.Principal) { told <- who }, session.Keep{})
		defer stop()
		synctest.Wait()
		update := func(change func(*session.Record)) {
			t.Helper()
			if _, err := there.Update(t.Context(), s, func(r session.Record) session.Record { change(&r); return r }); err != nil {
				t.Fatal(err)
			}
		}
		heard := func() []string {
			t.Helper()
			select {
			case who := <-told:
				return who.Roles
			case <-time.After(time.Second):
				return []string{"nothing"}
			}
		}
		update(func(r *session.Record) { r.Roles = []string{"viewer"} })
		if got := heard(); !slices.Equal(got, []string{"viewer"}) {
			t.Errorf("heard %v", got)
		}
		update(func(r *session.Record) { r.Scope = "openid" })
		if got := heard(); !slices.Equal(got, []string{"nothing"}) {
			t.Errorf("of the same claims: heard %v", got)
		}
		store.noGet.Store(true)
		update(func(r *session.Record) { r.Roles = nil })
		if got := heard(); !slices.Equal(got, []string{"nothing"}) {
			t.Errorf("while the store is away: heard %v", got)
		}
		store.noGet.Store(false)
		if got := heard(); got != nil {
			t.Errorf("when it is back: heard %v", got)
		}
		if ctx.Err() != nil {
			t.Error("the stream ended")
		}
	})
}

// Between the reading of a session and the beginning of the watch nothing is missed.
func TestClaimsThatChangedBeforeTheWatchAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sessiontest.Manager(t, memoryStore(t), nil)
		_, s := sessiontest.SignIn(t, m, ada())
		if _, err := m.Update(t.Context(), s, func(r session.Record) session.Record { r.Roles = []string{"viewer"}; return r }); err != nil {
			t.Fatal(err)
		}
		told := make(chan principal.Principal, 1)
		_, stop := m.WatchPrincipal(t.Context(), s, func(who principal.Principal) { told <- who }, session.Keep{})
		defer stop()
		if who := <-told; !slices.Equal(who.Roles, []string{"viewer"}) {
			t.Errorf("heard %v", who.Roles)
		}
	})
}
