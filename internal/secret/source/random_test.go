package source

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/threat"
)

// Whatever happens to the files, in whatever order: only what was there, whole,
// is reported; trouble is said once and ends once; and when the files are good
// again, they are what is in use.
func TestAnythingMayHappen(t *testing.T) {
	threat.Covers(t, 59)
	for seed := range uint64(150) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) { anything(t, rand.New(rand.NewPCG(seed, 0)), dir) })
		})
	}
}

func anything(t *testing.T, random *rand.Rand, dir string) {
	paths := []string{filepath.Join(dir, "salt"), filepath.Join(dir, "salt_previous")}
	o := pollOnly
	o.Grace = 20 * time.Second
	h := watch(t, o, nil, Secret{Name: "salt", File: paths[0], Check: strong})
	defer h.stop()
	for n := range 60 {
		path := paths[random.IntN(2)]
		switch random.IntN(9) {
		case 0, 1:
			remove(t, path)
			renameOver(t, path, value(n))
		case 2: // in pieces, the second soon
			remove(t, path)
			write(t, path, value(n)[:40])
			time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
			write(t, path, value(n))
		case 3:
			remove(t, path)
		case 4:
			remove(t, path)
			write(t, path, "")
		case 5:
			remove(t, path)
			mkdir(t, path)
		case 6:
			remove(t, path)
			fifo(t, path)
		case 7:
			remove(t, path)
			symlink(t, paths[random.IntN(2)], path)
		case 8:
			ask := random.IntN(2) == 0
			if ask {
				go func() { _ = h.Reread(t.Context()) }()
			}
		}
		if random.IntN(2) == 0 {
			time.Sleep(time.Duration(random.IntN(30_000)) * time.Millisecond)
		}
	}
	for i, path := range paths {
		remove(t, path)
		write(t, path, value(1000-i))
	}
	time.Sleep(time.Minute)
	synctest.Wait()

	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.readings {
		if shown(r.Current) == "?" || r.Current.Value.Len() != len(value(0)) {
			t.Errorf("reported %d bytes that were half of a value", r.Current.Value.Len())
		}
		if r.Previous != nil && r.Previous.Value.Equal(r.Current.Value) {
			t.Error("the previous value is the current one")
		}
	}
	if last := h.readings[len(h.readings)-1]; shown(last.Current) != "1000" || last.Previous == nil || shown(*last.Previous) != "999" {
		t.Errorf("at the end it is %s", shown(last.Current))
	}
	standing := map[string]string{}
	for _, x := range h.troubles {
		before, now := standing[x.Path], string(x.Why)+x.Detail
		switch {
		case x.Why == Same:
		case x.Over && before != now:
			t.Errorf("%s ended, and was %q", x.Why, before)
		case x.Over:
			delete(standing, x.Path)
		case before == now:
			t.Errorf("%s was said twice", x.Why)
		default:
			standing[x.Path] = now
		}
	}
	if len(standing) != 0 || len(h.Troubles()) != 0 {
		t.Errorf("at the end there is %v", standing)
	}
}
