package session_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"keyway/internal/keyring"
	"keyway/internal/problem"
	"keyway/internal/seal"
	"keyway/internal/secret"
	"keyway/internal/session"
	"keyway/internal/session/memory"
	"keyway/internal/session/sessiontest"
	"keyway/internal/threat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func memoryStore(t testing.TB) *memory.Store {
	s := memory.Open(memory.Options{})
	t.Cleanup(func() { s.Close() })
	return s
}

func ada() session.Record { return sessiontest.NewIdP(time.Hour, 0).Grant("ada") }

func find(t testing.TB, m *session.Manager, header []string) (*session.Session, error) {
	t.Helper()
	return m.Find(t.Context(), header, sessiontest.Home)
}

func mustFind(t testing.TB, m *session.Manager, header []string) *session.Session {
	t.Helper()
	s, err := find(t, m, header)
	if err != nil {
		t.Fatalf("Find: %v", err)
	}
	return s
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got %v, want %v", what, err, want)
	}
}

func TestSignInAndFind(t *testing.T) {
	m := sessiontest.Manager(t, memoryStore(t), nil)
	header, made := sessiontest.SignIn(t, m, ada())
	s := mustFind(t, m, header)
	if s.PublicID() != made.PublicID() || s.PublicID() == "" || strings.Contains(header[0], s.PublicID()) {
		t.Errorf("public id %q, made %q, cookie %q", s.PublicID(), made.PublicID(), header)
	}
	if p := s.Principal(); p.Subject != "ada" || p.SessionID != s.PublicID() {
		t.Errorf("principal %+v", p)
	}
	if !s.AccessToken().Equal(made.AccessToken()) {
		t.Error("another access token came back")
	}
	_, err := find(t, m, nil)
	wantErr(t, "no cookie", err, session.ErrNone)
	if problem.CodeOf(err) != problem.Unauthenticated {
		t.Errorf("no cookie is shown as %s", problem.CodeOf(err))
	}
}

func TestWhatAForgerGets(t *testing.T) {
	threat.Covers(t, 25)
	m := sessiontest.Manager(t, memoryStore(t), nil)
	header, _ := sessiontest.SignIn(t, m, ada())
	name, value := m.CookieName(), strings.TrimSuffix(strings.SplitN(header[0], "=", 3)[2], "; x=y")
	for i := range value {
		if value[i] == '.' || i < strings.IndexByte(value, '.') {
			continue // the version is next
		}
		flipped := value[:i] + string(value[i]^1) + value[i+1:]
		_, err := find(t, m, []string{name + "=" + flipped})
		if code := problem.CodeOf(err); code.Status() != http.StatusUnauthorized {
			t.Errorf("character %d flipped: %v", i, err)
		}
	}
	_, err := find(t, m, []string{name + "=s2" + value[2:]})
	if !session.IsUnknownVersion(err) || problem.CodeOf(err) != problem.Unauthenticated {
		t.Errorf("a version that this replica does not know: %v", err)
	}
}

func TestFixation(t *testing.T) {
	threat.Covers(t, 15)
	store := memoryStore(t)
	m := sessiontest.Manager(t, store, nil)
	attackers := ada()
	attackers.Roles = []string{"left-over"}
	header, old := sessiontest.SignIn(t, m, attackers) // planted in the victim's browser
	mustFind(t, m, header)

	c, s, err := m.Renew(t.Context(), header, sessiontest.NewIdP(time.Hour, 0).Grant("grace"), sessiontest.Home)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(header[0], c.Value) || s.PublicID() == old.PublicID() || s.Key() == old.Key() {
		t.Error("the id was kept")
	}
	got := mustFind(t, m, sessiontest.Header(c))
	if got.Principal().Subject != "grace" || len(got.Record().Roles) != 0 {
		t.Errorf("something was carried over: %+v", got.Principal())
	}
	_, err = find(t, m, header)
	wantErr(t, "the old id", err, session.ErrEnded)
	if n, _ := store.Count(t.Context()); n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}

	t.Run("an id that was never issued", func(t *testing.T) {
		forged := []string{m.CookieName() + "=s1." + strings.Repeat("A", 43)}
		c, _, err := m.Renew(t.Context(), forged, ada(), sessiontest.Home)
		if err != nil || strings.Contains(forged[0], c.Value) {
			t.Fatal(err)
		}
		_, err = find(t, m, forged)
		wantErr(t, "the forged id", err, session.ErrEnded)
	})
	t.Run("a session bound to another place", func(t *testing.T) {
		bound := sessiontest.Manager(t, store, func(o *session.Options) {
			o.Binding = session.BindingOptions{UserAgent: true}
		})
		header, _ := sessiontest.SignIn(t, bound, ada())
		if _, _, err := bound.Renew(t.Context(), header, ada(), session.Client{UserAgent: "other"}); err != nil {
			t.Fatal(err)
		}
		_, err := find(t, bound, header)
		wantErr(t, "the old id", err, session.ErrEnded)
	})
}

