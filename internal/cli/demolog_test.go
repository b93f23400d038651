package cli

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"keyway/internal/telemetry"
)

// Who breaks a policy before the demo can read what is wrong, and sees when it is right again.
func TestDemoLog(t *testing.T) {
	var out bytes.Buffer
	inner, err := telemetry.NewLogger(&out, "text", "info")
	if err != nil {
		t.Fatal(err)
	}
	log := newDemoLog(inner.Handler(), slog.LevelWarn, &out).With("a", "b")
	log.Info("request", "status", 200)
	if out.Len() > 0 {
		t.Errorf("what goes well is told:\n%s", out.String())
	}
	log.Error("they can't be used", "folder", "/tmp/x", "problems", []string{"notes.cedar:3:5: found \"craete\"; expected `create`", "b.cedar: \x1b[2Jx"})
	log.Info("the policies can be used again", "folder", "/tmp/x")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 || !strings.Contains(lines[0], "they can't be used") || !strings.Contains(lines[0], "folder=/tmp/x") || strings.Contains(lines[0], "problems") ||
		lines[1] != "    notes.cedar:3:5: found \"craete\"; expected `create`" || lines[2] != "    b.cedar: ?[2Jx" || !strings.Contains(lines[3], "the policies can be used again") {
		t.Errorf("told\n%s", out.String())
	}
}
