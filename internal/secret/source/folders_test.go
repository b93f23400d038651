package source

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keyway/internal/threat"
)

// A tree is removed between the moment in which its trail is read and the moment
// in which the watch on it is looked after. The same folders are wanted as
// before, none of them is watched, and whoever believes that nothing changed
// hears no more.
func TestFolderThatVanishesWhileItIsArmed(t *testing.T) {
	threat.Covers(t, 59)
	top := filepath.Join(t.TempDir(), "a")
	path := filepath.Join(top, "b", "c", "salt")
	mkdir(t, filepath.Dir(path))
	write(t, path, value(1))
	n := newNotifier(slog.New(slog.DiscardHandler))
	defer n.close()
	want := names{}
	want.trail(path)
	if !n.arm(want) {
		t.Fatal("the first watch is no news")
	}
	if n.arm(want) {
		t.Fatal("the same watch is news")
	}

	remove(t, top)
	for range 2 { // each time: it has yet to be found where to look instead
		if !n.arm(want) {
			t.Error("nothing is watched, and that is no news")
		}
	}
	mkdir(t, filepath.Dir(path))
	if !n.arm(want) {
		t.Error("a watch on another folder of that name is no news")
	}
	write(t, path, value(2))
	deadline := time.After(30 * time.Second)
	for heard := false; !heard; {
		select {
		case e := <-n.events():
			heard = e.Name == path
		case <-deadline:
			t.Fatal("the folder that was made again is not heard of")
		}
	}
}

// A folder that can't be watched, and stays like that, is left to polling: it is
// said once, and costs no look after look.
func TestFolderThatCannotBeWatched(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "salt"), value(1))
	var logs bytes.Buffer
	n := newNotifier(slog.New(slog.NewTextHandler(&logs, nil)))
	n.close() // every watch is refused from now on
	want := names{}
	want.trail(filepath.Join(dir, "salt"))
	n.arm(want)
	for range 3 {
		if n.arm(want) {
			t.Error("it is looked for again and again")
		}
	}
	if said := strings.Count(logs.String(), "at the next poll only"); said != 1 {
		t.Errorf("it is said %d times", said)
	}
}