// flaky is a store that can be away.
type flaky struct {
	session.Store
	noDelete, noGet, noReplace atomic.Bool
}

var errAway = errors.New("connection refused")

func (f *flaky) Delete(ctx context.Context, k session.Key) error {
	if f.noDelete.Load() {
		return errAway
	}
	return f.Store.Delete(ctx, k)
}

func (f *flaky) Get(ctx context.Context, k session.Key) (session.Item, error) {
	if f.noGet.Load() {
		return session.Item{}, errAway
	}
	return f.Store.Get(ctx, k)
}

func (f *flaky) Replace(ctx context.Context, k session.Key, rev uint64, data []byte) (session.Item, error) {
	if f.noReplace.Load() {
		return session.Item{}, errAway
	}
	return f.Store.Replace(ctx, k, rev, data)
}

func TestNoNewSessionWhileTheOldOneCantBeEnded(t *testing.T) {
	threat.Covers(t, 15)
	store := &flaky{Store: memoryStore(t)}
	m := sessiontest.Manager(t, store, nil)
	header, _ := sessiontest.SignIn(t, m, ada())
	store.noDelete.Store(true)
	c, _, err := m.Renew(t.Context(), header, ada(), sessiontest.Home)
	wantErr(t, "Renew", err, session.ErrUnavailable)
	if c != nil {
		t.Error("a cookie was given all the same")
	}
}

func TestAStoreThatIsAwayEndsNoSession(t *testing.T) {
	threat.Covers(t, 67)
	synctest.Test(t, func(t *testing.T) {
		store := &flaky{Store: memoryStore(t)}
		m := sessiontest.Manager(t, store, nil)
		header, _ := sessiontest.SignIn(t, m, ada())
		store.noGet.Store(true)
		_, err := find(t, m, header)
		wantErr(t, "Find", err, session.ErrUnavailable)
		if errors.Is(err, session.ErrEnded) || problem.CodeOf(err).Status() != http.StatusServiceUnavailable {
			t.Errorf("shown as %d", problem.CodeOf(err).Status())
		}
		store.noGet.Store(false)
		s := mustFind(t, m, header)
		store.noDelete.Store(true)
		wantErr(t, "End", m.End(t.Context(), s), session.ErrUnavailable)
		store.noDelete.Store(false)
		mustFind(t, m, header)
	})
}

func TestLogoutIsFinal(t *testing.T) {
	threat.Covers(t, 27)
	store := memoryStore(t)
	here, there := sessiontest.Manager(t, store, nil), sessiontest.Manager(t, store, nil)
	header, _ := sessiontest.SignIn(t, here, ada())
	s := mustFind(t, here, header)
	mustFind(t, there, header) // cached on both
	if err := here.End(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*session.Manager{here, there} {
		_, err := find(t, m, header)
		wantErr(t, "Find after logout", err, session.ErrEnded)
		if problem.CodeOf(err).Status() != http.StatusUnauthorized {
			t.Errorf("shown as %d", problem.CodeOf(err).Status())
		}
	}
	if _, err := here.Update(t.Context(), s, func(r session.Record) session.Record { return r }); !errors.Is(err, session.ErrEnded) {
		t.Errorf("Update of an ended session: %v", err)
	}
}

func TestIdleAndAbsoluteLifetime(t *testing.T) {
	withIdle := func(o *session.Options) { o.Idle, o.Absolute = 10*time.Minute, time.Hour }
	t.Run("idle", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			threat.Covers(t, 28)
			m := sessiontest.Manager(t, memoryStore(t), withIdle)
			header, _ := sessiontest.SignIn(t, m, ada())
			for range 3 {
				time.Sleep(9 * time.Minute)
				mustFind(t, m, header)
				synctest.Wait() // for the write beside the request
			}
			time.Sleep(10*time.Minute + time.Second)
			_, err := find(t, m, header)
			wantErr(t, "after ten idle minutes", err, session.ErrEnded)
		})
	})
	t.Run("absolute, in spite of use and refresh", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			threat.Covers(t, 28)
			idp := sessiontest.NewIdP(2*time.Minute, 0)
			m := sessiontest.Manager(t, memoryStore(t), withIdle)
			header, made := sessiontest.SignIn(t, m, idp.Grant("ada"))
			start := time.Now()
			for {
				time.Sleep(30 * time.Second)
				s, err := find(t, m, header)
				if err != nil {
					wantErr(t, "at the end", err, session.ErrEnded)
					break
				}
				if s, err = m.Fresh(t.Context(), s, idp.Refresh); err != nil {
					t.Fatal(err)
				}
				if _, err = m.Update(t.Context(), s, func(r session.Record) session.Record {
					r.AbsoluteExpiry = r.AbsoluteExpiry.Add(time.Hour)
					return r
				}); err != nil {
					t.Fatal(err)
				}
			}
			if lived := time.Since(start); lived < 59*time.Minute || lived > time.Hour+30*time.Second {
				t.Errorf("it lived %v, want an hour", lived)
			}
			if calls, _ := idp.Calls(); calls < 20 {
				t.Errorf("only %d refreshes, so this showed little", calls)
			}
			_ = made
		})
	})
	t.Run("few writes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := &counting{Store: memoryStore(t)}
			m := sessiontest.Manager(t, store, withIdle)
			header, _ := sessiontest.SignIn(t, m, ada())
			for range 600 { // ten minutes of a request a second
				mustFind(t, m, header)
				time.Sleep(time.Second)
			}
			if store.extends > 8 || store.extends < 6 {
				t.Errorf("%d writes of the idle timeout in one idle timeout, want about 8", store.extends)
			}
			if store.gets > 125 {
				t.Errorf("%d reads for 600 requests within ten minutes, want one each 5 s", store.gets)
			}
		})
	})
}

