package durable_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"keyway/internal/durable"
)

// mounted is a folder that is expected to stay, as the fleet's and the record's;
// the other kind is one that may be made anew, as the keys'.
func mounted() durable.Options {
	return durable.Options{Name: "test folder", Names: []string{"entry-"}, Patience: time.Minute, Made: []string{durable.Lock, ".born"}}
}

func open(t testing.TB, path string, o durable.Options) *durable.Folder {
	t.Helper()
	f, err := durable.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func read(t testing.TB, f *durable.Folder, name string) string {
	t.Helper()
	var content []byte
	err := f.Locked(t.Context(), func() (err error) {
		content, _, err = f.Read(name, 1<<20)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(content)
}

func write(f *durable.Folder, name, content string) error {
	return f.Locked(context.Background(), func() error { return f.Write(name, []byte(content)) })
}

func mustWrite(t testing.TB, f *durable.Folder, name, content string) {
	t.Helper()
	if err := write(f, name, content); err != nil {
		t.Fatal(err)
	}
}

func says(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("expected an error that says %q, got %v", want, err)
	}
}

func TestIsForItsOwnerOnly(t *testing.T) {
	path := t.TempDir() + "/deep/folder"
	f := open(t, path, mounted())
	mustWrite(t, f, "entry-a", "1")
	err := filepath.Walk(path, func(name string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o601} {
		if err := os.Chmod(path+"/entry-a", mode); err != nil {
			t.Fatal(err)
		}
		_, _, err := f.Read("entry-a", 1)
		says(t, err, path+"/entry-a: expected a file of mode 0600, so that nobody but its owner can read or write it, found -")
	}
	if err := os.Mkdir(path+"/entry-dir", 0o700); err != nil {
		t.Fatal(err)
	}
	_, _, err = f.Read("entry-dir", 1)
	says(t, err, "expected a file of mode 0600, so that nobody but its owner can read or write it, found drwx------")
	for _, mode := range []fs.FileMode{0o750, 0o705, 0o730, 0o701} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := durable.Open(path, mounted())
		says(t, err, "test folder "+path+": expected mode 0700, so that nobody but its owner can enter it, found 07")
		if loose, ok := errors.AsType[*durable.ModeError](err); !ok || loose.Found.Perm() != mode || loose.Path != path {
			t.Errorf("%v: %+v", mode, loose)
		}
	}
}

func TestWhereAFolderCantBe(t *testing.T) {
	path := t.TempDir() + "/file"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := durable.Open(path, durable.Options{Name: "test folder"})
	says(t, err, "test folder: mkdir "+path+": not a directory")
	_, err = durable.Open(path, durable.Options{Name: "test folder", Setting: "TEST_DIR"})
	says(t, err, "test folder (TEST_DIR): mkdir "+path)
}

func TestReadsAreBounded(t *testing.T) {
	f := open(t, t.TempDir()+"/folder", mounted())
	mustWrite(t, f, "entry-a", "12345")
	if content, info, err := f.Read("entry-a", 5); string(content) != "12345" || err != nil || info.Size() != 5 {
		t.Errorf("%q, %v", content, err)
	}
	_, _, err := f.Read("entry-a", 4)
	says(t, err, "/entry-a: expected at most 4 bytes, found more")
	if _, _, err := f.Read("entry-b", 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one that is not there: %v", err)
	}
}

// A volume that is not mounted looks like an empty folder.
func TestAFolderThatVanishes(t *testing.T) {
	for name, c := range map[string]struct {
		made []string
		anew bool
	}{
		"one that stays":         {[]string{durable.Lock}, false},
		"one that is made again": {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/folder"
			o := mounted()
			o.Made = c.made
			f := open(t, path, o)
			mustWrite(t, f, "entry-a", "1")
			if err := os.Rename(path, path+".away"); err != nil {
				t.Fatal(err)
			}
			says(t, write(f, "entry-a", "2"), "test folder "+path+": locking: open ")
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := write(f, "entry-a", "2"); (err == nil) != c.anew {
				t.Errorf("an empty one in its place: %v", err)
			}
			ran := false
			if err := f.IfFree(func() error { ran = true; return nil }); err != nil || ran != c.anew {
				t.Errorf("an empty one in its place: %v, %v", ran, err)
			}
			if err := errors.Join(os.RemoveAll(path), os.Rename(path+".away", path)); err != nil {
				t.Fatal(err)
			}
			if got := read(t, f, "entry-a"); got != "1" {
				t.Errorf("back again: %q", got)
			}
		})
	}
}

// Whoever is in the folder keeps others out: of this process, and of others, for
// whom a Folder of its own stands here, since a lock belongs to an open file.
func TestOneAtATime(t *testing.T) {
	path := t.TempDir() + "/folder"
	o := mounted()
	o.Patience = 20 * time.Millisecond
	f := open(t, path, o)
	for who, other := range map[string]*durable.Folder{"the same": f, "another": open(t, path, o)} {
		err := f.Locked(t.Context(), func() error {
			err := other.Locked(t.Context(), func() error { t.Errorf("%s: got in", who); return nil })
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", who, err)
			}
			says(t, err, map[string]string{"the same": "waiting for other calls", "another": "locking"}[who])
			return other.IfFree(func() error { t.Errorf("%s: got in where it was not free", who); return nil })
		})
		if err != nil {
			t.Errorf("%s: %v", who, err)
		}
		ran := false
		if err := other.IfFree(func() error { ran = true; return syscall.EIO }); !ran || !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: where it is free: %v, %v", who, ran, err)
		}
		if err := other.Locked(t.Context(), func() error { return syscall.EIO }); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v", who, err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Locked(gone, func() error { t.Error("ran for who is gone"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
