package source

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"keyway/internal/secret"
	"keyway/internal/threat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventsOnly are options with which a change that no event tells of is never
// seen.
func eventsOnly() Options {
	return Options{Poll: 24 * time.Hour, Settle: 10 * time.Millisecond, Grace: 24 * time.Hour}
}

// Each way of replacing a file is heard of at once, again and again: watches do
// not fall silent.
func TestHeardEachTime(t *testing.T) {
	const times = 30
	for name, start := range map[string]func(t *testing.T, dir string) (path string, replace func(content string)){
		"in place": func(t *testing.T, dir string) (string, func(string)) {
			path := filepath.Join(dir, "salt")
			return path, func(content string) { write(t, path, content) }
		},
		"renamed over": func(t *testing.T, dir string) (string, func(string)) {
			path := filepath.Join(dir, "salt")
			return path, func(content string) { renameOver(t, path, content) }
		},
		"removed and made again": func(t *testing.T, dir string) (string, func(string)) {
			path := filepath.Join(dir, "salt")
			return path, func(content string) { remove(t, path); write(t, path, content) }
		},
		"as Kubernetes": func(t *testing.T, dir string) (string, func(string)) {
			v := &volume{t: t, dir: dir}
			return filepath.Join(dir, "salt"), func(content string) { v.swap(map[string]string{"salt": content}) }
		},
		"folder removed and made again": func(t *testing.T, dir string) (string, func(string)) {
			dir = filepath.Join(dir, "folder")
			path := filepath.Join(dir, "salt")
			return path, func(content string) { remove(t, dir); mkdir(t, dir); write(t, path, content) }
		},
		"folders above, too": func(t *testing.T, dir string) (string, func(string)) {
			top := filepath.Join(dir, "a")
			path := filepath.Join(top, "b", "c", "salt")
			return path, func(content string) { remove(t, top); mkdir(t, filepath.Dir(path)); write(t, path, content) }
		},
		"folder renamed over": func(t *testing.T, dir string) (string, func(string)) {
			folder := filepath.Join(dir, "folder")
			path := filepath.Join(folder, "salt")
			return path, func(content string) {
				remove(t, folder+".old")
				mkdir(t, folder+".new")
				write(t, filepath.Join(folder+".new", "salt"), content)
				_ = os.Rename(folder, folder+".old")
				if err := os.Rename(folder+".new", folder); err != nil {
					t.Fatal(err)
				}
			}
		},
		"symlink to the file": func(t *testing.T, dir string) (string, func(string)) {
			path, n := filepath.Join(dir, "salt"), 0
			return path, func(content string) {
				n++
				target := filepath.Join(t.TempDir(), "elsewhere")
				write(t, target, content)
				_ = os.Remove(path + ".new")
				symlink(t, target, path+".new")
				if err := os.Rename(path+".new", path); err != nil {
					t.Fatal(err)
				}
			}
		},
		"symlink to the folder's folder": func(t *testing.T, dir string) (string, func(string)) {
			link := filepath.Join(dir, "link")
			return filepath.Join(link, "sub", "salt"), func(content string) {
				target := t.TempDir()
				mkdir(t, filepath.Join(target, "sub"))
				write(t, filepath.Join(target, "sub", "salt"), content)
				symlink(t, target, link+".new")
				if err := os.Rename(link+".new", link); err != nil {
					t.Fatal(err)
				}
			}
		},
		"target of a symlink": func(t *testing.T, dir string) (string, func(string)) {
			path, target := filepath.Join(dir, "salt"), filepath.Join(t.TempDir(), "elsewhere")
			symlink(t, target, path)
			return path, func(content string) { renameOver(t, target, content) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 59)
			path, replace := start(t, t.TempDir())
			h := watch(t, eventsOnly(), nil, Secret{Name: "salt", File: path, Check: strong})
			defer h.stop()
			for n := range times {
				replace(value(n))
				h.untilValue(value(n))
			}
		})
	}
}

// A volume is swapped faster than anybody can follow. What is reported was there,
// the value and the one before it are of one swap, and the last is reached.
func TestKubernetesSwapsAreNeverMixed(t *testing.T) {
	threat.Covers(t, 59, 60)
	v := &volume{t: t, dir: t.TempDir()}
	swap := func(n int) {
		v.swap(map[string]string{"salt": value(n), "salt_previous": value(n - 1), "other": value(n)})
	}
	swap(1)
	o := eventsOnly()
	o.Settle = 3 * time.Millisecond
	h := watch(t, o, map[string]string{"SALT_FILE": filepath.Join(v.dir, "salt")},
		Secret{Name: "salt", Variable: "SALT", Check: strong})
	defer h.stop()
	const swaps = 600
	for n := 2; n <= swaps; n++ {
		swap(n)
		if n%20 == 0 { // a moment of rest, in which it may be seen
			h.untilValue(value(n))
		}
	}
	h.untilValue(value(swaps))
	h.mu.Lock()
	defer h.mu.Unlock()
	last := 0
	for _, r := range h.readings {
		var n, before int
		_, _ = fmt.Sscan(shown(r.Current), &n)
		if r.Previous != nil {
			_, _ = fmt.Sscan(shown(*r.Previous), &before)
		}
		if n <= last || before != n-1 {
			t.Errorf("after %d came %d with %d as its previous", last, n, before)
		}
		last = n
	}
	if len(h.readings) < swaps/20 {
		t.Errorf("%d readings of %d swaps", len(h.readings), swaps)
	}
	t.Logf("%d readings of %d swaps", len(h.readings), swaps)
}