// counting counts; its tests are in one goroutine at a time.
type counting struct {
	session.Store
	gets, extends int
}

func (c *counting) Get(ctx context.Context, k session.Key) (session.Item, error) {
	c.gets++
	return c.Store.Get(ctx, k)
}

func (c *counting) Extend(ctx context.Context, k session.Key, ttl time.Duration) error {
	c.extends++
	return c.Store.Extend(ctx, k, ttl)
}

func TestUpdate(t *testing.T) {
	store := memoryStore(t)
	a, b := sessiontest.Manager(t, store, nil), sessiontest.Manager(t, store, nil)
	header, s := sessiontest.SignIn(t, a, ada())
	first := true
	got, err := a.Update(t.Context(), s, func(r session.Record) session.Record {
		if first { // another replica is faster
			first = false
			if _, err := b.Update(t.Context(), s, func(r session.Record) session.Record {
				r.Name = "from b"
				return r
			}); err != nil {
				t.Fatal(err)
			}
		}
		r.Roles = append(r.Roles, "from a")
		r.PublicID, r.Subject = "other", "grace"
		return r
	})
	if err != nil {
		t.Fatal(err)
	}
	for what, s := range map[string]*session.Session{"Update": got, "Find": mustFind(t, b, header)} {
		r := s.Record()
		if r.Name != "from b" || len(r.Roles) != 1 || r.Roles[0] != "from a" {
			t.Errorf("%s: name %q, roles %q; want both changes, once", what, r.Name, r.Roles)
		}
		if r.Subject != "ada" || r.PublicID != s.PublicID() || r.PublicID == "other" {
			t.Errorf("%s: the session became somebody else's", what)
		}
	}
}

// Rings that turn under live sessions: what was issued with an old version is
// found and opened as long as that lives, and written again with the active one.
func TestKeysTurnUnderLiveSessions(t *testing.T) {
	store := memoryStore(t)
	shared := session.NewShared(store, session.SharedOptions{})
	defer shared.Close(t.Context())
	generation := func(salt, key []string) *session.Manager {
		return sessiontest.ManagerOn(t, shared, func(o *session.Options) {
			*o = sessiontest.Options(t, shared, sessiontest.Ring(t, "token-hash-salt", salt...), sessiontest.Ring(t, "session-key", key...))
		})
	}
	before := generation([]string{"s1"}, []string{"k1"})
	header, s := sessiontest.SignIn(t, before, ada())
	after := generation([]string{"s2", "s1"}, []string{"k2", "k1"})
	mustFind(t, after, header)
	newer, _ := sessiontest.SignIn(t, after, ada())

	// A replica that has not loaded the new versions can't know.
	_, err := find(t, before, newer)
	if !session.IsUnknownVersion(err) || problem.CodeOf(err) != problem.Unauthenticated {
		t.Errorf("an unknown salt: %v", err)
	}

	if _, err := after.Update(t.Context(), s, func(r session.Record) session.Record { return r }); err != nil {
		t.Fatal(err)
	}
	sessiontest.CountIs(t, after, map[string]int{"s1": 1, "s2": 1}, map[string]int{"k2": 2}, nil)
	_, err = find(t, before, header)
	if !session.IsUnknownVersion(err) || errors.Is(err, session.ErrEnded) {
		t.Errorf("a record under an unknown session key: %v", err)
	}

	// What rests on a retired version is over.
	retired, err := keyring.New("token-hash-salt",
		keyring.Version{ID: "s2", State: keyring.Active, Value: secret.NewValue([]byte("only for tests, 32 bytes or more"))},
		keyring.Version{ID: "s1", State: keyring.Retired})
	if err != nil {
		t.Fatal(err)
	}
	last := sessiontest.ManagerOn(t, shared, func(o *session.Options) {
		*o = sessiontest.Options(t, shared, retired, sessiontest.Ring(t, "session-key", "k2"))
	})
	_, err = find(t, last, header)
	wantErr(t, "a retired salt", err, session.ErrEnded)
}

