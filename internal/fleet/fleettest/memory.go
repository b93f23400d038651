package fleettest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"keyway/internal/fleet"
)

// ErrCutOff is what a replica that is cut off gets.
var ErrCutOff = errors.New("fleettest: cut off from the store")

// Memory is a store in memory. Replicas reach it through a [Link] each. It goes by
// time.Now, which is the bubble's in a synctest.
type Memory struct {
	mu      sync.Mutex
	entries map[string]entry
	reports map[string]report
	since   time.Time
	ahead   time.Duration
	puts    int

	watchers fleet.Watchers
}

type entry struct {
	revision fleet.Revision
	value    []byte
}

type report struct {
	fleet.Entry
	keep time.Time
}

// NewMemory makes an empty store.
func NewMemory() *Memory {
	m := &Memory{}
	m.Empty()
	return m
}

// Empty forgets everything, as a Redis does that is started again without its
// data.
func (m *Memory) Empty() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries, m.reports, m.since = map[string]entry{}, map[string]report{}, time.Time{}
}

// Step sets the store's clock forward or back.
func (m *Memory) Step(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ahead += d
}

// Snapshot returns a function that puts the entries of the board back to what
// they are now, as a fail-over does that loses the last writes.
func (m *Memory) Snapshot() (restore func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	then := maps.Clone(m.entries)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.entries = maps.Clone(then)
	}
}

// Puts is how many reports were written so far.
func (m *Memory) Puts() int { m.mu.Lock(); defer m.mu.Unlock(); return m.puts }

// Link is one replica's way to the store: a fleet.Board and a fleet.Register.
func (m *Memory) Link() *Link { return &Link{store: m} }

// Link can be cut and slowed down. It is safe for concurrent use.
type Link struct {
	store *Memory

	mu      sync.Mutex
	request bool          // requests get lost
	answer  bool          // answers get lost, what they answer has happened
	delay   time.Duration // of requests
	late    time.Duration // of answers

	watchers fleet.Watchers // told when the link is mended
}

var (
	_ fleet.Board    = (*Link)(nil)
	_ fleet.Register = (*Link)(nil)
	_ fleet.Watcher  = (*Link)(nil)
)

// Cut loses every request, and Mend ends whatever was done to the link.
func (l *Link) Cut() { l.set(func() { l.request = true }) }

// LoseAnswers has requests take effect, and their answers get lost.
func (l *Link) LoseAnswers() { l.set(func() { l.answer = true }) }

// Delay has each request arrive that much later.
func (l *Link) Delay(d time.Duration) { l.set(func() { l.delay = d }) }

// DelayAnswers has each answer arrive that much later.
func (l *Link) DelayAnswers(d time.Duration) { l.set(func() { l.late = d }) }

// Mend makes the link as new, and tells those who watch that they may have missed
// something.
func (l *Link) Mend() {
	l.set(func() { l.request, l.answer, l.delay, l.late = false, false, 0, 0 })
	l.watchers.Tell("")
}

func (l *Link) set(do func()) { l.mu.Lock(); defer l.mu.Unlock(); do() }

// through has do happen in the store, or not.
func (l *Link) through(ctx context.Context, do func(*Memory) error) error {
	l.mu.Lock()
	request, answer, delay, late := l.request, l.answer, l.delay, l.late
	l.mu.Unlock()
	if err := wait(ctx, delay); err != nil {
		return err
	}
	if request {
		return ErrCutOff
	}
	l.store.mu.Lock()
	err := do(l.store)
	l.store.mu.Unlock()
	if answer {
		return ErrCutOff
	}
	if late := wait(ctx, late); late != nil {
		return late
	}
	return err
}

func wait(ctx context.Context, d time.Duration) error {
	if d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// Get implements fleet.Board.
func (l *Link) Get(ctx context.Context, name string) ([]byte, fleet.Revision, error) {
	var e entry
	if err := l.through(ctx, func(m *Memory) error { e = m.entries[name]; return nil }); err != nil {
		return nil, "", err
	}
	return slices.Clone(e.value), e.revision, nil
}

// CompareAndSet implements fleet.Board.
func (l *Link) CompareAndSet(ctx context.Context, name string, revision fleet.Revision, value []byte) (fleet.Revision, error) {
	if err := fleet.CheckEntry(name, revision, value); err != nil {
		return "", err
	}
	next, set := fleet.NewRevision(), false
	err := l.through(ctx, func(m *Memory) error {
		if m.entries[name].revision != revision {
			return fleet.ErrConflict
		}
		m.entries[name], set = entry{next, slices.Clone(value)}, true
		return nil
	})
	if set { // whether the answer arrives or not
		l.store.watchers.Tell(name)
	}
	if err != nil {
		return "", err
	}
	return next, nil
}

// Watch implements fleet.Watcher. It hears of what is set through any link, but
// for the time that this one is cut.
func (l *Link) Watch(fn func(name string)) (stop func()) {
	remove := l.store.watchers.Add(func(name string) {
		l.mu.Lock()
		cut := l.request || l.answer
		l.mu.Unlock()
		if !cut {
			fn(name)
		}
	})
	mended := l.watchers.Add(fn)
	return func() { remove(); mended() }
}

// Put implements fleet.Register.
func (l *Link) Put(ctx context.Context, id string, content []byte, live, keep time.Duration) (count int, err error) {
	err = l.through(ctx, func(m *Memory) error {
		now := time.Now().Add(m.ahead)
		if m.since.IsZero() {
			m.since = now
		}
		m.puts++
		e := fleet.Entry{ID: id, Seen: now, Until: now.Add(live), Report: slices.Clone(content)}
		m.reports[id] = report{e, e.Until.Add(keep)}
		maps.DeleteFunc(m.reports, func(_ string, r report) bool { return !now.Before(r.keep) })
		for _, r := range m.reports {
			if now.Before(r.Until) {
				count++
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return count, nil
}

// List implements fleet.Register.
func (l *Link) List(ctx context.Context) (listing fleet.Listing, err error) {
	err = l.through(ctx, func(m *Memory) error {
		listing = fleet.Listing{Now: time.Now().Add(m.ahead), Since: m.since}
		for _, r := range m.reports {
			listing.Entries = append(listing.Entries, r.Entry)
		}
		return nil
	})
	if err != nil {
		return fleet.Listing{}, err
	}
	return listing, nil
}
