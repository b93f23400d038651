package logtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"keyway/internal/audit"
)

// Run tests a kind of log. open makes one that is empty.
func Run(t *testing.T, open func(t *testing.T) audit.Log) {
	for _, tc := range []struct {
		name string
		test func(*testing.T, audit.Log)
	}{
		{"empty", empty},
		{"what is added is read, byte for byte", added},
		{"reads are bounded", bounded},
		{"another head conflicts", conflicts},
		{"what does not follow is refused", refused},
		{"a head is signed anew", signedAnew},
		{"the oldest are dropped", dropped},
		{"it goes on after a drop", afterDrop},
		{"of many who add at once, none is lost", many},
		{"a cancelled context is not an absence", cancelled},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.test(t, open(t)) })
	}
}

// Lines are n lines after a head, and the next head.
func Lines(t testing.TB, after audit.Head, n int) ([][]byte, audit.Head) {
	t.Helper()
	var lines [][]byte
	for range n {
		e, err := audit.Encode(after, audit.Event{
			ID: fmt.Sprint("e", after.Seq+1), Type: audit.TypeAsked, At: time.Date(2026, 1, 1, 0, 0, int(after.Seq), 0, time.UTC), Detail: "ä <\u2028> \x00",
		})
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, e.Line)
		after = audit.Head{Seq: e.Seq, Hash: e.Hash()}
	}
	return lines, after
}

// Add appends n lines.
func Add(t testing.TB, log audit.Log, n int) [][]byte {
	t.Helper()
	var all [][]byte
	for n > 0 {
		now := min(n, audit.MaxAppend)
		head := Head(t, log)
		lines, next := Lines(t, head, now)
		next.Signature = fmt.Sprint("signature of ", next.Seq)
		if err := log.Append(t.Context(), head, lines, next); err != nil {
			t.Fatal(err)
		}
		n -= now
		all = append(all, lines...)
	}
	return all
}

