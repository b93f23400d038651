package rotation

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/threat"
)

// The peer changed first: it refuses the old secret, many times, until the new
// one is in use. That is no reason to go back to the old one.
func TestRefusalsOfTheOldVersionDoNotUndoTheNew(t *testing.T) {
	threat.Covers(t, 62)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("r1", "r2")
		w.former = map[string]Refusals{"v0": {InGuard: 400}}
		s := w.secret()
		s.Policy = func(keyring.Ring) Policy { return outward }
		s.Prove = func(context.Context, string) (Verdict, error) { return Accepted, nil }
		r := w.runner(t, "r1", s)
		ask(t, r)
		time.Sleep(time.Minute)
		if got := w.states(); got != "v1 active, v0 retiring" {
			t.Fatalf("after the peer changed first: %s", got)
		}
	})
}
