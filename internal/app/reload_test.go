package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyway/internal/keyring"
)

// SIGHUP has everything that is handed in read again, and what is new is in use a
// moment later. A value that can't be used changes nothing.
func TestReloadReadsAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "salt")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(goodSalt)
	environ := env(t, map[string]string{"TOKEN_HASH_SALT_FILE": file})
	delete(environ, "TOKEN_HASH_SALT")
	a, err := opened(t, environ)
	if err != nil {
		t.Fatal(err)
	}
	reload := make(chan struct{}, 1)
	a.reload = reload
	defer a.background()()
	ring := func() keyring.Ring { return a.current.Load().rings[nameTokenHashSalt] }
	first := ring().Active()
	if !first.HandedIn || !bytes.Equal(first.Value.Reveal(), []byte(goodSalt)) {
		t.Fatal("it does not use what is handed in")
	}
	write("weak")
	reload <- struct{}{}
	until(t, "it complains", func() bool { return len(a.watcher.Troubles()) > 0 })
	if ring().Active().ID != first.ID {
		t.Error("a weak value is in use")
	}
	write(otherSalt)
	reload <- struct{}{}
	until(t, "the new value is in use", func() bool {
		return strings.EqualFold(string(ring().Active().Value.Reveal()), otherSalt)
	})
	if _, err := ring().Lookup(first.ID); err != nil {
		t.Errorf("what the first issued: %v", err)
	}
}
