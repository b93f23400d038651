package fleet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"keyway/internal/fleet"
)

// writeForEver is a process that is going to be killed. Each value is one byte,
// many times, and says that it is there once it is.
func writeForEver(ctx context.Context, board fleet.Board) error {
	_, revision, err := board.Get(ctx, "a")
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		revision, err = board.CompareAndSet(ctx, "a", revision, bytes.Repeat([]byte{byte('a' + i%26)}, 100_000))
		if err != nil {
			return err
		}
		fmt.Println(i)
	}
}

// A process that is killed at any moment leaves the entry old or new, and the
// folder free for others: what threat 58 rests on.
func TestAWriterThatIsKilled(t *testing.T) {
	where := "folder " + t.TempDir() + "/fleet"
	board := openBoard(t, where)
	rounds := 20
	if testing.Short() {
		rounds = 4
	}
	for round := range rounds {
		writer := startChild(t, "write", where)
		writer.line()
		<-time.After(time.Duration(round) * 317 * time.Microsecond) // any moment will do
		writer.kill()
		value, revision, err := board.Get(t.Context(), "a")
		if err != nil || len(value) != 100_000 || len(bytes.Trim(value, string(value[:1]))) != 0 {
			t.Fatalf("round %d: %d bytes at %q, %v", round, len(value), revision, err)
		}
		if _, err := board.CompareAndSet(t.Context(), "a", revision, value); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		left, err := filepath.Glob(strings.TrimPrefix(where, "folder ") + "/.entry-*")
		if err != nil || len(left) > 0 {
			t.Fatalf("round %d: left behind: %v, %v", round, left, err)
		}
	}
}

// The disk is full, or the sync fails.
func TestAWriteThatFails(t *testing.T) {
	f := openFolder(t, t.TempDir()+"/fleet")
	revision := must[fleet.Revision](t)(f.CompareAndSet(t.Context(), "a", "", []byte("old")))
	for _, c := range []struct{ step, want string }{{"write", "old"}, {"sync", "new"}} {
		f.FailWrites(func(step string) error {
			if strings.HasPrefix(step, c.step) {
				return syscall.ENOSPC
			}
			return nil
		})
		if _, err := f.CompareAndSet(t.Context(), "a", revision, []byte("new")); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", c.step, err)
		}
		value, _, err := f.Get(t.Context(), "a")
		if string(value) != c.want || err != nil {
			t.Errorf("%s: found %q, %v", c.step, value, err)
		}
	}
}

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
