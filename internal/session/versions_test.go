package session_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/seal"
	"keyway/internal/session"
	"keyway/internal/session/sessiontest"
	"keyway/internal/threat"
)

func TestKeysTurnUnderManySessions(t *testing.T) { sessiontest.Rotation(t, memoryStore(t)) }

// A refresh that begins before a rotation and ends after it is saved under what is
// active then. Else it would be lost with the old version, and so the session with
// a refresh token that works once.
func TestARefreshOutlivesARotation(t *testing.T) {
	threat.Covers(t, 65)
	synctest.Test(t, func(t *testing.T) {
		store := memoryStore(t)
		shared := session.NewShared(store, session.SharedOptions{})
		defer shared.Close(t.Context())
		salt, ua := []string{"s1"}, []string{"u1"}
		before := sessiontest.Generation(t, shared, salt, []string{"k1"}, ua)
		idp := sessiontest.NewIdP(time.Minute, 5*time.Second)
		header, s := expired(t, before, idp)
		done := make(chan error, 1)
		go func() {
			_, err := before.Fresh(t.Context(), s, idp.Refresh)
			done <- err
		}()
		time.Sleep(time.Second) // the IdP has been asked
		during := sessiontest.Generation(t, shared, salt, []string{"k2", "k1"}, ua)
		if n, err := during.Reseal(t.Context()); n != 1 || err != nil {
			t.Fatalf("Reseal: %d, %v", n, err)
		}
		sessiontest.CountIs(t, during, map[string]int{"s1": 1}, map[string]int{"k2": 1}, map[string]int{"u1": 1})
		after := sessiontest.Generation(t, shared, salt, []string{"k2"}, ua)
		if err := <-done; err != nil {
			t.Fatalf("the refresh: %v", err)
		}
		got := mustFind(t, after, header)
		if !got.AccessValid(time.Now()) {
			t.Error("the new tokens were not saved")
		}
		sessiontest.CountIs(t, after, map[string]int{"s1": 1}, map[string]int{"k2": 1}, map[string]int{"u1": 1})
		if calls, reused := idp.Calls(); calls != 1 || reused != 0 {
			t.Errorf("%d refreshes, %d with a used token", calls, reused)
		}
	})
}

// Where nobody else uses the store, a session whose key nobody has is ended; but a
// request of an older generation is not the one to say so.
func TestAnOlderGenerationEndsNothing(t *testing.T) {
	store := memoryStore(t)
	shared := session.NewShared(store, session.SharedOptions{})
	defer shared.Close(t.Context())
	alone := func(key ...string) *session.Manager {
		return sessiontest.ManagerOn(t, shared, func(o *session.Options) {
			*o = sessiontest.Options(t, shared, sessiontest.Ring(t, "token-hash-salt", "s1"), sessiontest.Ring(t, "session-key", key...))
			o.Alone = true
		})
	}
	older, newer := alone("k1"), alone("k2", "k1")
	header, _ := sessiontest.SignIn(t, newer, ada())
	other, _ := sessiontest.SignIn(t, newer, ada()) // which is not kept in memory
	if _, err := find(t, older, header); !session.IsUnknownVersion(err) || errors.Is(err, session.ErrEnded) {
		t.Errorf("an older generation: %v", err)
	}
	mustFind(t, newer, header)
	newest := alone("k3")
	_, err := find(t, newest, other)
	wantErr(t, "nobody has the key", err, session.ErrEnded)
	sessiontest.CountIs(t, newest, map[string]int{"s1": 1}, map[string]int{"k2": 1}, nil)
}

