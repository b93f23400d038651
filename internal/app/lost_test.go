package app

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/session"
)

// A minute is given to whoever may have the key, counted by what the store says.
func TestWhenASessionKeyIsLost(t *testing.T) {
	start := time.Now()
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	ring := ringOf(t, "known:active")
	said := make(chan struct{}, 10)
	l := &lostVersions{log: told(said, "no replica has any more"), ring: func() keyring.Ring { return ring }}
	ask := func(second int, version string, want bool) {
		t.Helper()
		if found := l.lost(version, at(second)); found != want {
			t.Errorf("after %d s %s is lost: %v, want %v", second, version, found, want)
		}
	}
	ask(0, "known", false)
	ask(0, "gone", false)
	ask(90, "gone", false) // the store was away, so that nobody knows
	l.read(at(30))
	ask(91, "gone", false)
	l.read(at(92))
	ask(93, "gone", true)
	ask(94, "gone", true)
	ask(94, "another", false)
	if len(said) != 1 {
		t.Errorf("said %d times, want once", len(said))
	}
	ring = ringOf(t, "known:active gone:retiring")
	ask(95, "gone", false)
	for i := range 3 * maxLost {
		l.lost(time.Duration(i).String(), start)
	}
	if len(l.since) > maxLost {
		t.Errorf("remembers %d", len(l.since))
	}
}

// A gateway alone whose folder of keys is lost, but not its sessions, tells users
// to sign in again instead of that it can't know.
func TestALostFolderOfKeysEndsSessions(t *testing.T) {
	environ := env(t, map[string]string{"TOKEN_HASH_SALT": goodSalt})
	before, err := opened(t, environ)
	if err != nil {
		t.Fatal(err)
	}
	cookies := signedIn(t, before)
	if err := before.resources.Close(); err != nil {
		t.Fatal(err)
	}
	environ["BFF_KEYS_DIR"] = filepath.Join(t.TempDir(), "keys")
	after, err := opened(t, environ)
	if err != nil {
		t.Fatal(err)
	}
	if err := knows(t, after, cookies); !errors.Is(err, session.ErrEnded) {
		t.Errorf("got %v, want that the session is over", err)
	}
	if n, err := after.resources.sessions.Count(t.Context()); err != nil || n != 0 {
		t.Errorf("%d sessions are left, %v", n, err)
	}
}
