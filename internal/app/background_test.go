package app

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A defect beside requests ends neither the process nor what met it, and its text,
// which may have anything, is not logged.
func TestADefectBesideRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		a := &app{log: slog.New(slog.NewTextHandler(&logged, nil))}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := 0
		again(ctx, a.log, func(ctx context.Context) {
			if began++; began < 3 {
				panic("hush")
			}
			<-ctx.Done()
		})
		if began != 3 {
			t.Errorf("it was begun %d times", began)
		}
		if n := strings.Count(logged.String(), "please report it"); n != 2 || strings.Contains(logged.String(), "hush") {
			t.Errorf("logged %d times: %s", n, logged.String())
		}
	})
}