// The head can be read by who reads the store, and not be changed by who writes it.
func TestTheHeadIsAuthenticated(t *testing.T) {
	threat.Covers(t, 25)
	store := memoryStore(t)
	m := sessiontest.Manager(t, store, nil)
	header, s := sessiontest.SignIn(t, m, ada())
	whole, err := store.Get(t.Context(), s.Key())
	if err != nil {
		t.Fatal(err)
	}
	revision := whole.Revision
	for i := range 16 {
		changed := append([]byte(nil), whole.Data...)
		changed[i] ^= 1
		it, err := store.Replace(t.Context(), s.Key(), revision, changed)
		if err != nil {
			t.Fatal(err)
		}
		revision = it.Revision
		if _, err := find(t, m, header); err == nil {
			t.Errorf("byte %d of the head can be changed", i)
		}
	}
	if _, err := store.Replace(t.Context(), s.Key(), revision, whole.Data); err != nil {
		t.Fatal(err)
	}
	mustFind(t, m, header)
}

// A count that might lack something says nothing.
func TestWhatCantBeCounted(t *testing.T) {
	store := &headless{Store: memoryStore(t)}
	m := sessiontest.Manager(t, store, nil)
	_, s := sessiontest.SignIn(t, m, ada())
	put := func(data []byte) {
		t.Helper()
		k := [32]byte{1}
		_ = store.Delete(t.Context(), k)
		if _, err := store.Create(t.Context(), k, data, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	want := func(name string) {
		t.Helper()
		if c, err := m.CountVersions(t.Context()); !errors.Is(err, session.ErrUnavailable) || c.Salt != nil {
			t.Errorf("%s: counted %v, %v", name, c, err)
		}
		if n, err := m.Reseal(t.Context()); n != 0 || !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("%s: resealed %d, %v", name, n, err)
		}
		if n, err := m.EndUnder(t.Context(), "s0"); n != 0 || !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("%s: ended %d, %v", name, n, err)
		}
	}
	put([]byte{0xfe, 1, 2, 3})
	want("a record of a later format")
	put([]byte{1, 2, 'k', '1', 0, 0})
	sessiontest.CountIs(t, m, map[string]int{"s1": 1}, map[string]int{"k1": 1}, nil) // not one of ours
	store.err = errDown
	want("a store that is away")
	store.err = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.CountVersions(ctx); !errors.Is(err, session.ErrUnavailable) {
		t.Errorf("nobody waits: %v", err)
	}
	if _, err := store.Get(t.Context(), s.Key()); err != nil {
		t.Errorf("the session: %v", err)
	}
}

type headless struct {
	session.Store
	err error
}

func (h *headless) Heads(ctx context.Context, n int, visit func(session.Key, []byte) error) error {
	if err := h.Store.Heads(ctx, n, visit); err != nil {
		return err
	}
	return h.err
}

// Reseal that meets a store which goes away says so, and goes on where it was.
func TestResealGoesOn(t *testing.T) {
	store := &frail{Store: memoryStore(t)}
	shared := session.NewShared(store, session.SharedOptions{})
	defer shared.Close(t.Context())
	salt, ua := []string{"s1"}, []string{"u1"}
	before := sessiontest.Generation(t, shared, salt, []string{"k1"}, ua)
	const n = 40
	for range n {
		sessiontest.SignIn(t, before, ada())
	}
	after := sessiontest.Generation(t, shared, salt, []string{"k2", "k1"}, ua)
	store.left.Store(10)
	first, err := after.Reseal(t.Context())
	if !errors.Is(err, session.ErrUnavailable) || first == 0 || first > 10 {
		t.Errorf("%d, %v", first, err)
	}
	store.left.Store(1000)
	second, err := after.Reseal(t.Context())
	if err != nil || first+second != n {
		t.Errorf("%d and then %d of %d: %v", first, second, n, err)
	}
	sessiontest.CountIs(t, after, map[string]int{"s1": n}, map[string]int{"k2": n}, map[string]int{"u1": n})
}