func TestARecordCantBeSwappedForAnother(t *testing.T) {
	store := memoryStore(t)
	m := sessiontest.Manager(t, store, nil)
	_, victim := sessiontest.SignIn(t, m, ada())
	header, mine := sessiontest.SignIn(t, m, sessiontest.NewIdP(time.Hour, 0).Grant("mallory"))
	it, err := store.Get(t.Context(), victim.Key())
	if err != nil {
		t.Fatal(err)
	}
	own, _ := store.Get(t.Context(), mine.Key())
	if _, err := store.Replace(t.Context(), mine.Key(), own.Revision, it.Data); err != nil {
		t.Fatal(err)
	}
	_, err = find(t, m, header)
	wantErr(t, "another's record under my key", err, session.ErrEnded)
}

func TestCSRF(t *testing.T) {
	m := sessiontest.Manager(t, memoryStore(t), nil)
	_, a := sessiontest.SignIn(t, m, ada())
	_, b := sessiontest.SignIn(t, m, ada())
	csrf := func(ids ...string) session.CSRF {
		tokens, err := seal.NewTokens(sessiontest.Ring(t, "csrf-key", ids...), session.PurposeCSRF, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return session.NewCSRF(tokens, "c3")
	}
	old, now := csrf("c1"), csrf("c2", "c1")
	at := time.Now()
	token := old.Mint(a, at)
	if err := now.Check(a, token, at); err != nil {
		t.Errorf("a token of a retiring version: %v", err)
	}
	forth, unknown, retired := csrf("c3").Mint(a, at), csrf("c4").Mint(a, at), csrf("c0").Mint(a, at)
	gone, err := keyring.New("csrf-key", keyring.Version{ID: "c2", State: keyring.Active, Value: secret.NewValue([]byte("only for tests, 32 bytes or more"))},
		keyring.Version{ID: "c0", State: keyring.Retired})
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := seal.NewTokens(gone, session.PurposeCSRF, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	value := func(ring keyring.Ring) secret.Value { return ring.Active().Value }
	held, err := keyring.New("csrf-key",
		keyring.Version{ID: "c3", State: keyring.Pending, Value: value(sessiontest.Ring(t, "csrf-key", "c3"))},
		keyring.Version{ID: "c2", State: keyring.Active, Value: value(sessiontest.Ring(t, "csrf-key", "c2"))})
	if err != nil {
		t.Fatal(err)
	}
	heldTokens, err := seal.NewTokens(held, session.PurposeCSRF, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	behind := session.NewCSRF(heldTokens, "c3")
	if err := behind.Check(a, forth, at); err != nil {
		t.Errorf("a token of a pending version: %v", err)
	}
	for name, c := range map[string]struct {
		csrf  session.CSRF
		token string
		want  bool
	}{
		"retiring":   {now, token, true},
		"retired":    {session.NewCSRF(tokens), retired, true},
		"active":     {now, now.Mint(a, at), false},
		"pending":    {behind, forth, false},
		"unknown":    {now, unknown, false},
		"no version": {now, "junk", false},
		"no token":   {now, "", false},
	} {
		if got := c.csrf.Superseded(c.token); got != c.want {
			t.Errorf("%s: superseded is %v", name, got)
		}
	}
	active := now.Mint(a, at)
	if n := testing.AllocsPerRun(10, func() { now.Superseded(active) }); n != 0 {
		t.Errorf("%v allocations for a token that is current", n)
	}
	if err := now.Check(b, token, at); !errors.Is(err, seal.ErrForged) {
		t.Errorf("another session's token: %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	shared := session.NewShared(memoryStore(t), session.SharedOptions{})
	defer shared.Close(t.Context())
	for name, change := range map[string]func(*session.Options){
		"no sealer":       func(o *session.Options) { o.Sealer = nil },
		"no lifetime":     func(o *session.Options) { o.Absolute = 0 },
		"negative idle":   func(o *session.Options) { o.Idle = -1 },
		"bits of IPv4":    func(o *session.Options) { o.Binding.PrefixV4 = 33 },
		"binding, no key": func(o *session.Options) { o.Binding.UserAgent, o.UA = true, nil },
		"None, no Secure": func(o *session.Options) {
			o.Cookie = session.CookieOptions{SameSite: http.SameSiteNoneMode}
		},
	} {
		o := sessiontest.Options(t, shared, sessiontest.Ring(t, "token-hash-salt", "s1"), sessiontest.Ring(t, "session-key", "k1"))
		change(&o)
		if _, err := session.New(o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
