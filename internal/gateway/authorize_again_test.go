package gateway

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/authz"
	"keyway/internal/principal"
	"keyway/internal/threat"
)

// hanging is a decision point that does not answer.
type hanging struct{ Authorizer }

func (hanging) DecideAll(ctx context.Context, _ *principal.Principal, items []authz.Item, _ authz.Circumstances) ([]authz.Verdict, error) {
	<-ctx.Done()
	return make([]authz.Verdict, len(items)), ctx.Err()
}

// However many streams there are, none goes on undecided for long while the decision
// point hangs.
func TestStreamsDoNotGoOnUndecided(t *testing.T) {
	threat.Covers(t, 48)
	synctest.Test(t, func(t *testing.T) {
		g := &Gateway{log: slog.New(slog.DiscardHandler), again: make(chan struct{}, againAtOnce)}
		var wg sync.WaitGroup
		began := time.Now()
		for range 20 * againAtOnce {
			wg.Go(func() {
				d := decidedRequest{item: authz.Item{Action: "watch", Resource: authz.AnyOf("note")}, route: "watch"}
				if g.decideAgain(t.Context(), hanging{}, &d, &principal.Principal{}) {
					t.Error("it goes on")
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took > againTurn+againWithin {
			t.Errorf("the last went on for %v", took)
		}
		// Who has gone away is not told of, and does not wait for a turn.
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if !g.decideAgain(gone, hanging{}, &decidedRequest{}, &principal.Principal{}) {
			t.Error("a stream that is over was ended")
		}
	})
}