// What a cookie, a record, a binding or a token names is told with the refusal.
func TestRefusalsNameTheVersion(t *testing.T) {
	store := memoryStore(t)
	shared := session.NewShared(store, session.SharedOptions{})
	defer shared.Close(t.Context())
	m := sessiontest.Generation(t, shared, []string{"s1"}, []string{"k1"}, []string{"u1"})
	header, s := sessiontest.SignIn(t, m, ada())
	other := sessiontest.Home
	other.UserAgent = "another browser"
	_, binding := m.Find(t.Context(), header, other)
	noSalt := sessiontest.Generation(t, shared, []string{"s2"}, []string{"k1"}, []string{"u1"})
	_, cookie := find(t, noSalt, header)
	it, err := store.Get(t.Context(), s.Key())
	if err != nil {
		t.Fatal(err)
	}
	it.Data = append([]byte(nil), it.Data...)
	it.Data[len(it.Data)-1] ^= 1
	if _, err := store.Replace(t.Context(), s.Key(), it.Revision, it.Data); err != nil {
		t.Fatal(err)
	}
	_, record := find(t, m, header)
	tokens, err := seal.NewTokens(sessiontest.Ring(t, "csrf-key", "c1"), session.PurposeCSRF, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	csrf := session.NewCSRF(tokens)
	forged := csrf.Check(s, csrf.Mint(s, time.Now().Add(-2*time.Hour)), time.Now())
	// Not the session: whoever signs in again and again is one.
	user := s.Principal().Provider + "\x00" + s.Principal().Subject
	for name, c := range map[string]struct {
		err  error
		want session.VersionError
		is   error
	}{
		"cookie":  {cookie, session.VersionError{Secret: "token-hash-salt", Version: "s1"}, keyring.ErrUnknownVersion},
		"record":  {record, session.VersionError{Secret: "session-key", Version: "k1", Who: s.Key().String()}, session.ErrEnded},
		"binding": {binding, session.VersionError{Secret: "ua-hash-salt", Version: "u1", Who: user}, session.ErrBinding},
		"csrf":    {forged, session.VersionError{Secret: "csrf-key", Version: "c1", Who: user}, seal.ErrForged},
	} {
		got, ok := errors.AsType[*session.VersionError](c.err)
		if !ok || got.Secret != c.want.Secret || got.Version != c.want.Version || got.Who != c.want.Who || !errors.Is(c.err, c.is) {
			t.Errorf("%s: %#v, want %v", name, got, c.want)
		}
	}
}

// frail replaces so often and no more.
type frail struct {
	session.Store
	left atomic.Int32
}

func (f *frail) Replace(ctx context.Context, k session.Key, revision uint64, data []byte) (session.Item, error) {
	if f.left.Add(-1) < 0 {
		return session.Item{}, errDown
	}
	return f.Store.Replace(ctx, k, revision, data)
}

// A replica that is behind writes between Reseal's reading and its writing: its
// write stays, and is sealed anew as well.
func TestResealGivesWay(t *testing.T) {
	store := &interfering{Store: memoryStore(t)}
	salt, ua := []string{"s1"}, []string{"u1"}
	behind := sessiontest.Manager(t, store, nil)
	header, s := sessiontest.SignIn(t, behind, ada())
	shared := session.NewShared(store, session.SharedOptions{})
	defer shared.Close(t.Context())
	after := sessiontest.Generation(t, shared, salt, []string{"k2", "k1"}, ua)
	store.first = func() {
		if _, err := behind.Update(t.Context(), s, func(r session.Record) session.Record { r.Scope = "theirs"; return r }); err != nil {
			t.Error(err)
		}
	}
	if n, err := after.Reseal(t.Context()); n != 1 || err != nil {
		t.Errorf("Reseal: %d, %v", n, err)
	}
	sessiontest.CountIs(t, after, map[string]int{"s1": 1}, map[string]int{"k2": 1}, nil)
	if got := mustFind(t, after, header); got.Record().Scope != "theirs" {
		t.Error("their write is lost")
	}
}

// interfering has something happen before the first Replace.
type interfering struct {
	session.Store
	first func()
}

func (i *interfering) Replace(ctx context.Context, k session.Key, revision uint64, data []byte) (session.Item, error) {
	if first := i.first; first != nil {
		i.first = nil
		first()
	}
	return i.Store.Replace(ctx, k, revision, data)
}
