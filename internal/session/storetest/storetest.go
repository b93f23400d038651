package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/session"
	"keyway/internal/threat"
)

// patience bounds waiting for what should happen at once.
const patience = 10 * time.Second

// Run tests a kind of store. open makes a store that is empty and closed at the
// end of the test that it is given.
func Run(t *testing.T, open func(t *testing.T) session.Store) {
	for _, tc := range []struct {
		name string
		test func(*testing.T, session.Store)
	}{
		{"create, get, delete", createGetDelete},
		{"create does not overwrite", createTwice},
		{"replace compares", replaceCompares},
		{"replace can't bring back what was deleted", replaceAfterDelete},
		{"replace keeps the expiry", replaceKeepsExpiry},
		{"one of many replaces wins", replaceConcurrently},
		{"items expire", itemsExpire},
		{"extend moves the expiry both ways", extend},
		{"extend finds nothing that expired", extendExpired},
		{"any bytes", anyBytes},
		{"count", count},
		{"heads of all that lives", heads},
		{"heads miss nothing that changes", headsUnderChange},
		{"a cancelled context is not an absence", cancelled},
		{"a closed store is not an absence", closed},
		{"changes are told", changes},
		{"a listener that stopped hears nothing", listenerStops},
		{"groups have who joined", groupMembers},
		{"members leave when their time is over", memberExpires},
		{"joining again counts", joinAgain},
		{"a group of thousands", manyMembers},
		{"who join at once are all there", joinConcurrently},
		{"leases have one owner", leases},
		{"leases say who has them", holders},
		{"leases expire", leaseExpires},
		{"one of many claims wins", claimConcurrently},
		{"a refresh that failed is everybody's failure", failedRefresh},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.test(t, open(t)) })
	}
}

// NewKey is a key that no other test has.
func NewKey() (k session.Key) {
	rand.Read(k[:])
	return k
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

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got %v, want %v", what, err, want)
	}
}

func createGetDelete(t *testing.T, s session.Store) {
	ctx, k := t.Context(), NewKey()
	_, err := s.Get(ctx, k)
	wantErr(t, "Get before Create", err, session.ErrNotFound)
	made := must[session.Item](t)(s.Create(ctx, k, []byte("one"), time.Minute))
	got := must[session.Item](t)(s.Get(ctx, k))
	if string(got.Data) != "one" || got.Revision != made.Revision {
		t.Errorf("Get = %q, revision %d; want what Create said, revision %d", got.Data, got.Revision, made.Revision)
	}
	for what, it := range map[string]session.Item{"Create": made, "Get": got} {
		if left := time.Until(it.Expires); left < 50*time.Second || left > time.Minute+time.Second {
			t.Errorf("%s: expires in %v, want about a minute", what, left)
		}
	}
	if err := s.Delete(ctx, k); err != nil {
		t.Fatal(err)
	}
	_, err = s.Get(ctx, k)
	wantErr(t, "Get after Delete", err, session.ErrNotFound)
	if err := s.Delete(ctx, k); err != nil {
		t.Errorf("a second Delete: %v", err)
	}
}

func createTwice(t *testing.T, s session.Store) {
	ctx, k := t.Context(), NewKey()
	must[session.Item](t)(s.Create(ctx, k, []byte("one"), time.Minute))
	_, err := s.Create(ctx, k, []byte("two"), time.Minute)
	wantErr(t, "Create again", err, session.ErrExists)
	if got := must[session.Item](t)(s.Get(ctx, k)); string(got.Data) != "one" {
		t.Errorf("the second Create left %q", got.Data)
	}
}

func replaceCompares(t *testing.T, s session.Store) {
	ctx, k := t.Context(), NewKey()
	first := must[session.Item](t)(s.Create(ctx, k, []byte("one"), time.Minute))
	second := must[session.Item](t)(s.Replace(ctx, k, first.Revision, []byte("two")))
	if second.Revision == first.Revision {
		t.Error("Replace did not change the revision")
	}
	if string(second.Data) != "two" {
		t.Errorf("Replace returned %q", second.Data)
	}
	_, err := s.Replace(ctx, k, first.Revision, []byte("three"))
	wantErr(t, "Replace of an old revision", err, session.ErrConflict)
	if got := must[session.Item](t)(s.Get(ctx, k)); string(got.Data) != "two" || got.Revision != second.Revision {
		t.Errorf("Get = %q, revision %d; want two, %d", got.Data, got.Revision, second.Revision)
	}
}

