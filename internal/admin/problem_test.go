package admin

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"keyway/internal/testkit/logbuffer"
)

// gone is what a store says that is away.
type gone struct{}

func (gone) Error() string    { return "session store: redis is away: connection refused" }
func (gone) StoreAway() error { return errors.New("connection refused") }

// Who only looks has nothing to fear; who asks for a change may have got a part of it.
func TestTheStoreIsAway(t *testing.T) {
	const part = "done in part"
	for name, tc := range map[string]struct {
		method, path, body string
		err                error
		changes            bool
		says, level        string
	}{
		"looking, and the store is away": {"GET", "status", "", fmt.Errorf("fleet: reading what replicas hold: %w", gone{}), false,
			"the gateway runs, but its store at REDIS_URL is away: connection refused", "WARN"},
		"planning, and the store is away": {"POST", "rotations", `{"all":true,"plan":true}`, fmt.Errorf("fleet: %w", gone{}), false,
			"keyway verify", "WARN"},
		"rotating, and the store is away": {"POST", "rotations", `{"secrets":["session-key"]}`, fmt.Errorf("fleet: %w", gone{}), true,
			"once Redis is back, see 'keyway status'", "WARN"},
		"looking, and something else fails":  {"GET", "status", "", errors.New("a disk is full"), false, "a disk is full", "ERROR"},
		"rotating, and something else fails": {"POST", "rotations", `{"secrets":["session-key"]}`, errors.New("a disk is full"), true, "a disk is full", "ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			var log logbuffer.Buffer
			control := newFake()
			control.err = tc.err
			s := serveOptions(t, Options{Control: control, Loopback: true, Log: slog.New(slog.NewTextHandler(&log, nil))}, control)
			a := s.do(t, tc.method, Prefix+tc.path, tc.body)
			a.want(t, 503, `"code":"unavailable"`, tc.says)
			if strings.Contains(a.text, part) != tc.changes || strings.Contains(a.text, "Nothing was changed") == tc.changes {
				t.Errorf("says %s", a.text)
			}
			if strings.Contains(a.text, "fleet: ") || strings.Contains(a.text, "session store: ") {
				t.Errorf("says what called what: %s", a.text)
			}
			if !strings.Contains(log.String(), "level="+tc.level+` msg="admin: a request failed"`) {
				t.Errorf("logged %s", log.String())
			}
		})
	}
}
