package app

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/session"
	"keyway/internal/session/memory"
	"keyway/internal/session/sessiontest"
	"keyway/internal/threat"
)

// A refresh that is under way when the process is told to stop may take as long
// as the grace that is left: the old refresh token is used up, and who loses the
// new one signs somebody out. Without a grace it has ten seconds.
func TestClosingWaitsForRefreshes(t *testing.T) {
	for name, tc := range map[string]struct {
		grace, idp time.Duration
		saved      bool
	}{
		"within the grace":         {40 * time.Second, 25 * time.Second, true},
		"with no grace left":       {0, 9 * time.Second, true},
		"beyond all that is given": {15 * time.Second, 25 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				threat.Covers(t, 69)
				var r resources
				r.use(memory.Open(memory.Options{}))
				m := sessiontest.ManagerOn(t, r.sessions, nil)
				idp := sessiontest.NewIdP(time.Minute, tc.idp)
				_, s := sessiontest.SignIn(t, m, idp.Grant("ada"))
				time.Sleep(idp.Life)
				done := make(chan error, 1)
				go func() {
					_, err := m.Fresh(context.Background(), s, func(ctx context.Context, rec session.Record) (session.Record, error) {
						return idp.Refresh(ctx, rec)
					})
					done <- err
				}()
				synctest.Wait()
				r.graceEnds = time.Now().Add(tc.grace)
				if err := r.Close(); (err == nil) != tc.saved {
					t.Errorf("closing: %v", err)
				}
				if err := <-done; (err == nil) != tc.saved {
					t.Errorf("the refresh: %v", err)
				}
				time.Sleep(2 * time.Minute) // what was not waited for gives up
			})
		})
	}
}