// A swap comes exactly between the look at the value and the look at the one
// before it.
func TestSwapBetweenTwoReads(t *testing.T) {
	threat.Covers(t, 59, 60)
	v := &volume{t: t, dir: t.TempDir()}
	swap := func(n int) { v.swap(map[string]string{"salt": value(n), "salt_previous": value(n - 1)}) }
	synctest.Test(t, func(t *testing.T) {
		swap(1)
		seen := 0
		h := watch(t, pollOnly, nil, Secret{Name: "salt", File: filepath.Join(v.dir, "salt"), Check: func(s secret.Value) error {
			if string(s.Reveal()) == value(2) {
				if seen++; seen == 2 {
					swap(3)
				}
			}
			return nil
		}})
		defer h.stop()
		h.expect("1/0")
		swap(2)
		h.expect("3/2")
	})
}

// A file is written over in pieces, each on the disk before the next. Half of one
// value, or half of two, is never reported, unless it stood for longer than
// anybody could wait.
func TestTornWritesAreNotRead(t *testing.T) {
	const settle, writes = 10 * time.Millisecond, 400
	for name, flags := range map[string]int{
		"truncated":          os.O_WRONLY | os.O_TRUNC,
		"of the same length": os.O_WRONLY,
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 59)
			path := filepath.Join(t.TempDir(), "salt")
			write(t, path, value(0))
			o := eventsOnly()
			o.Settle, o.Patience = settle, 24*time.Hour
			h := watch(t, o, nil, Secret{Name: "salt", File: path}) // takes any value: it must not be the strength that saves us
			defer h.stop()
			h.untilValue(value(0))

			whole, stood := map[string]bool{value(0): true}, map[string]time.Duration{}
			var content []byte
			for n := 1; n <= writes; n++ {
				text := value(n * 7_654_321 % 100_000_000)
				whole[text] = true
				// When each state begins and ends is known to within the calls that
				// make it: a state that may have stood for settle proves nothing.
				began := time.Now()
				ended := func(before string) {
					now := time.Now()
					stood[before] = max(stood[before], now.Sub(began))
				}
				file, err := os.OpenFile(path, flags, 0)
				if err != nil {
					t.Fatal(err)
				}
				if content, err = os.ReadFile(path); err != nil {
					t.Fatal(err)
				}
				for at := 0; at < len(text); {
					piece := text[at:min(len(text), at+1+rand.IntN(24))]
					state, next := string(content), time.Now()
					if _, err := file.WriteString(piece); err != nil {
						t.Fatal(err)
					}
					ended(state)
					began = next
					if err := file.Sync(); err != nil {
						t.Fatal(err)
					}
					at += len(piece)
					content = append([]byte(text[:at]), content[min(at, len(content)):]...)
				}
				if err := file.Close(); err != nil {
					t.Fatal(err)
				}
				if n%10 == 0 {
					h.untilValue(text)
				}
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			unsure := 0
			for _, r := range h.readings {
				switch got := string(r.Current.Value.Reveal()); {
				case whole[got]:
				case stood[got] < settle:
					t.Errorf("half of a value was reported: %d bytes, which stood for %s", len(got), stood[got])
				default:
					unsure++
				}
			}
			t.Logf("%d readings of %d writes; %d stood half-written for longer than %s", len(h.readings), writes, unsure, settle)
		})
	}
}

// Other files in the same folder may change as often as they like: that costs
// no look.
func TestOthersInTheFolderCostNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "salt")
	write(t, path, value(0))
	var looks atomic.Int64
	h := watch(t, eventsOnly(), nil, Secret{Name: "salt", File: path, Check: counting(&looks)})
	defer h.stop()
	h.untilValue(value(0))
	if err := h.Reread(t.Context()); err != nil { // the start has settled
		t.Fatal(err)
	}
	before := looks.Load()
	for n := range 500 {
		write(t, filepath.Join(dir, "other"), value(n))
	}
	write(t, path, value(1))
	h.untilValue(value(1)) // so all events before it have been heard
	if n := looks.Load() - before; n > 6 {
		t.Errorf("%d looks", n)
	}
}

// What takes the place of the file while it is watched must not block: neither
// the watcher nor its end.
func TestPipeInTheFilesPlace(t *testing.T) {
	threat.Covers(t, 59)
	path := filepath.Join(t.TempDir(), "salt")
	write(t, path, value(0))
	h := watch(t, eventsOnly(), nil, Secret{Name: "salt", File: path})
	defer h.stop()
	h.untilValue(value(0))
	for n := 1; n < 20; n++ {
		remove(t, path)
		fifo(t, path)
		h.until("trouble", func() bool { return len(h.troubles) > 0 && !h.troubles[len(h.troubles)-1].Over })
		remove(t, path)
		write(t, path, value(n))
		h.untilValue(value(n))
	}
}

// A watcher ends with its context, in the middle of whatever it does.
func TestEndsInTheMiddle(t *testing.T) {
	v := &volume{t: t, dir: t.TempDir()}
	for n := range 50 {
		v.swap(map[string]string{"salt": value(n)})
		h := watch(t, eventsOnly(), nil, Secret{Name: "salt", File: filepath.Join(v.dir, "salt")})
		v.swap(map[string]string{"salt": value(n + 1)})
		if n%2 == 0 {
			h.untilValue(value(n + 1))
			v.swap(map[string]string{"salt": value(n + 2)})
		}
		h.stop()
	}
}