func replaceAfterDelete(t *testing.T, s session.Store) {
	threat.Covers(t, 53)
	ctx, k := t.Context(), NewKey()
	it := must[session.Item](t)(s.Create(ctx, k, []byte("one"), time.Minute))
	if err := s.Delete(ctx, k); err != nil {
		t.Fatal(err)
	}
	_, err := s.Replace(ctx, k, it.Revision, []byte("two"))
	wantErr(t, "Replace after Delete", err, session.ErrNotFound)
	wantErr(t, "Extend after Delete", s.Extend(ctx, k, time.Minute), session.ErrNotFound)
	_, err = s.Get(ctx, k)
	wantErr(t, "Get", err, session.ErrNotFound)
}

func replaceKeepsExpiry(t *testing.T, s session.Store) {
	threat.Covers(t, 28)
	ctx, k := t.Context(), NewKey()
	it := must[session.Item](t)(s.Create(ctx, k, []byte("one"), time.Minute))
	replaced := must[session.Item](t)(s.Replace(ctx, k, it.Revision, []byte("two")))
	got := must[session.Item](t)(s.Get(ctx, k))
	for what, e := range map[string]time.Time{"Replace": replaced.Expires, "Get": got.Expires} {
		if d := e.Sub(it.Expires); d < -time.Second || d > time.Second {
			t.Errorf("%s: the expiry moved by %v", what, d)
		}
	}
}

func replaceConcurrently(t *testing.T, s session.Store) {
	ctx, k := t.Context(), NewKey()
	it := must[session.Item](t)(s.Create(ctx, k, []byte("0"), time.Minute))
	const n = 20
	var won, lost atomic.Int32
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			switch _, err := s.Replace(ctx, k, it.Revision, fmt.Appendf(nil, "writer %d", i)); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, session.ErrConflict):
				lost.Add(1)
			default:
				t.Errorf("Replace: %v", err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != n-1 {
		t.Errorf("%d won, %d lost; want 1, %d", won.Load(), lost.Load(), n-1)
	}
}

func gone(t *testing.T, s session.Store, k session.Key) func() bool {
	return func() bool {
		_, err := s.Get(t.Context(), k)
		if err != nil && !errors.Is(err, session.ErrNotFound) {
			t.Fatalf("Get: %v", err)
		}
		return err != nil
	}
}

func itemsExpire(t *testing.T, s session.Store) {
	ctx, k := t.Context(), NewKey()
	it := must[session.Item](t)(s.Create(ctx, k, []byte("one"), 50*time.Millisecond))
	Eventually(t, "it expires", gone(t, s, k))
	_, err := s.Replace(ctx, k, it.Revision, []byte("two"))
	wantErr(t, "Replace of what expired", err, session.ErrNotFound)
	must[session.Item](t)(s.Create(ctx, k, []byte("three"), time.Minute)) // the name is free again
}

func extend(t *testing.T, s session.Store) {
	ctx, k := t.Context(), NewKey()
	it := must[session.Item](t)(s.Create(ctx, k, []byte("one"), time.Minute))
	if err := s.Extend(ctx, k, time.Hour); err != nil {
		t.Fatal(err)
	}
	got := must[session.Item](t)(s.Get(ctx, k))
	if left := time.Until(got.Expires); left < 50*time.Minute || left > time.Hour+time.Second {
		t.Errorf("expires in %v, want about an hour", left)
	}
	if got.Revision != it.Revision || string(got.Data) != "one" {
		t.Errorf("Extend changed more than the expiry: %q, revision %d to %d", got.Data, it.Revision, got.Revision)
	}
	if err := s.Extend(ctx, k, 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "it expires", gone(t, s, k))
}

