package app

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/authz/authzen"
	"keyway/internal/testkit/logbuffer"
)

// A decision point that is away is told of once a minute, whatever is asked meanwhile,
// and that it is back once.
func TestADecisionPointThatIsAwayIsToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logbuffer.Buffer
		to, l := slog.New(slog.NewTextHandler(&log, nil)), awayLog{}
		away := fmt.Errorf("%w: connection refused", authzen.ErrUnavailable)
		count := func(text string) int { return strings.Count(log.String(), text) }
		l.tell(to, "pdp", nil)
		l.tell(to, "pdp", context.Canceled)
		if log.String() != "" {
			t.Fatalf("told %s", log.String())
		}
		for range 100 {
			l.tell(to, "pdp", away)
		}
		if count("level=WARN") != 1 || !strings.Contains(log.String(), "have no answer") || !strings.Contains(log.String(), "connection refused") {
			t.Errorf("told %s", log.String())
		}
		time.Sleep(awayEvery)
		l.tell(to, "pdp", away)
		if count("level=WARN") != 2 || !strings.Contains(log.String(), "questions=100") {
			t.Errorf("told %s", log.String())
		}
		for range 3 { // it comes and goes
			l.tell(to, "pdp", nil)
			l.tell(to, "pdp", nil)
			l.tell(to, "pdp", away)
		}
		if count("answers again") != 1 || count("level=WARN") != 2 {
			t.Errorf("told %s", log.String())
		}
	})
}
