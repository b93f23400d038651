package source

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/secret"
	"keyway/internal/threat"
)

// pollOnly is for bubbles: what waits in the kernel for an event would stop
// their clock.
var pollOnly = Options{PollOnly: true}

// Whatever takes the place of a good file: the last good value stays, it is said
// once, and once more when it is over.
func TestTroubleReplacesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		why Why
		put func(t *testing.T, path string)
	}{
		"gone":         {Missing, func(*testing.T, string) {}},
		"empty":        {Empty, func(t *testing.T, path string) { write(t, path, "") }},
		"line break":   {Empty, func(t *testing.T, path string) { write(t, path, "\r\n") }},
		"short":        {Refused, func(t *testing.T, path string) { write(t, path, marker) }},
		"junk":         {Refused, func(t *testing.T, path string) { write(t, path, strings.Repeat("\x00", 64)) }},
		"huge":         {TooLarge, func(t *testing.T, path string) { write(t, path, strings.Repeat(value(1), 4096)) }},
		"endless":      {NotAFile, func(t *testing.T, path string) { symlink(t, "/dev/zero", path) }},
		"terminal":     {NotAFile, func(t *testing.T, path string) { symlink(t, "/dev/tty", path) }},
		"folder":       {NotAFile, func(t *testing.T, path string) { mkdir(t, path) }},
		"pipe":         {NotAFile, func(t *testing.T, path string) { fifo(t, path) }},
		"dangling":     {Missing, func(t *testing.T, path string) { symlink(t, "nowhere", path) }},
		"symlink loop": {Unreadable, func(t *testing.T, path string) { symlink(t, path, path) }},
		"below a file": {Unreadable, func(t *testing.T, path string) { symlink(t, "other/x", path) }},
		"no permission": {Unreadable, func(t *testing.T, path string) {
			if os.Getuid() == 0 {
				// Root may open everything, and this can't be read by root either.
				symlink(t, "/proc/self/mem", path)
				return
			}
			write(t, path, value(1))
			if err := os.Chmod(path, 0); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 59)
			dir := t.TempDir()
			path := filepath.Join(dir, "salt")
			write(t, filepath.Join(dir, "other"), "")
			synctest.Test(t, func(t *testing.T) {
				write(t, path, value(0))
				h := watch(t, pollOnly, map[string]string{"SALT_FILE": path}, Secret{Name: "salt", Variable: "SALT", Check: strong})
				defer h.stop()
				h.expect("0")
				remove(t, path)
				c.put(t, path)
				h.expect(string(c.why))
				if now := h.Troubles(); len(now) != 1 || !now[0].Kept || now[0].Path != path {
					t.Errorf("standing trouble is %v", now)
				}
				remove(t, path)
				write(t, path, value(2))
				h.expect(string(c.why)+" over", "2")
				if now := h.Troubles(); len(now) != 0 {
					t.Errorf("standing trouble is %v", now)
				}
			})
		})
	}
}

// A start in trouble says so, and that there is nothing to go on with.
func TestTroubleAtTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "later", "salt")
	synctest.Test(t, func(t *testing.T) {
		h := watch(t, pollOnly, nil, Secret{Name: "salt", File: path})
		defer h.stop()
		h.expect("missing")
		if now := h.Troubles(); len(now) != 1 || now[0].Kept || !strings.Contains(now[0].Error(), "no value yet") {
			t.Errorf("standing trouble is %v", now)
		}
		mkdir(t, filepath.Dir(path))
		write(t, path, "")
		h.expect("empty") // another trouble
		write(t, path, value(1)+"\n")
		h.expect("empty over", "1")
	})
}

