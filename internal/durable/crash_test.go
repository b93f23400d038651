package durable_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"keyway/internal/durable"
	"keyway/internal/durable/durabletest"
	"keyway/internal/threat"
)

const childFolder = "DURABLE_TEST_FOLDER"

func TestMain(m *testing.M) {
	if path := os.Getenv(childFolder); path != "" {
		fmt.Fprintln(os.Stderr, writeForEver(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeForEver is a process that is going to be killed. Each content is one byte, many
// times, and says that it is there once it is.
func writeForEver(path string) error {
	f, err := durable.Open(path, mounted())
	for i := 0; err == nil; i++ {
		if err = write(f, "entry-a", strings.Repeat(string(rune('a'+i%26)), 100_000)); err == nil {
			fmt.Println(i)
		}
	}
	return err
}

// A process that is killed at any moment leaves the file old or new, and the folder
// free for others, who remove what it left.
func TestAWriterThatIsKilled(t *testing.T) {
	threat.Covers(t, 58)
	path := t.TempDir() + "/folder"
	f := open(t, path, mounted())
	rounds := 20
	if testing.Short() {
		rounds = 4
	}
	for round := range rounds {
		durabletest.Kill(t, childFolder+"="+path, time.Duration(round)*317*time.Microsecond) // any moment will do
		content := read(t, f, "entry-a")
		if len(content) != 100_000 || strings.Trim(content, content[:1]) != "" {
			t.Fatalf("round %d: %d bytes", round, len(content))
		}
		mustWrite(t, f, "entry-a", content)
		if left, err := filepath.Glob(path + "/.entry-*"); err != nil || len(left) > 0 {
			t.Fatalf("round %d: left behind: %v, %v", round, left, err)
		}
	}
}

// A process that dies, or meets a full or failing disk, between any two things that
// a write or a removal does.
func TestAtEachStep(t *testing.T) {
	for _, c := range []struct {
		name  string
		do    func(*durable.Folder) error
		steps []string
		left  []string // in the file that had "old", by the step that failed
	}{
		{
			"write", func(f *durable.Folder) error { return f.Write("entry-a", []byte("new")) },
			[]string{"write entry-a", "sync entry-a", "wrote entry-a"}, []string{"old", "new", "new", "new"},
		},
		{
			"remove", func(f *durable.Folder) error { _, err := f.Remove("entry-a"); return err },
			[]string{"remove entry-a", "sync entry-a", "removed entry-a"}, []string{"old", "", "", ""},
		},
	} {
		for at, left := range c.left {
			t.Run(fmt.Sprintf("%s, step %d", c.name, at), func(t *testing.T) {
				threat.Covers(t, 58)
				f := open(t, t.TempDir()+"/folder", mounted())
				mustWrite(t, f, "entry-a", "old")
				var seen []string
				f.OnStep(func(step string) error {
					if seen = append(seen, step); len(seen) > at {
						return syscall.ENOSPC
					}
					return nil
				})
				err := f.Locked(t.Context(), func() error { return c.do(f) })
				if fails := at < len(c.steps); errors.Is(err, syscall.ENOSPC) != fails || !fails && err != nil {
					t.Errorf("got %v", err)
				}
				if want := c.steps[:min(at+1, len(c.steps))]; !slices.Equal(seen, want) {
					t.Errorf("steps %q, expected %q", seen, want)
				}
				if got := read(t, f, "entry-a"); got != left {
					t.Errorf("found %q, expected %q", got, left)
				}
			})
		}
	}
}

func TestRemoveSaysWhetherItWasThere(t *testing.T) {
	f := open(t, t.TempDir()+"/folder", mounted())
	mustWrite(t, f, "entry-a", "1")
	for _, want := range []bool{true, false} {
		if there, err := f.Remove("entry-a"); there != want || err != nil {
			t.Errorf("%v, %v", there, err)
		}
	}
}

// What was left of a write goes, with the next or when it is asked for, and nothing
// else does.
func TestSweep(t *testing.T) {
	path := t.TempDir() + "/folder"
	f := open(t, path, mounted())
	for name, sweep := range map[string]func() error{
		"asked for":  func() error { f.Sweep(); return nil },
		"by a write": func() error { return f.Write("entry-b", nil) },
	} {
		for _, file := range []string{"entry-a", ".entry-a123", ".other-a123"} {
			if err := os.WriteFile(filepath.Join(path, file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.MkdirAll(path+"/.entry-dir", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := f.Locked(t.Context(), sweep); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for file, stays := range map[string]bool{".entry-a123": false, ".other-a123": true, ".born": true, durable.Lock: true, "entry-a": true, ".entry-dir": true} {
			if _, err := os.Lstat(filepath.Join(path, file)); (err == nil) != stays {
				t.Errorf("%s: %s: %v", name, file, err)
			}
		}
	}
}