// Head is the log's.
func Head(t testing.TB, log audit.Log) audit.Head {
	t.Helper()
	head, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// All is everything that is kept, and the seq of the first.
func All(t testing.TB, log audit.Log) (first uint64, all [][]byte) {
	t.Helper()
	for from := uint64(0); ; {
		at, lines, err := log.Read(t.Context(), from, audit.MaxRead)
		if err != nil {
			t.Fatal(err)
		}
		if len(lines) == 0 {
			return first, all
		}
		if all == nil {
			first = at
		}
		all = append(all, lines...)
		from = audit.SeqOf(lines[len(lines)-1]) + 1
	}
}

func expect(t testing.TB, log audit.Log, from uint64, want [][]byte) {
	t.Helper()
	first, got := All(t, log)
	if len(want) == 0 && len(got) == 0 {
		return
	}
	if first != from || !bytes.Equal(bytes.Join(got, []byte("\n")), bytes.Join(want, []byte("\n"))) {
		t.Errorf("expected %d lines from %d on, found %d from %d on", len(want), from, len(got), first)
	}
}

func empty(t *testing.T, log audit.Log) {
	if head := Head(t, log); head != (audit.Head{}) {
		t.Errorf("head: %+v", head)
	}
	if _, lines, err := log.Read(t.Context(), 0, 10); len(lines) > 0 || err != nil {
		t.Errorf("%d lines, %v", len(lines), err)
	}
	if to, err := log.Droppable(t.Context(), 10); to != 1 || err != nil {
		t.Errorf("droppable to %d, %v", to, err)
	}
	if err := log.Drop(t.Context(), 10); err != nil {
		t.Error(err)
	}
}

func added(t *testing.T, log audit.Log) {
	want := append(Add(t, log, 1), Add(t, log, 3)...)
	expect(t, log, 1, want)
	head := Head(t, log)
	if head.Seq != 4 || head.Hash != audit.HashLine(want[3]) || head.Signature != "signature of 4" {
		t.Errorf("head: %+v", head)
	}
	for from := uint64(1); from <= 6; from++ {
		first, lines, err := log.Read(t.Context(), from, 2)
		if err != nil || len(lines) != min(2, max(0, 5-int(from))) {
			t.Errorf("from %d: %d lines, %v", from, len(lines), err)
		}
		if len(lines) > 0 && (first != from || !bytes.Equal(lines[0], want[from-1])) {
			t.Errorf("from %d: begins at %d: %s", from, first, lines[0])
		}
	}
}

func bounded(t *testing.T, log audit.Log) {
	want := Add(t, log, audit.MaxRead+150)
	expect(t, log, 1, want)
	_, lines, err := log.Read(t.Context(), 1, 1<<30)
	if err != nil || len(lines) > audit.MaxRead || len(lines) == 0 {
		t.Errorf("%d lines, %v", len(lines), err)
	}
}

func conflicts(t *testing.T, log audit.Log) {
	want := Add(t, log, 2)
	head := Head(t, log)
	for name, after := range map[string]audit.Head{
		"empty": {}, "an earlier one": {Seq: 1, Hash: audit.HashLine(want[0])}, "a later one": {Seq: 3, Hash: head.Hash},
		"another hash": {Seq: 2, Hash: audit.HashLine(nil)},
	} {
		lines, next := Lines(t, after, 1)
		if err := log.Append(t.Context(), after, lines, next); !errors.Is(err, audit.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
		if err := log.Append(t.Context(), after, nil, after); !errors.Is(err, audit.ErrConflict) {
			t.Errorf("%s, signed anew: %v", name, err)
		}
	}
	expect(t, log, 1, want)
	if got := Head(t, log); got != head {
		t.Errorf("head: %+v", got)
	}
}

func refused(t *testing.T, log audit.Log) {
	lines, next := Lines(t, audit.Head{}, 2)
	many, end := Lines(t, audit.Head{}, audit.MaxAppend+1)
	for name, err := range map[string]error{
		"one that is not next":  log.Append(t.Context(), audit.Head{}, lines[1:], next),
		"another head":          log.Append(t.Context(), audit.Head{}, lines, audit.Head{Seq: 2, Hash: audit.HashLine(nil)}),
		"a head without a line": log.Append(t.Context(), audit.Head{}, nil, next),
		"a line's end":          log.Append(t.Context(), audit.Head{}, [][]byte{append(bytes.Clone(lines[0]), '\n')}, next),
		"too many":              log.Append(t.Context(), audit.Head{}, many, end),
	} {
		if err == nil || errors.Is(err, audit.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	empty(t, log)
}

func signedAnew(t *testing.T, log audit.Log) {
	want := Add(t, log, 2)
	head := Head(t, log)
	head.Signature = "another"
	if err := log.Append(t.Context(), head, nil, head); err != nil {
		t.Fatal(err)
	}
	if got := Head(t, log); got != head {
		t.Errorf("head: %+v", got)
	}
	expect(t, log, 1, want)
	// Whoever read the head before may go on: the signature is no part of it.
	lines, next := Lines(t, audit.Head{Seq: 2, Hash: head.Hash}, 1)
	if err := log.Append(t.Context(), audit.Head{Seq: 2, Hash: head.Hash, Signature: "signature of 2"}, lines, next); err != nil {
		t.Error(err)
	}
}

func dropped(t *testing.T, log audit.Log) {
	want := Add(t, log, 30)
	head := Head(t, log)
	for _, before := range []uint64{0, 1, 12, 5, 29} {
		to, err := log.Droppable(t.Context(), before)
		if err != nil {
			t.Fatal(err)
		}
		if err := log.Drop(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		first, _ := All(t, log)
		if to != first || first > max(first, before) {
			t.Errorf("before %d: %d was promised, and it begins at %d", before, to, first)
		}
		expect(t, log, first, want[first-1:])
	}
	// The last is never dropped.
	if err := log.Drop(t.Context(), 1000); err != nil {
		t.Fatal(err)
	}
	if _, left := All(t, log); len(left) == 0 || !bytes.Equal(left[len(left)-1], want[29]) {
		t.Errorf("%d are left", len(left))
	}
	if got := Head(t, log); got != head {
		t.Errorf("head: %+v", got)
	}
}

func afterDrop(t *testing.T, log audit.Log) {
	Add(t, log, 10)
	if err := log.Drop(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	Add(t, log, 3)
	first, lines := All(t, log)
	if got := audit.SeqOf(lines[len(lines)-1]); got != 13 || uint64(len(lines)) != 14-first {
		t.Errorf("%d lines from %d on, the last is %d", len(lines), first, got)
	}
}

func many(t *testing.T, log audit.Log) {
	const writers, each = 4, 10
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for done := 0; done < each; {
				head, err := log.Head(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				lines, next := Lines(t, head, 1)
				err = log.Append(t.Context(), head, lines, next)
				if err == nil {
					done++
				} else if !errors.Is(err, audit.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	_, lines := All(t, log)
	head := Head(t, log)
	if r := audit.Check(lines, audit.CheckOptions{Head: &head, Whole: true}); !r.OK || r.Entries != writers*each {
		t.Errorf("%+v", r)
	}
}

func cancelled(t *testing.T, log audit.Log) {
	Add(t, log, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if head, err := log.Head(ctx); err == nil {
		t.Errorf("head: %+v", head)
	}
	if _, lines, err := log.Read(ctx, 1, 1); err == nil {
		t.Errorf("%d lines", len(lines))
	}
	head := Head(t, log)
	lines, next := Lines(t, head, 1)
	if err := log.Append(ctx, head, lines, next); err == nil || errors.Is(err, audit.ErrConflict) {
		t.Errorf("append: %v", err)
	}
}