// A file that was written again and holds what it held: somebody means to have
// rotated, and has not. Where one swap writes all files, it means nothing.
func TestSameValueAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "salt")
	t.Run("renamed over and in place", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			write(t, path, value(1))
			h := watch(t, pollOnly, nil, Secret{Name: "salt", File: path})
			defer h.stop()
			h.expect("1")
			renameOver(t, path, value(1)+"\n")
			h.expect("the same value")
			write(t, path, value(1))
			// Older kernels give what happens within 4 ms one time.
			if err := os.Chtimes(path, time.Time{}, time.Unix(1_700_000_000, 0)); err != nil {
				t.Fatal(err)
			}
			h.expect("the same value")
			if len(h.Troubles()) != 0 {
				t.Error("it stands")
			}
			renameOver(t, path, value(2))
			h.expect("2")
			renameOver(t, path, value(1)) // back again is a change
			h.expect("1")
		})
	})
	t.Run("swapped with others", func(t *testing.T) {
		v := &volume{t: t, dir: filepath.Join(dir, "volume")}
		synctest.Test(t, func(t *testing.T) {
			v.swap(map[string]string{"salt": value(1), "key": value(2)})
			h := watch(t, pollOnly, nil, Secret{Name: "salt", File: filepath.Join(v.dir, "salt")})
			defer h.stop()
			h.expect("1")
			v.swap(map[string]string{"salt": value(1), "key": value(3)})
			h.expect()
		})
	})
}

// A file that never holds still is trouble after a while, and not before.
func TestNeverHoldsStill(t *testing.T) {
	threat.Covers(t, 59)
	path := filepath.Join(t.TempDir(), "salt")
	synctest.Test(t, func(t *testing.T) {
		write(t, path, value(0))
		o := pollOnly
		o.Poll, o.Patience = 15*time.Second, 5*time.Second
		h := watch(t, o, nil, Secret{Name: "salt", File: path})
		defer h.stop()
		h.expect("0")
		started := time.Now()
		for n := 1; time.Since(started) < time.Minute; n++ {
			write(t, path, value(n)[:20+n%20])
			time.Sleep(100 * time.Millisecond)
		}
		write(t, path, value(7))
		time.Sleep(time.Minute)
		synctest.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.troubles) < 2 || h.troubles[0].Why != Torn || h.troubles[0].Over || !h.troubles[1].Over {
			t.Errorf("troubles are %v", h.troubles)
		}
		if last := h.readings[len(h.readings)-1]; shown(last.Current) != "7" {
			t.Errorf("last reading is %s", shown(last.Current))
		}
	})
}

// A previous value that never holds still keeps no new value from being seen.
func TestPreviousNeverHoldsStill(t *testing.T) {
	dir := t.TempDir()
	path, previous := filepath.Join(dir, "salt"), filepath.Join(dir, "salt_previous")
	synctest.Test(t, func(t *testing.T) {
		write(t, path, value(1))
		h := watch(t, pollOnly, nil, Secret{Name: "salt", File: path})
		defer h.stop()
		h.expect("1")
		renameOver(t, path, value(2))
		for n := range 600 {
			write(t, previous, value(n)[:20+n%20])
			time.Sleep(100 * time.Millisecond)
		}
		h.mu.Lock()
		if len(h.readings) != 1 || shown(h.readings[0].Current) != "2" || h.readings[0].Previous != nil {
			t.Errorf("there are %d readings", len(h.readings))
		}
		h.readings = nil
		h.mu.Unlock()
		write(t, previous, value(1))
		h.expect("half-written", "half-written over", "2/1")
	})
}

// The environment does not change, and is refused as a file would be.
func TestWeakInTheEnvironment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := watch(t, pollOnly, map[string]string{"SALT": marker, "KEY": value(1), "KEY_PREVIOUS": value(2)},
			Secret{Name: "salt", Variable: "SALT", Check: strong}, Secret{Name: "key", Variable: "KEY", Check: strong})
		defer h.stop()
		h.expect("refused", "1/2")
	})
}

func TestNewRefuses(t *testing.T) {
	finder := secret.Finder{Env: func(string) (string, bool) { return "", false }}
	for name, c := range map[string]struct {
		secrets []Secret
		finder  secret.Finder
	}{
		"no environment": {nil, secret.Finder{}},
		"no name":        {[]Secret{{File: "/x"}}, finder},
		"no place":       {[]Secret{{Name: "x"}}, finder},
		"two places":     {[]Secret{{Name: "x", File: "/x", Variable: "X"}}, finder},
		"one name twice": {[]Secret{{Name: "x", File: "/x"}, {Name: "x", File: "/y"}}, finder},
	} {
		if _, err := New(c.secrets, Options{Finder: c.finder}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func symlink(t testing.TB, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t testing.TB, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func fifo(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}
