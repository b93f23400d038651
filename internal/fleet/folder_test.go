package fleet_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keyway/internal/fleet"
)

// A volume that is not mounted looks like an empty folder.
func TestAFolderThatVanishesIsNotEmpty(t *testing.T) {
	path := t.TempDir() + "/fleet"
	f := openFolder(t, path)
	must[fleet.Revision](t)(f.CompareAndSet(t.Context(), "a", "", []byte("1")))
	must[int](t)(f.Put(t.Context(), "r1", nil, time.Minute, time.Minute))
	check := func(what string) {
		t.Helper()
		if value, revision, err := f.Get(t.Context(), "a"); err == nil {
			t.Errorf("%s: get: %q at %q", what, value, revision)
		}
		if _, err := f.CompareAndSet(t.Context(), "a", "", []byte("2")); err == nil || errors.Is(err, fleet.ErrConflict) {
			t.Errorf("%s: set: %v", what, err)
		}
		if l, err := f.List(t.Context()); err == nil {
			t.Errorf("%s: list: %+v", what, l)
		}
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	check("no folder")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	check("an empty one in its place")
	if err := errors.Join(os.Remove(path), os.Rename(path+".away", path)); err != nil {
		t.Fatal(err)
	}
	if value, _, err := f.Get(t.Context(), "a"); string(value) != "1" || err != nil {
		t.Errorf("back again: %q, %v", value, err)
	}
}

func TestAFolderIsForItsOwnerOnly(t *testing.T) {
	path := t.TempDir() + "/fleet"
	f := openFolder(t, path)
	must[fleet.Revision](t)(f.CompareAndSet(t.Context(), "a", "", []byte("1")))
	must[int](t)(f.Put(t.Context(), "r1", nil, time.Minute, time.Minute))
	err := filepath.Walk(path, func(name string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := os.Chmod(path+"/entry-a", 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Get(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "mode 0600") {
		t.Errorf("an entry that others can read: %v", err)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := fleet.OpenFolder(path); err == nil || !strings.Contains(err.Error(), "mode 0700") {
		t.Errorf("a folder that others can enter: %v", err)
	}
	if _, err := fleet.OpenFolder(path + "/entry-a"); err == nil {
		t.Error("a file for a folder")
	}
}

// What is no entry and no report is an error, not an absence.
func TestAFolderFindsWhatIsNotOurs(t *testing.T) {
	path := t.TempDir() + "/fleet"
	f := openFolder(t, path)
	for name, content := range map[string]string{"entry-empty": "", "entry-junk": "junk", "replica-r1": `{"live_ms":`} {
		if err := os.WriteFile(path+"/"+name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"empty", "junk"} {
		if value, revision, err := f.Get(t.Context(), name); err == nil {
			t.Errorf("%s: %q at %q", name, value, revision)
		}
		if _, err := f.CompareAndSet(t.Context(), name, "", nil); err == nil || errors.Is(err, fleet.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if l, err := f.List(t.Context()); err == nil {
		t.Errorf("got %+v", l)
	}
}
