package fleet

import (
	"slices"
	"sync"
)

// Watcher is a [Board] that says when it was changed. It is best effort: a lost
// word costs a poll.
type Watcher interface {
	// Watch has fn be told the name of each entry that is set, by whom ever the board
	// can hear of. The empty name says that any may have been: words may have been
	// lost. Several changes of one entry may be told once.
	//
	// fn is called by several goroutines, and must return soon; it may call the board
	// and stop. After stop no new call begins; one under way may still run.
	Watch(fn func(name string)) (stop func())
}

// Watchers are those who watch a board. They are for those who build one. The zero
// Watchers is nobody. It is safe for concurrent use.
type Watchers struct {
	mu  sync.Mutex
	all []*func(string)
}

// Add adds fn. The function that it returns removes it, and reports whether that
// left nobody; from the second call on it does nothing.
func (w *Watchers) Add(fn func(name string)) (remove func() (last bool)) {
	own := &fn
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, own)
	return func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		i := slices.Index(w.all, own)
		if i < 0 {
			return false
		}
		w.all = slices.Delete(w.all, i, i+1)
		return len(w.all) == 0
	}
}

// Tell calls everybody, one after the other.
func (w *Watchers) Tell(name string) {
	w.mu.Lock()
	all := slices.Clone(w.all)
	w.mu.Unlock()
	for _, fn := range all {
		w.mu.Lock()
		there := slices.Contains(w.all, fn)
		w.mu.Unlock()
		if there {
			(*fn)(name)
		}
	}
}
