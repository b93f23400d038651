package fleettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"keyway/internal/fleet"
)

// RunBoard tests a kind of board. open makes one that is empty.
func RunBoard(t *testing.T, open func(t *testing.T) fleet.Board) {
	for _, tc := range []struct {
		name string
		test func(*testing.T, fleet.Board)
	}{
		{"nothing there is no error", nothingThere},
		{"set, get, set again", setAndGet},
		{"what is not at the revision conflicts", conflicts},
		{"a revision never comes back", noRevisionTwice},
		{"any name and any bytes", anyBytes},
		{"too much is refused", tooMuch},
		{"entries are apart", apart},
		{"one of many wins", oneWins},
		{"no update is lost", noneLost},
		{"a cancelled context is not an absence", cancelled},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.test(t, open(t)) })
	}
}

func get(t testing.TB, b fleet.Board, name string) (string, fleet.Revision) {
	t.Helper()
	value, revision, err := b.Get(t.Context(), name)
	if err != nil {
		t.Fatalf("get %q: %v", name, err)
	}
	return string(value), revision
}

func set(t testing.TB, b fleet.Board, name string, revision fleet.Revision, value string) fleet.Revision {
	t.Helper()
	next, err := b.CompareAndSet(t.Context(), name, revision, []byte(value))
	if err != nil {
		t.Fatalf("set %q at %q: %v", name, revision, err)
	}
	return next
}

func nothingThere(t *testing.T, b fleet.Board) {
	value, revision, err := b.Get(t.Context(), "nobody")
	if value != nil || revision != "" || err != nil {
		t.Errorf("%q at %q, %v", value, revision, err)
	}
}

func setAndGet(t *testing.T, b fleet.Board) {
	first := set(t, b, "a", "", "1")
	if value, revision := get(t, b, "a"); value != "1" || revision != first || len(first) != fleet.RevisionLen {
		t.Errorf("%q at %q, want 1 at %q", value, revision, first)
	}
	second := set(t, b, "a", first, "2")
	if value, revision := get(t, b, "a"); value != "2" || revision != second {
		t.Errorf("%q at %q, want 2 at %q", value, revision, second)
	}
}

func conflicts(t *testing.T, b fleet.Board) {
	first := set(t, b, "a", "", "1")
	second := set(t, b, "a", first, "2")
	for name, c := range map[string]struct {
		entry    string
		revision fleet.Revision
	}{
		"there already": {"a", ""},
		"moved on":      {"a", first},
		"never there":   {"b", first},
		"made up":       {"a", fleet.NewRevision()},
	} {
		next, err := b.CompareAndSet(t.Context(), c.entry, c.revision, []byte("x"))
		if !errors.Is(err, fleet.ErrConflict) || next != "" {
			t.Errorf("%s: %q, %v", name, next, err)
		}
	}
	if value, revision := get(t, b, "a"); value != "2" || revision != second {
		t.Errorf("it was changed: %q at %q", value, revision)
	}
	if _, err := b.CompareAndSet(t.Context(), "a", "short", nil); err == nil || errors.Is(err, fleet.ErrConflict) {
		t.Errorf("no revision at all: %v", err)
	}
}

func noRevisionTwice(t *testing.T, b fleet.Board) {
	seen := map[fleet.Revision]bool{"": true}
	revision := fleet.Revision("")
	for range 50 {
		revision = set(t, b, "a", revision, "the same")
		if seen[revision] {
			t.Fatalf("%q again", revision)
		}
		seen[revision] = true
	}
}

func anyBytes(t *testing.T, b fleet.Board) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, name := range []string{"a", "client-secret/idp", "../a", ".", "..", "a b\nc\x00", "é%2f", strings.Repeat("n", 100)} {
		for _, value := range []string{"", "\n", string(all), strings.Repeat("v", fleet.MaxValue)} {
			_, before := get(t, b, name)
			set(t, b, name, before, value)
			if got, _ := get(t, b, name); got != value {
				t.Fatalf("%q: %d bytes in, %d bytes out", name, len(value), len(got))
			}
		}
	}
	if _, err := b.CompareAndSet(t.Context(), "", "", nil); err == nil {
		t.Error("an entry without a name")
	}
}

func tooMuch(t *testing.T, b fleet.Board) {
	_, err := b.CompareAndSet(t.Context(), "a", "", bytes.Repeat([]byte("v"), fleet.MaxValue+1))
	if err == nil || errors.Is(err, fleet.ErrConflict) {
		t.Errorf("got %v", err)
	}
	nothingThere(t, b)
}

func apart(t *testing.T, b fleet.Board) {
	set(t, b, "a", "", "1")
	set(t, b, "b", "", "2")
	if value, _ := get(t, b, "a"); value != "1" {
		t.Errorf("got %q", value)
	}
}

func oneWins(t *testing.T, b fleet.Board) {
	for round := range 10 {
		name := fmt.Sprint("round ", round)
		var won atomic.Int32
		var group sync.WaitGroup
		for i := range 16 {
			group.Go(func() {
				_, err := b.CompareAndSet(t.Context(), name, "", fmt.Append(nil, i))
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, fleet.ErrConflict):
					t.Error(err)
				}
			})
		}
		group.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d of 16 won", won.Load())
		}
	}
}

func noneLost(t *testing.T, b fleet.Board) {
	const writers, each = 4, 25
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for done := 0; done < each; {
				value, revision, err := b.Get(t.Context(), "counter")
				if err != nil {
					t.Error(err)
					return
				}
				_, err = b.CompareAndSet(t.Context(), "counter", revision, append(value, '.'))
				switch {
				case err == nil:
					done++
				case !errors.Is(err, fleet.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	if value, _ := get(t, b, "counter"); len(value) != writers*each {
		t.Errorf("%d of %d updates are there", len(value), writers*each)
	}
}

func cancelled(t *testing.T, b fleet.Board) {
	set(t, b, "a", "", "1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if value, revision, err := b.Get(ctx, "a"); err == nil {
		t.Errorf("get: %q at %q", value, revision)
	}
	if _, err := b.CompareAndSet(ctx, "b", "", nil); err == nil || errors.Is(err, fleet.ErrConflict) {
		t.Errorf("set: %v", err)
	}
}
