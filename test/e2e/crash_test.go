package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/testkit/child"
	"keyway/internal/testkit/parts"
	"keyway/internal/threat"
)

// A gateway that has its secrets on its own disk, and turns all of them again and
// again. Whatever ends it, and whatever its disk does: started again it serves
// with what was in use or with what was to be, whoever was signed in still is, and
// everything turns.
func TestCrash(t *testing.T) {
	t.Parallel()
	stories := map[string]func(*testing.T){"the disk is full, and has room again": diskFull}
	for i := range 5 {
		stories[fmt.Sprintf("killed at some instant, %d", i+1)] = func(t *testing.T) {
			threat.Covers(t, 58)
			c := startCrash(t)
			for n := range 6 {
				c.lives(t, time.Duration(rand.IntN(1000))*time.Millisecond)
				c.again(t, fmt.Sprintf("kill %d", n+1))
			}
		}
	}
	// From the call of that number on, in each of its threads, the kernel answers
	// with the error, until the process is killed.
	for calls, numbers := range map[string][]int{
		"fsync":                       {1, 3, 8, 20},
		"?rename,renameat,?renameat2": {1, 2, 5, 11},
	} {
		stories["each call of "+calls+" fails"] = func(t *testing.T) {
			threat.Covers(t, 58)
			strace := tracer(t)
			c := startCrash(t)
			injected := 0
			for _, n := range numbers {
				c.p.Terminate(t)
				record := filepath.Join(t.TempDir(), "trace")
				c.under(t, strace, "-f", "--seccomp-bpf", "-o", record, "-e", "trace="+calls,
					"-e", fmt.Sprintf("inject=%s:error=EIO:when=%d+", calls, n))
				if c.comesUp() {
					c.lives(t, time.Second)
				} else if code, err := c.p.ExitCode(time.Second); err == nil && code == 0 {
					t.Errorf("from fault %d on: it has ended as if all were well:\n%s", n, c.p.Output())
				}
				c.p.Kill9()
				text, _ := os.ReadFile(record)
				injected += bytes.Count(text, []byte("(INJECTED)"))
				c.again(t, fmt.Sprintf("faults from call %d on", n))
			}
			if injected < len(numbers) {
				t.Errorf("only %d faults were injected", injected)
			}
		}
	}
	together(t, stories)
}

// tracer is strace, where it may trace.
func tracer(t testing.TB) string {
	t.Helper()
	strace := parts.Need(t, parts.Strace)[0]
	if out, err := exec.CommandContext(t.Context(), strace, "-f", "--seccomp-bpf", "-o", os.DevNull, "-e", "trace=fsync", "true").CombinedOutput(); err != nil {
		t.Skipf("strace may not trace here: %v %s", err, out)
	}
	return strace
}

// lives has everything turn again and again for a while, under users at work, and
// is then killed.
func (c *crash) lives(t testing.TB, d time.Duration) {
	t.Helper()
	var busy sync.WaitGroup
	busy.Go(func() {
		admin := NewBrowser(c.p.AdminURL)
		for {
			// What comes of it, with a disk like that, is not of interest here.
			_, _ = admin.Try("POST", "/admin/v1/rotations", `{"all":true}`, "Content-Type", "application/json")
			select {
			case <-c.p.Done():
				return
			case <-time.After(time.Duration(rand.IntN(80)) * time.Millisecond):
			}
		}
	})
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(min(50*time.Millisecond, time.Until(end))) {
		for _, b := range c.users {
			a, err := b.Try("GET", "/api/notes", "")
			if err != nil || a.StatusCode != 200 {
				t.Errorf("while its secrets turn: %v %s", err, a.Text)
			}
		}
	}
	c.p.Kill9()
	busy.Wait()
}

// under starts the gateway under another program.
func (c *crash) under(t testing.TB, program string, args ...string) {
	t.Helper()
	args = append(args, BuildKeyway(t), "serve")
	p := &Process{
		Process: child.Start(t, command(t, program, c.p.Env, args)),
		URL:     c.p.URL, AdminURL: c.p.AdminURL, Env: c.p.Env, args: []string{"serve"},
	}
	c.p = c.keep(p)
}

// comesUp waits until the gateway serves or has given up.
func (c *crash) comesUp() bool {
	for deadline := time.Now().Add(readyWithin); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if a, err := NewBrowser(c.p.URL).Try("GET", "/health/ready", ""); err == nil && a.StatusCode == 200 {
			return true
		}
		select {
		case <-c.p.Done():
			return false
		default:
		}
	}
	return false
}

// diskFull: the folder of keys is on a small file system of its own.
func diskFull(t *testing.T) {
	threat.Covers(t, 58)
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("there is no unshare here")
	}
	const mounted = `mount -t tmpfs -o size=512k,mode=0700 none "$0" && exec "$@"`
	if out, err := exec.CommandContext(t.Context(), unshare, "-rm", "sh", "-c", mounted, t.TempDir(), "true").CombinedOutput(); err != nil {
		t.Skipf("no file system may be mounted here: %v %s", err, out)
	}
	c := startCrash(t)
	keys := c.p.Env["BFF_KEYS_DIR"]
	c.p.Terminate(t)
	// The file system is empty, and the sessions are not those of its keys.
	if err := os.RemoveAll(c.p.Env["BFF_DATA_DIR"]); err != nil {
		t.Fatal(err)
	}
	c.under(t, unshare, "-rm", "sh", "-c", mounted, keys)
	c.p.WaitReady(t)
	c.users = []*Browser{c.enter(t, c.p), c.enter(t, c.p)}
	rotate(t, c.p, false, everything...)

	// A key waits for the provider, which is away.
	c.away.Store(true)
	before := statusOf(t, c.p, signingKeyName).Active
	asked := ask(t, c.p, false, signingKeyName)
	soon(t, "the key is pending", func() bool {
		return len(statusOf(t, c.p, signingKeyName).Versions) > 1 && statusOf(t, c.p, signingKeyName).Waiting != ""
	})
	filler := filepath.Join("/proc", fmt.Sprint(c.p.PID()), "root", keys, "filler")
	fill(t, filler)
	c.away.Store(false)
	soon(t, "it says so", func() bool { return strings.Contains(c.p.Output(), "no space left on device") })
	if a, err := NewBrowser(c.p.AdminURL).Try("POST", "/admin/v1/rotations", `{"all":true}`, "Content-Type", "application/json"); err != nil || !strings.Contains(a.Text, "no space left on device") {
		t.Errorf("asked to turn everything on a full disk: %v %s", err, a.Text)
	}
	c.wantUsers(t)
	c.users = append(c.users, c.enter(t, c.p))
	if now := statusOf(t, c.p, signingKeyName).Active; now != before {
		t.Errorf("%s is in use, and could not be written down", now)
	}
	c.wantKeys(t, filepath.Join(filepath.Dir(filler), "jwks.json"))

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	await(t, c.p, asked)
	c.wantUsers(t)
	rotate(t, c.p, false, everything...)
	c.wantUsers(t)
	c.wantSane(t)
	c.wantKeys(t, filepath.Join(filepath.Dir(filler), "jwks.json"))
}

// fill writes until there is no room.
func fill(t testing.TB, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Skipf("the file system can't be seen from here: %v", err)
	}
	defer file.Close()
	for size := 64 << 10; size > 0; {
		if _, err := file.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}