func extendExpired(t *testing.T, s session.Store) {
	ctx, k := t.Context(), NewKey()
	wantErr(t, "Extend of nothing", s.Extend(ctx, k, time.Minute), session.ErrNotFound)
	must[session.Item](t)(s.Create(ctx, k, []byte("one"), 20*time.Millisecond))
	Eventually(t, "it expires", gone(t, s, k))
	wantErr(t, "Extend of what expired", s.Extend(ctx, k, time.Minute), session.ErrNotFound)
	_, err := s.Get(ctx, k)
	wantErr(t, "Get", err, session.ErrNotFound)
}

func anyBytes(t *testing.T, s session.Store) {
	ctx := t.Context()
	big := make([]byte, 64<<10)
	rand.Read(big)
	for _, data := range [][]byte{{0}, []byte("\x00\r\n$-1\r\n\xff"), big} {
		k := NewKey()
		it := must[session.Item](t)(s.Create(ctx, k, data, time.Minute))
		if got := must[session.Item](t)(s.Get(ctx, k)); !bytes.Equal(got.Data, data) {
			t.Errorf("%d bytes came back as %d others", len(data), len(got.Data))
		}
		must[session.Item](t)(s.Replace(ctx, k, it.Revision, data))
		if got := must[session.Item](t)(s.Get(ctx, k)); !bytes.Equal(got.Data, data) {
			t.Errorf("%d bytes came back as %d others after Replace", len(data), len(got.Data))
		}
	}
}

func count(t *testing.T, s session.Store) {
	ctx := t.Context()
	var keys []session.Key
	for range 5 {
		k := NewKey()
		must[session.Item](t)(s.Create(ctx, k, []byte("x"), time.Minute))
		keys = append(keys, k)
	}
	if err := s.Delete(ctx, keys[0]); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "Count is 4", func() bool { return must[int](t)(s.Count(ctx)) == 4 })
}

// refuses calls everything that a store can do, and wants an error that is none
// of those that say something about the item.
func refuses(t *testing.T, s session.Store, ctx context.Context, k session.Key) {
	t.Helper()
	calls := map[string]func() error{
		"Get":     func() error { _, err := s.Get(ctx, k); return err },
		"Create":  func() error { _, err := s.Create(ctx, NewKey(), []byte("x"), time.Minute); return err },
		"Replace": func() error { _, err := s.Replace(ctx, k, 1, []byte("x")); return err },
		"Extend":  func() error { return s.Extend(ctx, k, time.Minute) },
		"Delete":  func() error { return s.Delete(ctx, k) },
		"Count":   func() error { _, err := s.Count(ctx); return err },
		"Heads":   func() error { return s.Heads(ctx, 8, func(session.Key, []byte) error { return nil }) },
		"Acquire": func() error { _, err := s.Acquire(ctx, "n", "o", time.Minute); return err },
		"Renew":   func() error { _, err := s.Renew(ctx, "n", "o", time.Minute); return err },
		"Release": func() error { return s.Release(ctx, "n", "o") },
		"Holder":  func() error { _, _, err := s.Holder(ctx, "n"); return err },
		"Join":    func() error { return s.Join(ctx, k, []session.Key{NewKey()}, time.Minute) },
		"Members": func() error { _, err := s.Members(ctx, NewKey()); return err },
		"Ping":    func() error { return s.Ping(ctx) },
	}
	for name, call := range calls {
		err := call()
		for _, wrong := range []error{nil, session.ErrNotFound, session.ErrExists, session.ErrConflict} {
			if errors.Is(err, wrong) {
				t.Errorf("%s: got %v, want an error that says nothing about the item", name, err)
			}
		}
	}
}

func cancelled(t *testing.T, s session.Store) {
	threat.Covers(t, 67)
	k := NewKey()
	must[session.Item](t)(s.Create(t.Context(), k, []byte("one"), time.Minute))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	refuses(t, s, ctx, k)
	must[session.Item](t)(s.Get(t.Context(), k)) // nothing has come of the Delete
}

func closed(t *testing.T, s session.Store) {
	k := NewKey()
	must[session.Item](t)(s.Create(t.Context(), k, []byte("one"), time.Minute))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	refuses(t, s, t.Context(), k)
}

// Heard collects what a store tells of one key.
type Heard struct {
	k session.Key
	n atomic.Int32
}

