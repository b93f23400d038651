package app

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/config"
	"keyway/internal/session"
	"keyway/internal/session/memory"
	"keyway/internal/session/sessiontest"
	"keyway/internal/testkit/logbuffer"
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

// deaf is a store that nobody reaches.
type deaf struct{ session.Store }

func (deaf) Ping(context.Context) error { return errors.New("connection refused") }

// The wait for a store says now and then that it goes on, and for how long at most.
func TestTheWaitForTheStoreIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logbuffer.Buffer
		r := resources{store: deaf{}, log: slog.New(slog.NewTextHandler(&log, nil))}
		waited := 0
		err := r.awaitStore(t.Context(), &config.Config{}, func() { waited++ })
		if err == nil || !strings.Contains(err.Error(), "did not answer within 30s; see REDIS_URL: connection refused") {
			t.Errorf("ended with %v", err)
		}
		var left []string
		for line := range strings.Lines(log.String()) {
			_, rest, _ := strings.Cut(line, "gives_up_in=")
			in, _, _ := strings.Cut(rest, " ")
			left = append(left, in)
		}
		if got := strings.Join(left, " "); got != "30s 20s 10s" || waited != 1 {
			t.Errorf("told %q, %d; log:\n%s", got, waited, log.String())
		}
	})
}
