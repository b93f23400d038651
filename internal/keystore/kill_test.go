package keystore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"keyway/internal/durable/durabletest"
	"keyway/internal/testkit/parts"
	"keyway/internal/threat"
)

// A real process that rotates all the time is killed at some instant, again and
// again.
func TestKilledWhileRotating(t *testing.T) {
	threat.Covers(t, 58)
	t.Parallel()
	kills := 40
	if testing.Short() {
		kills = 8
	}
	root := fastDir(t)
	versions := 0
	for i := range kills {
		dir := filepath.Join(root, fmt.Sprint(i/4)) // four times the same folder
		instant := time.Duration(rand.IntN(20_000)) * time.Microsecond
		line := durabletest.Kill(t, childVariable+"=rotate "+dir, instant)
		if line != "ready" {
			t.Fatalf("the process says %q", line)
		}
		checkFolder(t, dir)
		s := mustOpen(t, dir, Options{})
		before := signing(t, s)
		if err := rotateOnce(s); err != nil {
			t.Fatalf("after kill %d: %v", i, err)
		}
		after := signing(t, s)
		if after.Active().ID == before.Active().ID {
			t.Error("it does not rotate any more")
		}
		for range after.All() {
			versions++
		}
	}
	if versions <= 2*kills {
		t.Errorf("%d versions in all: the processes rotated nothing", versions)
	}
}

// The calls by which files are written fail, one after the other, under a real
// process: each write, fsync, rename and removal, with what a bad or full disk
// answers.
func TestFailingDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a hundred processes")
	}
	strace := parts.Need(t, parts.Strace)[0]
	if out, err := exec.CommandContext(t.Context(), strace, "-f", "--seccomp-bpf", "-o", os.DevNull, "-e", "trace=fsync", "true").CombinedOutput(); err != nil {
		t.Skipf("strace may not trace here: %v %s", err, out)
	}
	for _, c := range []struct {
		calls, fault string
		least        int // how many there are at the least in what the process does
	}{
		{"fsync", "error=EIO", 20},
		{"?rename,renameat,?renameat2", "error=EIO", 10},
		{"?unlink,unlinkat", "error=EIO", 2},
		{"write", "error=ENOSPC", 10},
	} {
		t.Run(c.calls+" "+c.fault, func(t *testing.T) {
			threat.Covers(t, 58)
			t.Parallel()
			root := fastDir(t)
			for n := 1; ; n++ {
				dir := filepath.Join(root, fmt.Sprint(n), "keys")
				if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
					t.Fatal(err)
				}
				record := filepath.Join(root, "trace")
				cmd := exec.CommandContext(t.Context(), strace, "-f", "--seccomp-bpf", "-o", record, "-e", "trace="+c.calls,
					"-e", fmt.Sprintf("inject=%s:%s:when=%d", c.calls, c.fault, n), os.Args[0])
				cmd.Env = append(os.Environ(), childVariable+"=walk "+dir, "GORACE=atexit_sleep_ms=1")
				out, err := cmd.CombinedOutput()
				if !bytes.Contains(content(t, record), []byte("(INJECTED)")) {
					if err != nil {
						t.Fatalf("without a fault: %v\n%s", err, out)
					}
					if n <= c.least {
						t.Errorf("only %d faults were injected", n-1)
					}
					return
				}
				if bytes.Contains(out, []byte("DATA RACE")) || bytes.Contains(out, []byte("PRIVATE")) {
					t.Errorf("fault %d:\n%s", n, out)
				}
				if _, err := os.Stat(dir); err == nil {
					checkFolder(t, dir)
				}
				s, _ := mustStart(t, dir, Options{})
				if err := rotateOnce(s); err != nil {
					t.Errorf("after fault %d: %v", n, err)
				}
				must(s.RootKeys())(t)
				checkFolder(t, dir)
				if left := must(filepath.Glob(filepath.Join(dir, ".[sjr]*")))(t); len(left) != 0 {
					t.Errorf("after fault %d, left behind: %v", n, left)
				}
			}
		})
	}
}
