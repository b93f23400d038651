package fleettest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"keyway/internal/fleet"
)

// WatchedBoard is what RunWatcher tests.
type WatchedBoard interface {
	fleet.Board
	fleet.Watcher
}

// RunWatcher tests what a kind of board says of its changes. open makes one that
// is empty.
func RunWatcher(t *testing.T, open func(t *testing.T) WatchedBoard) {
	for _, tc := range []struct {
		name string
		test func(*testing.T, WatchedBoard)
	}{
		{"what is set is told", setIsTold},
		{"any name is told", anyNameIsTold},
		{"what is refused is not told", refusedIsNotTold},
		{"who has stopped is not told", stoppedIsNotTold},
		{"who is told may use the board", toldUsesTheBoard},
		{"who is told may stop", toldStops},
		{"watching again", watchAgain},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.test(t, open(t)) })
	}
}

// Ear is a watcher that remembers. It is safe for concurrent use.
type Ear struct {
	mu    sync.Mutex
	heard map[string]int
}

// Hear is for Watch.
func (e *Ear) Hear(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.heard == nil {
		e.heard = map[string]int{}
	}
	e.heard[name]++
}

// Heard is how often it was told of name.
func (e *Ear) Heard(name string) int { e.mu.Lock(); defer e.mu.Unlock(); return e.heard[name] }

// SetUntil sets the entry again and again until ok: the first words may be said
// before a board that was just asked to listen does.
func SetUntil(t testing.TB, b fleet.Board, name string, ok func() bool) {
	t.Helper()
	Eventually(t, "setting "+name+" is told", func() bool {
		_, revision := get(t, b, name)
		set(t, b, name, revision, "x")
		return ok()
	})
}

func setIsTold(t *testing.T, b WatchedBoard) {
	var ears [3]Ear
	for i := range ears {
		defer b.Watch(ears[i].Hear)()
	}
	for _, name := range []string{"a", "b", "a"} {
		for i := range ears {
			before := ears[i].Heard(name)
			SetUntil(t, b, name, func() bool { return ears[i].Heard(name) > before })
		}
	}
}

func anyNameIsTold(t *testing.T, b WatchedBoard) {
	var ear Ear
	defer b.Watch(ear.Hear)()
	for _, name := range []string{"client-secret/idp", "../a", "a b\nc\x00", "é%2f\xff"} {
		SetUntil(t, b, name, func() bool { return ear.Heard(name) > 0 })
	}
}

func refusedIsNotTold(t *testing.T, b WatchedBoard) {
	var ear Ear
	defer b.Watch(ear.Hear)()
	SetUntil(t, b, "a", func() bool { return ear.Heard("a") > 0 })
	if _, err := b.CompareAndSet(t.Context(), "refused", fleet.NewRevision(), nil); !errors.Is(err, fleet.ErrConflict) {
		t.Fatal(err)
	}
	SetUntil(t, b, "b", func() bool { return ear.Heard("b") > 0 })
	if ear.Heard("refused") > 0 {
		t.Error("told of what was not set")
	}
}

func stoppedIsNotTold(t *testing.T, b WatchedBoard) {
	var stays, goes Ear
	stop := b.Watch(goes.Hear)
	defer b.Watch(stays.Hear)()
	SetUntil(t, b, "a", func() bool { return stays.Heard("a") > 0 && goes.Heard("a") > 0 })
	stop()
	stop()
	SetUntil(t, b, "after", func() bool { return stays.Heard("after") > 0 })
	if goes.Heard("after") > 0 {
		t.Error("told after it had stopped")
	}
}

func toldUsesTheBoard(t *testing.T, b WatchedBoard) {
	var ear Ear
	defer b.Watch(func(name string) {
		if _, _, err := b.Get(context.Background(), "a"); err != nil {
			t.Error(err)
		}
		if name == "a" {
			_, _ = b.CompareAndSet(context.Background(), "answer", "", nil) // the first one succeeds
		}
		ear.Hear(name)
	})()
	SetUntil(t, b, "a", func() bool { return ear.Heard("a") > 0 })
	Eventually(t, "what was set from within is told", func() bool { return ear.Heard("answer") > 0 })
}

func toldStops(t *testing.T, b WatchedBoard) {
	var once, stays Ear
	defer b.Watch(stays.Hear)()
	var stop func()
	var ready sync.WaitGroup
	ready.Add(1)
	stop = b.Watch(func(name string) {
		ready.Wait()
		if name == "a" {
			stop()
		}
		once.Hear(name)
	})
	ready.Done()
	SetUntil(t, b, "a", func() bool { return once.Heard("a") > 0 })
	SetUntil(t, b, "after", func() bool { return stays.Heard("after") > 0 })
	if once.Heard("after") > 0 {
		t.Error("told after it had stopped")
	}
}

func watchAgain(t *testing.T, b WatchedBoard) {
	for range 5 {
		var ear Ear
		stop := b.Watch(ear.Hear)
		SetUntil(t, b, "a", func() bool { return ear.Heard("a") > 0 })
		stop()
	}
}
