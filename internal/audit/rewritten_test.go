package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// numbered reads lines by the numbers that they say they have, as a Folder and Redis
// do, where some may be missing between them.
type numbered struct{ *store }

func (s numbered) Read(_ context.Context, from uint64, most int) (first uint64, lines [][]byte, err error) {
	m := s.Memory
	m.mu.Lock()
	defer m.mu.Unlock()
	first = from
	for _, line := range m.lines {
		if SeqOf(line) < from || len(lines) == most {
			continue
		}
		if len(lines) == 0 {
			first = SeqOf(line)
		}
		lines = append(lines, line)
	}
	return first, lines, nil
}

// put makes the store what somebody writes into it who has no key.
func (s *store) put(first uint64, lines [][]byte, head Head) {
	m := s.Memory
	m.mu.Lock()
	defer m.mu.Unlock()
	m.first, m.lines, m.head = first, lines, head
}

// forged is a chain of somebody else.
func forged(t *testing.T, after Head, n int, e Event) ([][]byte, Head) {
	t.Helper()
	var lines [][]byte
	for i := range n {
		e.ID = fmt.Sprintf("forged/%d", i)
		entry, err := Encode(after, e)
		if err != nil {
			t.Fatal(err)
		}
		lines, after = append(lines, entry.Line), Head{Seq: entry.Seq, Hash: entry.Hash()}
	}
	return lines, after
}

// Who can write to the store, and has no key, must not get a chain past a replica
// that has seen another one, however it is made to look.
func TestWhatIsRewrittenWhileSomebodyLooks(t *testing.T) {
	other := Head{Seq: 4, Hash: HashLine([]byte("another"))}
	for name, attack := range map[string]func(t *testing.T, log *store, lines [][]byte, head Head){
		"anew, and much longer": func(t *testing.T, log *store, _ [][]byte, _ Head) {
			lines, head := forged(t, Head{}, 2*recent, ev(""))
			log.put(1, lines, head)
		},
		"a head that is far ahead, and no lines": func(_ *testing.T, log *store, _ [][]byte, head Head) {
			log.put(1, nil, Head{Seq: 1 << 40, Hash: head.Hash})
		},
		"a head that is far ahead of the lines": func(_ *testing.T, log *store, lines [][]byte, head Head) {
			log.put(1, lines, Head{Seq: 1 << 40, Hash: head.Hash})
		},
		"all taken away as if it were old": func(t *testing.T, log *store, _ [][]byte, _ Head) {
			lines, head := forged(t, other, 1, Event{At: time.Now(), Type: TypeDropped, Data: json.RawMessage(`{"before":5,"hash":"` + other.Hash + `"}`)})
			log.put(5, lines, head)
		},
		"the last ones taken away, and the head kept": func(_ *testing.T, log *store, lines [][]byte, head Head) {
			log.put(1, lines[:2], head)
		},
		"the last one changed, and the head kept": func(_ *testing.T, log *store, lines [][]byte, head Head) {
			changed := clone(lines)
			changed[3] = []byte(strings.Replace(string(changed[3]), TypeAsked, TypeEnded, 1))
			log.put(1, changed, head)
		},
	} {
		t.Run(name, func(t *testing.T) {
			log := newStore()
			var cuts atomic.Int32
			r := recorder(t, Options{Log: numbered{log}, Observe: Observe{Cut: func() { cuts.Add(1) }}})
			add(t, r, "a", "b", "c", "d")
			head, _ := log.Head(t.Context())
			_, lines, _ := log.Read(t.Context(), 1, MaxRead)
			attack(t, log, clone(lines), head)
			for range 3 {
				if err := r.chain.append(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
			}
			end, _ := log.Head(t.Context())
			_, after, _ := numbered{log}.Read(t.Context(), end.Seq-min(end.Seq-1, 5), 10)
			told := 0
			for _, line := range after {
				if peek(line).Type == TypeCut {
					told++
				}
			}
			if cuts.Load() != 1 || told != 1 {
				t.Errorf("%d cuts were noticed, %d are in the chain", cuts.Load(), told)
			}
		})
	}
}

// What is old may go while nobody looks, and the next entry says so by its prev.
func TestTheLastSeenMayHaveBeenDropped(t *testing.T) {
	log := newStore()
	cuts := 0
	idle := recorder(t, Options{Log: log, Observe: Observe{Cut: func() { cuts++ }}})
	add(t, idle, "a", "b")
	add(t, recorder(t, Options{Log: log}), "c", "d")
	if err := log.Drop(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if err := idle.chain.append(t.Context(), nil); err != nil || cuts != 0 {
		t.Errorf("%v, %d cuts", err, cuts)
	}
}

// A signature says that a replica has seen the chain go on.
func TestAHeadThatNobodyHasLookedAtIsNotSigned(t *testing.T) {
	log, k := newStore(), newKey(t)
	r := recorder(t, Options{
		Log: log, KeyID: k.KeyID, Sign: func(claims any, typ string) (string, error) { return k.Sign(claims, typ, nil) },
	})
	add(t, r, "a", "b")
	lines, head := forged(t, Head{}, 3, ev(""))
	log.put(1, lines, head)
	if err := r.chain.sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _ := log.Head(t.Context()); got.Signature != "" {
		t.Errorf("signed: %+v", got)
	}
}

// Who makes entries look old must not have us remove them, and attest it.
func TestWhatOnlyLooksOldIsNotDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newStore()
		r := recorder(t, Options{Log: log, Retention: 24 * time.Hour, Leads: func(context.Context) bool { return true }})
		for i := range 6 {
			if err := r.Append(t.Context(), Event{ID: fmt.Sprint(i), Type: TypeAsked}); err != nil {
				t.Fatal(err)
			}
		}
		head, _ := log.Head(t.Context())
		_, lines, _ := log.Read(t.Context(), 1, MaxRead)
		old, _ := forged(t, Head{}, 4, Event{At: time.Now().Add(-1000 * time.Hour), Type: TypeAsked})
		log.put(1, append(old, clone(lines)[4:]...), head)
		if err := r.dropBefore(t.Context(), time.Now().Add(-24*time.Hour)); err == nil || !strings.Contains(err.Error(), "entry 5 does not follow") {
			t.Errorf("%v", err)
		}
		if _, left, _ := log.Read(t.Context(), 1, MaxRead); len(left) != 6 {
			t.Errorf("%d entries are left of 6", len(left))
		}
		// As time goes on, that place is among what is old, and is dropped with it.
		time.Sleep(48 * time.Hour)
		if err := r.Append(t.Context(), Event{ID: "last", Type: TypeAsked}); err != nil {
			t.Fatal(err)
		}
		if err := r.dropBefore(t.Context(), time.Now().Add(-24*time.Hour)); err != nil {
			t.Error(err)
		}
		if first, _, _ := log.Read(t.Context(), 1, MaxRead); first != 7 {
			t.Errorf("it begins with entry %d, expected 7", first)
		}
	})
}
