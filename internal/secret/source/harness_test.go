package source

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/secret"
)

// marker is in every value of these tests, so that a value that is printed shows.
const marker = "tell-no-one"

// value n is strong, and all are of one length.
func value(n int) string { return fmt.Sprintf("%s-%08d-abcdefghijklmnopqrstuvwxyz", marker, n) }

// watched is a Watcher under test, and what it has reported.
type watched struct {
	*Watcher
	t    *testing.T
	stop func()

	mu        sync.Mutex
	readings  []Reading
	lastValue string
	troubles  []Trouble
	logs      bytes.Buffer
	changed   chan struct{} // closed and replaced with each report
}

func strong(v secret.Value) error { return secret.CheckStrength("the secret", v) }

// watch runs a Watcher until the test ends, or stop is called. In no log line
// and no error does a value show.
func watch(t *testing.T, o Options, env map[string]string, secrets ...Secret) *watched {
	t.Helper()
	h := &watched{t: t, changed: make(chan struct{})}
	o.Finder.Env = func(n string) (string, bool) { v, ok := env[n]; return v, ok }
	if o.Finder.Dir == "" {
		o.Finder.Dir = filepath.Join(t.TempDir(), "none")
	}
	o.OnReading = func(r Reading) {
		h.note(func() { h.readings, h.lastValue = append(h.readings, r), string(r.Current.Value.Reveal()) })
	}
	o.OnTrouble = func(x Trouble) { h.note(func() { h.troubles = append(h.troubles, x) }) }
	o.Log = slog.New(slog.NewTextHandler(&h.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if h.Watcher, err = New(secrets, o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		for _, x := range h.troubles {
			fmt.Fprintln(&h.logs, x.Error(), x)
		}
		if strings.Contains(h.logs.String(), marker) {
			t.Error("a value was printed")
		}
	})
	t.Cleanup(h.stop)
	return h
}

func (h *watched) note(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
	close(h.changed)
	h.changed = make(chan struct{})
}

// until waits for reports until ok, which is called under the lock.
func (h *watched) until(what string, ok func() bool) {
	h.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		h.mu.Lock()
		done, changed := ok(), h.changed
		h.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			h.mu.Lock()
			defer h.mu.Unlock()
			h.t.Fatalf("waited for %s; there are %d readings, and %v", what, len(h.readings), h.troubles)
		}
	}
}

func (h *watched) untilValue(v string) {
	h.t.Helper()
	h.until("a value", func() bool {
		return len(h.readings) > 0 && string(h.readings[len(h.readings)-1].Current.Value.Reveal()) == v
	})
}

// last is the value that was last reported.
func (h *watched) last() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lastValue
}

// expect compares what was reported since the last expect, once nothing is left
// to do: readings as "current/previous", troubles as "why", "why over". For use
// in a synctest bubble.
func (h *watched) expect(want ...string) {
	h.t.Helper()
	time.Sleep(3 * 20 * time.Second) // of the bubble: polls enough for all to repeat itself
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	var got []string
	for _, x := range h.troubles {
		text := string(x.Why)
		if x.Over {
			text += " over"
		}
		got = append(got, text)
	}
	for _, r := range h.readings {
		text := shown(r.Current)
		if r.Previous != nil {
			text += "/" + shown(*r.Previous)
		}
		got = append(got, text)
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		h.t.Errorf("reported %q, want %q", got, want)
	}
	h.readings, h.troubles = nil, nil
}

// shown is the number of a value.
func shown(f secret.Found) string {
	var n int
	if _, err := fmt.Sscanf(string(f.Value.Reveal()), marker+"-%d-", &n); err != nil {
		return "?"
	}
	return fmt.Sprint(n)
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func renameOver(t *testing.T, path, content string) {
	t.Helper()
	write(t, path+".new", content)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// volume is a folder that is written as the kubelet writes a mounted secret: a
// new folder each time, and one symlink that is swapped. Files are reached
// through it.
type volume struct {
	t       testing.TB
	dir     string
	version int
}

func (v *volume) swap(files map[string]string) {
	v.t.Helper()
	fail := func(err error) {
		if err != nil {
			v.t.Helper()
			v.t.Fatal(err)
		}
	}
	v.version++
	name := fmt.Sprintf("..2026_11_22_21_00_00.%d", v.version)
	fail(os.MkdirAll(filepath.Join(v.dir, name), 0o755))
	for file, content := range files {
		write(v.t, filepath.Join(v.dir, name, file), content)
	}
	old, _ := os.Readlink(filepath.Join(v.dir, "..data"))
	fail(os.Symlink(name, filepath.Join(v.dir, "..data_tmp")))
	fail(os.Rename(filepath.Join(v.dir, "..data_tmp"), filepath.Join(v.dir, "..data")))
	for file := range files {
		err := os.Symlink(filepath.Join("..data", file), filepath.Join(v.dir, file))
		if !os.IsExist(err) {
			fail(err)
		}
	}
	entries, err := os.ReadDir(v.dir)
	fail(err)
	for _, e := range entries {
		if _, visible := files[e.Name()]; !visible && !strings.HasPrefix(e.Name(), "..") {
			remove(v.t, filepath.Join(v.dir, e.Name()))
		}
	}
	if old != "" {
		remove(v.t, filepath.Join(v.dir, old))
	}
}
