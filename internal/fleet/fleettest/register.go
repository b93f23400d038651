package fleettest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/fleet"
)

// patience bounds waiting for what should happen soon.
const patience = 10 * time.Second

// long is longer than a test.
const long = time.Hour

// RunRegister tests a kind of register. open makes one that is empty.
func RunRegister(t *testing.T, open func(t *testing.T) fleet.Register) {
	for _, tc := range []struct {
		name string
		test func(*testing.T, fleet.Register)
	}{
		{"nobody yet", nobody},
		{"the last word stays", lastWord},
		{"times are by one clock", oneClock},
		{"who is silent is no longer live", silent},
		{"who leaves is not live, and remembered", leaves},
		{"who is long gone is forgotten", forgotten},
		{"any id and any bytes", anyReport},
		{"many at once", manyAtOnce},
		{"a cancelled context is not an absence", cancelledRegister},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.test(t, open(t)) })
	}
}

// Eventually waits until ok, and fails the test if that takes too long.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if ok() {
			return
		}
		<-time.After(2 * time.Millisecond)
	}
	t.Fatalf("not within %v: %s", patience, what)
}

func say(t testing.TB, r fleet.Register, id, report string, live, keep time.Duration) int {
	t.Helper()
	n, err := r.Put(t.Context(), id, []byte(report), live, keep)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func list(t testing.TB, r fleet.Register) fleet.Listing {
	t.Helper()
	l, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(l.Entries, func(a, b fleet.Entry) int { return strings.Compare(a.ID, b.ID) })
	return l
}

func words(l fleet.Listing) string {
	var all []string
	for _, e := range l.Entries {
		all = append(all, e.ID+"="+string(e.Report))
	}
	return strings.Join(all, " ")
}

func nobody(t *testing.T, r fleet.Register) {
	if l := list(t, r); len(l.Entries) != 0 || !l.Since.IsZero() || l.Now.IsZero() {
		t.Errorf("got %+v", l)
	}
}

func lastWord(t *testing.T, r fleet.Register) {
	for i, c := range []struct {
		id, report string
		count      int
		all        string
	}{
		{"a", "1", 1, "a=1"}, {"b", "1", 2, "a=1 b=1"}, {"a", "2", 2, "a=2 b=1"}, {"a", "3", 2, "a=3 b=1"},
	} {
		if n := say(t, r, c.id, c.report, long, long); n != c.count {
			t.Errorf("%d: %d are live, want %d", i, n, c.count)
		}
		if got := words(list(t, r)); got != c.all {
			t.Errorf("%d: %s, want %s", i, got, c.all)
		}
	}
}

func entryOf(l fleet.Listing, id string) fleet.Entry {
	for _, e := range l.Entries {
		if e.ID == id {
			return e
		}
	}
	return fleet.Entry{}
}

func oneClock(t *testing.T, r fleet.Register) {
	before := list(t, r).Now
	say(t, r, "a", "", 90*time.Second, long)
	say(t, r, "b", "", 90*time.Second, long)
	l := list(t, r)
	a, b := entryOf(l, "a"), entryOf(l, "b")
	if a.Seen.Before(before) || b.Seen.Before(a.Seen) || l.Now.Before(b.Seen) {
		t.Errorf("out of order: %v, %v, %v, %v", before, a.Seen, b.Seen, l.Now)
	}
	if d := a.Until.Sub(a.Seen); d != 90*time.Second {
		t.Errorf("counts as live for %v", d)
	}
	if l.Since.Before(before.Add(-time.Second)) || l.Since.After(a.Seen) {
		t.Errorf("began at %v; the first word was at %v", l.Since, a.Seen)
	}
	say(t, r, "a", "", long, long)
	again := list(t, r)
	if then := entryOf(again, "a").Seen; !again.Since.Equal(l.Since) || then.Before(a.Seen) || again.Now.Before(then) {
		t.Errorf("then: since %v, seen %v", again.Since, then)
	}
}

func silent(t *testing.T, r fleet.Register) {
	say(t, r, "a", "1", 50*time.Millisecond, long)
	Eventually(t, "a is not counted", func() bool { return say(t, r, "b", "1", long, long) == 1 })
	l := list(t, r)
	if words(l) != "a=1 b=1" {
		t.Fatalf("got %s", words(l))
	}
	if l.Now.Before(l.Entries[0].Until) || !l.Now.Before(l.Entries[1].Until) {
		t.Errorf("at %v, a is live until %v, b until %v", l.Now, l.Entries[0].Until, l.Entries[1].Until)
	}
	if n := say(t, r, "a", "2", long, long); n != 2 {
		t.Errorf("back again, %d are live", n)
	}
}

func leaves(t *testing.T, r fleet.Register) {
	say(t, r, "a", "1", long, long)
	say(t, r, "b", "1", long, long)
	if n := say(t, r, "a", "2", 0, long); n != 1 {
		t.Errorf("%d are live", n)
	}
	l := list(t, r)
	if words(l) != "a=2 b=1" || !l.Entries[0].Until.Equal(l.Entries[0].Seen) {
		t.Errorf("got %+v", l)
	}
}

func forgotten(t *testing.T, r fleet.Register) {
	say(t, r, "a", "1", 0, 30*time.Millisecond)
	say(t, r, "b", "1", 0, long)
	Eventually(t, "a is forgotten", func() bool {
		say(t, r, "c", "1", long, long)
		return words(list(t, r)) == "b=1 c=1"
	})
}

func anyReport(t *testing.T, r fleet.Register) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	say(t, r, "../a|1\n", string(all), long, long)
	l := list(t, r)
	if len(l.Entries) != 1 || l.Entries[0].ID != "../a|1\n" || string(l.Entries[0].Report) != string(all) {
		t.Errorf("got %+v", l)
	}
}

func manyAtOnce(t *testing.T, r fleet.Register) {
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() { say(t, r, fmt.Sprint("r", i), "x", long, long) })
	}
	group.Wait()
	if l := list(t, r); len(l.Entries) != 20 {
		t.Errorf("%d of 20 are there", len(l.Entries))
	}
}

func cancelledRegister(t *testing.T, r fleet.Register) {
	say(t, r, "a", "1", long, long)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if l, err := r.List(ctx); err == nil {
		t.Errorf("list: %+v", l)
	}
	if _, err := r.Put(ctx, "a", nil, long, long); err == nil {
		t.Error("put: no error")
	}
}