// Listen starts collecting.
func Listen(s session.Notifier, k session.Key) (h *Heard, stop func()) {
	h = &Heard{k: k}
	return h, s.Changes(func(keys []session.Key, all bool) {
		if all {
			h.n.Add(1)
		}
		for _, got := range keys {
			if got == k {
				h.n.Add(1)
			}
		}
	})
}

// Count is how often a change was told so far.
func (h *Heard) Count() int { return int(h.n.Load()) }

func changes(t *testing.T, s session.Store) {
	ctx, k := t.Context(), NewKey()
	it := must[session.Item](t)(s.Create(ctx, k, []byte("one"), time.Minute))
	must[session.Item](t)(s.Get(ctx, k))
	h, stop := Listen(s, k)
	defer stop()
	must[session.Item](t)(s.Replace(ctx, k, it.Revision, []byte("two")))
	Eventually(t, "the Replace is told", func() bool { return h.Count() > 0 })
	must[session.Item](t)(s.Get(ctx, k))
	before := h.Count()
	if err := s.Delete(ctx, k); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "the Delete is told", func() bool { return h.Count() > before })
}

func listenerStops(t *testing.T, s session.Store) {
	ctx, k := t.Context(), NewKey()
	stopped, stop := Listen(s, k)
	other, stopOther := Listen(s, k)
	defer stopOther()
	must[session.Item](t)(s.Create(ctx, k, []byte("one"), time.Minute))
	must[session.Item](t)(s.Get(ctx, k))
	stop()
	stop() // a second one does no harm
	before := stopped.Count()
	if err := s.Delete(ctx, k); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "the other listener hears it", func() bool { return other.Count() > 0 })
	if stopped.Count() != before {
		t.Error("a stopped listener was called")
	}
}

func leases(t *testing.T, s session.Store) {
	ctx := t.Context()
	yes := func(what string, want bool) func(bool, error) {
		return func(got bool, err error) {
			t.Helper()
			if err != nil || got != want {
				t.Fatalf("%s: %v, %v; want %v", what, got, err, want)
			}
		}
	}
	yes("a's Renew of what nobody has", false)(s.Renew(ctx, "n", "a", time.Minute))
	yes("a's Acquire", true)(s.Acquire(ctx, "n", "a", time.Minute))
	yes("b's Acquire", false)(s.Acquire(ctx, "n", "b", time.Minute))
	yes("a's second Acquire", false)(s.Acquire(ctx, "n", "a", time.Minute))
	yes("b's Renew", false)(s.Renew(ctx, "n", "b", time.Minute))
	yes("a's Renew", true)(s.Renew(ctx, "n", "a", time.Minute))
	yes("another name", true)(s.Acquire(ctx, "m", "b", time.Minute))
	if err := s.Release(ctx, "n", "b"); err != nil {
		t.Fatal(err)
	}
	yes("b's Acquire after b's Release", false)(s.Acquire(ctx, "n", "b", time.Minute))
	if err := s.Release(ctx, "n", "a"); err != nil {
		t.Fatal(err)
	}
	yes("b's Acquire after a's Release", true)(s.Acquire(ctx, "n", "b", time.Minute))
}

func leaseExpires(t *testing.T, s session.Store) {
	ctx := t.Context()
	if ok, err := s.Acquire(ctx, "n", "a", 30*time.Millisecond); err != nil || !ok {
		t.Fatal(ok, err)
	}
	Eventually(t, "the lease is free", func() bool { return must[bool](t)(s.Acquire(ctx, "n", "b", time.Minute)) })
	if ok, err := s.Renew(ctx, "n", "a", time.Minute); err != nil || ok {
		t.Errorf("the first owner renewed what it had lost: %v, %v", ok, err)
	}
	if err := s.Release(ctx, "n", "a"); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Renew(ctx, "n", "b", time.Minute); err != nil || !ok {
		t.Errorf("the first owner's Release took the second's lease: %v, %v", ok, err)
	}
}

func claimConcurrently(t *testing.T, s session.Store) {
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			ok, err := s.Acquire(t.Context(), "claim", "the same for all", time.Minute)
			if err != nil {
				t.Error(err)
			}
			if ok {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d claims won, want 1", won.Load())
	}
}
