package session_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/session"
	"keyway/internal/session/embedded"
	"keyway/internal/session/memory"
	"keyway/internal/session/sessiontest"
	"keyway/internal/threat"
)

// signedIn is the record of a sign-in.
func signedIn(issuer, subject, sid string, at time.Time) session.Record {
	return session.Record{Provider: "demo", Issuer: issuer, Subject: subject, SID: sid, IssuedAt: at, AuthTime: at, Email: subject + "@example.com"}
}

const idp = "https://idp.example"

func endAll(t testing.TB, m *session.Manager, w session.Whose, until time.Time) int {
	t.Helper()
	ended, err := m.EndAll(t.Context(), w, until)
	if err != nil {
		t.Fatalf("EndAll %+v: %v", w, err)
	}
	return len(ended)
}

// lives reports whether a session with that cookie is there.
func lives(t testing.TB, m *session.Manager, header []string) bool {
	t.Helper()
	_, err := find(t, m, header)
	if err != nil && !errors.Is(err, session.ErrEnded) {
		t.Fatalf("Find: %v", err)
	}
	return err == nil
}

func TestWhatIsEndedAndWhatIsNot(t *testing.T) {
	threat.Covers(t, 53)
	now := time.Now()
	all := map[string]session.Record{
		"ada":                  signedIn(idp, "ada", "s1", now),
		"ada, another browser": signedIn(idp, "ada", "s2", now),
		"ada, no sid":          signedIn(idp, "ada", "", now),
		"grace, same sid":      signedIn(idp, "grace", "s1", now),
		"ada elsewhere":        signedIn("https://other.example", "ada", "s1", now),
		"ada, later":           signedIn(idp, "ada", "s1", now.Add(time.Hour)),
		// What a separator between the parts would take for another.
		"ada\x00s1":   signedIn(idp, "ada\x00s1", "", now),
		"split":       signedIn(idp+"\x00ada", "s1", "", now),
		"one longer":  signedIn(idp+"a", "da", "", now),
		"sid as sub":  signedIn(idp, "s1", "ada", now),
		"no issuer":   signedIn("", "ada", "s1", now),
		"no subject":  signedIn(idp, "", "s1", now),
		"long, in it": signedIn(idp, "\x00\x00\x00\x00\x00\x00\x00\x03ada", "", now),
	}
	for name, tc := range map[string]struct {
		w     session.Whose
		until time.Time
		want  []string
	}{
		"subject":              {session.Whose{Issuer: idp, Subject: "ada"}, time.Time{}, []string{"ada", "ada, another browser", "ada, no sid", "ada, later"}},
		"subject, until":       {session.Whose{Issuer: idp, Subject: "ada"}, now, []string{"ada", "ada, another browser", "ada, no sid"}},
		"sid":                  {session.Whose{Issuer: idp, SID: "s1"}, now, []string{"ada", "grace, same sid"}},
		"both":                 {session.Whose{Issuer: idp, Subject: "ada", SID: "s1"}, now, []string{"ada"}},
		"both, of two people":  {session.Whose{Issuer: idp, Subject: "grace", SID: "s2"}, time.Time{}, nil},
		"elsewhere":            {session.Whose{Issuer: "https://other.example", Subject: "ada"}, time.Time{}, []string{"ada elsewhere"}},
		"nobody":               {session.Whose{Issuer: idp, Subject: "nobody"}, time.Time{}, nil},
		"nobody, by a NUL":     {session.Whose{Issuer: idp, Subject: "ada\x00"}, time.Time{}, nil},
		"before any was there": {session.Whose{Issuer: idp, Subject: "ada"}, now.Add(-time.Minute), nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := sessiontest.Manager(t, memoryStore(t), nil)
			headers := map[string][]string{}
			for who, rec := range all {
				headers[who], _ = sessiontest.SignIn(t, m, rec)
			}
			if n := endAll(t, m, tc.w, tc.until); n != len(tc.want) {
				t.Errorf("ended %d, want %d", n, len(tc.want))
			}
			want := map[string]bool{}
			for _, who := range tc.want {
				want[who] = true
			}
			for who, h := range headers {
				if lives(t, m, h) == want[who] {
					t.Errorf("%q: lives %v", who, want[who])
				}
			}
		})
	}
	t.Run("nobody in particular", func(t *testing.T) {
		m := sessiontest.Manager(t, memoryStore(t), nil)
		for _, w := range []session.Whose{{}, {Issuer: idp}, {Subject: "ada"}, {SID: "s1"}} {
			_, err := m.EndAll(t.Context(), w, time.Time{})
			wantErr(t, fmt.Sprint(w), err, session.ErrWhose)
		}
	})
}

// hooked calls what a test wants before a step.
type hooked struct {
	session.Store
	join, members func()
}

func once(f *func()) {
	if do := *f; do != nil {
		*f = nil
		do()
	}
}

func (h *hooked) Join(ctx context.Context, k session.Key, groups []session.Key, ttl time.Duration) error {
	once(&h.join)
	return h.Store.Join(ctx, k, groups, ttl)
}

func (h *hooked) Members(ctx context.Context, group session.Key) ([]session.Key, error) {
	once(&h.members)
	return h.Store.Members(ctx, group)
}

// A provider says that a session of its own is over while we are still finishing the
// sign-in that is of it. In whichever order the two come to the store: no session.
func TestALogoutBesideItsSignInLeavesNoSession(t *testing.T) {
	threat.Covers(t, 53)
	for name, w := range map[string]session.Whose{
		"sid": {Issuer: idp, SID: "s1"}, "sub": {Issuer: idp, Subject: "ada"}, "both": {Issuer: idp, Subject: "ada", SID: "s1"},
	} {
		t.Run(name, func(t *testing.T) {
			issued := time.Now().Truncate(time.Second)
			rec := signedIn(idp, "ada", "s1", issued)
			empty := func(t *testing.T, store session.Store) {
				t.Helper()
				if n, err := store.Count(t.Context()); err != nil || n != 0 {
					t.Errorf("%d sessions are left, %v", n, err)
				}
			}
			t.Run("logout between the record and its groups", func(t *testing.T) {
				store := memoryStore(t)
				signIn := &hooked{Store: store}
				here, there := sessiontest.Manager(t, signIn, nil), sessiontest.Manager(t, store, nil)
				signIn.join = func() { endAll(t, there, w, issued) }
				_, _, err := here.Create(t.Context(), rec, sessiontest.Home)
				wantErr(t, "Create", err, session.ErrEnded)
				empty(t, store)
			})
			t.Run("sign-in between the mark and the members", func(t *testing.T) {
				store := memoryStore(t)
				logout := &hooked{Store: store}
				here, there := sessiontest.Manager(t, store, nil), sessiontest.Manager(t, logout, nil)
				logout.members = func() {
					_, _, err := here.Create(t.Context(), rec, sessiontest.Home)
					wantErr(t, "Create", err, session.ErrEnded)
				}
				endAll(t, there, w, issued)
				empty(t, store)
			})
			t.Run("logout before", func(t *testing.T) {
				store := memoryStore(t)
				here, there := sessiontest.Manager(t, store, nil), sessiontest.Manager(t, store, nil)
				endAll(t, there, w, issued)
				_, _, err := here.Create(t.Context(), rec, sessiontest.Home)
				wantErr(t, "Create", err, session.ErrEnded)
				empty(t, store)
				// Who signs in after that is not meant, nor is anybody else.
				for _, other := range []session.Record{
					signedIn(idp, "ada", "s1", issued.Add(time.Second)), signedIn("https://other.example", "ada", "s1", issued), signedIn(idp, "grace", "s3", issued),
				} {
					header, _ := sessiontest.SignIn(t, here, other)
					mustFind(t, here, header)
				}
			})
			t.Run("both at once", func(t *testing.T) {
				store := memoryStore(t)
				here, there := sessiontest.Manager(t, store, nil), sessiontest.Manager(t, store, nil)
				var racers sync.WaitGroup
				for range 100 {
					racers.Go(func() {
						if _, _, err := here.Create(t.Context(), rec, sessiontest.Home); err != nil && !errors.Is(err, session.ErrEnded) {
							t.Error(err)
						}
					})
				}
				for range 4 {
					racers.Go(func() {
						if _, err := there.EndAll(t.Context(), w, issued); err != nil {
							t.Error(err)
						}
					})
				}
				racers.Wait()
				empty(t, store)
			})
		})
	}
}

// A mark is there for sign-ins that were under way, and for no longer.
func TestAMarkEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sessiontest.Manager(t, memoryStore(t), nil)
		w := session.Whose{Issuer: idp, Subject: "ada"}
		issued := time.Now()
		endAll(t, m, w, issued.Add(time.Hour)) // a provider whose clock is wrong
		_, _, err := m.Create(t.Context(), signedIn(idp, "ada", "", issued), sessiontest.Home)
		wantErr(t, "at once", err, session.ErrEnded)
		time.Sleep(5*time.Minute + time.Second)
		sessiontest.SignIn(t, m, signedIn(idp, "ada", "", issued))
	})
}

// Of several marks all count, in whatever order they come.
func TestMarksAddUp(t *testing.T) {
	base := time.Now().Truncate(time.Second)
	for name, ends := range map[string][]time.Duration{
		"up": {1, 2, 3, 4, 5, 6, 7}, "down": {7, 6, 5, 4, 3, 2, 1}, "up and down": {3, 7, 1, 5, 2, 6, 4}, "the same": {7, 7, 7},
	} {
		t.Run(name, func(t *testing.T) {
			m := sessiontest.Manager(t, memoryStore(t), nil)
			w := session.Whose{Issuer: idp, Subject: "ada"}
			for _, s := range ends {
				endAll(t, m, w, base.Add(s*time.Second))
			}
			_, _, err := m.Create(t.Context(), signedIn(idp, "ada", "", base.Add(7*time.Second)), sessiontest.Home)
			wantErr(t, "issued at the last", err, session.ErrEnded)
			sessiontest.SignIn(t, m, signedIn(idp, "ada", "", base.Add(8*time.Second)))
		})
	}
	t.Run("at once", func(t *testing.T) {
		m := sessiontest.Manager(t, memoryStore(t), nil)
		w := session.Whose{Issuer: idp, Subject: "ada"}
		var ends sync.WaitGroup
		for i := range 6 {
			ends.Go(func() {
				if _, err := m.EndAll(t.Context(), w, base.Add(time.Duration(i)*time.Second)); err != nil {
					t.Error(err)
				}
			})
		}
		ends.Wait()
		_, _, err := m.Create(t.Context(), signedIn(idp, "ada", "", base.Add(5*time.Second)), sessiontest.Home)
		wantErr(t, "issued at the last", err, session.ErrEnded)
	})
}

// Everywhere means until now. The next sign-in, in the same second or later, is new.
func TestAfterEverywhereOneSignsInAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sessiontest.Manager(t, memoryStore(t), nil)
		w := session.Whose{Issuer: idp, Subject: "ada"}
		time.Sleep(300 * time.Millisecond) // into a second
		iat := func() time.Time { return time.Now().Truncate(time.Second) }
		old, _ := sessiontest.SignIn(t, m, signedIn(idp, "ada", "", iat()))
		if n := endAll(t, m, w, time.Time{}); n != 1 || lives(t, m, old) {
			t.Errorf("ended %d", n)
		}
		// One that was under way: its ID token is of before.
		_, _, err := m.Create(t.Context(), signedIn(idp, "ada", "", iat().Add(-time.Second)), sessiontest.Home)
		wantErr(t, "a sign-in that was under way", err, session.ErrEnded)
		time.Sleep(time.Millisecond)
		again, _ := sessiontest.SignIn(t, m, signedIn(idp, "ada", "", iat()))
		if !lives(t, m, again) {
			t.Error("the next sign-in is ended, too")
		}
	})
}

// The salt turns: sessions are found under the version before, and those that another
// replica has begun under the next one.
func TestGroupsAreFoundUnderEveryVersion(t *testing.T) {
	threat.Covers(t, 65)
	store := memoryStore(t)
	shared := session.NewShared(store, session.SharedOptions{})
	defer shared.Close(t.Context())
	key, ua := []string{"k1"}, []string{"u1"}
	before := sessiontest.Generation(t, shared, []string{"s1", "s2"}, key, ua) // knows s2, issues under s1
	after := sessiontest.Generation(t, shared, []string{"s2", "s1"}, key, ua)
	w := session.Whose{Issuer: idp, Subject: "ada"}
	rec := signedIn(idp, "ada", "s1", time.Now())
	one, _ := sessiontest.SignIn(t, before, rec)
	two, _ := sessiontest.SignIn(t, after, rec)
	for name, m := range map[string]*session.Manager{"before": before, "after": after} {
		if found, more, err := m.List(t.Context(), session.ListOptions{Whose: w, Most: 10}); err != nil || more || len(found) != 2 {
			t.Errorf("%s: List finds %d, %v, %v", name, len(found), more, err)
		}
	}
	if n := endAll(t, before, w, time.Time{}); n != 2 || lives(t, after, one) || lives(t, after, two) {
		t.Errorf("ended %d of 2", n)
	}
	// Its marks, too, are there for sign-ins under either.
	rec.IssuedAt = time.Now().Add(-time.Minute)
	for _, m := range []*session.Manager{before, after} {
		_, _, err := m.Create(t.Context(), rec, sessiontest.Home)
		wantErr(t, "Create", err, session.ErrEnded)
	}
}

// IdPs date to the second. Who signs in again in the second in which he was signed out
// is let in; what was under way is not, nor is what does not say when it began.
func TestSignInInTheSecondOfTheSignOut(t *testing.T) {
	threat.Covers(t, 53)
	synctest.Test(t, func(t *testing.T) {
		second := time.Now().Truncate(time.Second).Add(time.Second)
		time.Sleep(time.Until(second.Add(100 * time.Millisecond)))
		m := sessiontest.Manager(t, memoryStore(t), nil)
		w := session.Whose{Issuer: idp, Subject: "ada"}
		rec := func(began time.Time) session.Record {
			r := signedIn(idp, "ada", "", second)
			r.BegunAt = began
			return r
		}
		under, unsaid := rec(time.Now()), rec(time.Time{})
		there, _ := sessiontest.SignIn(t, m, under)
		time.Sleep(200 * time.Millisecond)
		if n := endAll(t, m, w, second); n != 1 || lives(t, m, there) {
			t.Errorf("ended %d", n)
		}
		time.Sleep(time.Millisecond)
		again := rec(time.Now())
		time.Sleep(300 * time.Millisecond)
		for name, r := range map[string]session.Record{"under way": under, "that does not say when it began": unsaid} {
			_, _, err := m.Create(t.Context(), r, sessiontest.Home)
			wantErr(t, name, err, session.ErrEnded)
		}
		header, _ := sessiontest.SignIn(t, m, again)
		if !lives(t, m, header) {
			t.Error("who signed in again is signed out")
		}
		// The IdP says it again, of a second later: then it is meant.
		time.Sleep(time.Second)
		if n := endAll(t, m, w, second.Add(time.Second)); n != 1 || lives(t, m, header) {
			t.Errorf("ended %d by the second sign-out", n)
		}
	})
}

// A record that can't be read may be one of those: nobody is told that all is done.
func TestEndAllSaysWhatItCantKnow(t *testing.T) {
	store := memoryStore(t)
	shared := session.NewShared(store, session.SharedOptions{})
	defer shared.Close(t.Context())
	salt, ua := []string{"s1"}, []string{"u1"}
	newer := sessiontest.Generation(t, shared, salt, []string{"k2"}, ua)
	header, s := sessiontest.SignIn(t, newer, signedIn(idp, "ada", "", time.Now()))
	older := sessiontest.Generation(t, shared, salt, []string{"k1"}, ua)
	own, _ := sessiontest.SignIn(t, older, signedIn(idp, "ada", "", time.Now()))
	w := session.Whose{Issuer: idp, Subject: "ada"}
	ended, err := older.EndAll(t.Context(), w, time.Time{})
	wantErr(t, "EndAll", err, session.ErrUnavailable)
	if !session.IsUnknownVersion(err) || len(ended) != 1 {
		t.Errorf("ended %d, %v: want the one it can read, and that a version is unknown", len(ended), err)
	}
	if lives(t, older, own) || !lives(t, newer, header) {
		t.Error("the wrong one was ended")
	}
	_, err = older.EndByPublicID(t.Context(), s.PublicID())
	wantErr(t, "EndByPublicID", err, session.ErrUnavailable)
	if found, more, err := older.List(t.Context(), session.ListOptions{Whose: w, Most: 10}); err != nil || !more || len(found) != 0 {
		t.Errorf("List: %v, %v, %v; want that there is more", found, more, err)
	}
	if n := endAll(t, newer, w, time.Time{}); n != 1 || lives(t, newer, header) {
		t.Errorf("ended %d where it can be read", n)
	}
}

// A store that fails in the middle of a sign-in leaves no session that EndAll would
// not find.
func TestASignInThatCantBeListedFails(t *testing.T) {
	for name, failing := range map[string]failing{"join": {join: true}, "marks": {holder: true}} {
		t.Run(name, func(t *testing.T) {
			store := memoryStore(t)
			failing.Store = store
			m := sessiontest.Manager(t, &failing, nil)
			_, _, err := m.Create(t.Context(), signedIn(idp, "ada", "s", time.Now()), sessiontest.Home)
			wantErr(t, "Create", err, session.ErrUnavailable)
			if n, _ := store.Count(t.Context()); n != 0 {
				t.Errorf("%d sessions", n)
			}
		})
	}
	m := sessiontest.Manager(t, &failing{Store: memoryStore(t), holder: true}, nil)
	_, err := m.EndAll(t.Context(), session.Whose{Issuer: idp, Subject: "ada"}, time.Time{})
	wantErr(t, "EndAll without its mark", err, session.ErrUnavailable)
}

type failing struct {
	session.Store
	join, holder bool
}

func (f *failing) Join(ctx context.Context, k session.Key, groups []session.Key, ttl time.Duration) error {
	if f.join {
		return errors.New("away")
	}
	return f.Store.Join(ctx, k, groups, ttl)
}

func (f *failing) Holder(ctx context.Context, name string) (string, bool, error) {
	if f.holder {
		return "", false, errors.New("away")
	}
	return f.Store.Holder(ctx, name)
}

// What a release without groups began is in none: nobody finds it but its cookie, and
// the list of everybody.
func TestASessionOfAnOlderReleaseIsFoundByItsCookieOnly(t *testing.T) {
	store := memoryStore(t)
	older := sessiontest.Manager(t, &groupless{store}, nil)
	header, s := sessiontest.SignIn(t, older, signedIn(idp, "ada", "s", time.Now()))
	m := sessiontest.Manager(t, store, nil)
	if n := endAll(t, m, session.Whose{Issuer: idp, Subject: "ada"}, time.Time{}); n != 0 {
		t.Errorf("ended %d", n)
	}
	_, err := m.EndByPublicID(t.Context(), s.PublicID())
	wantErr(t, "EndByPublicID", err, session.ErrNone)
	if found, _, err := m.List(t.Context(), session.ListOptions{Most: 10}); err != nil || len(found) != 1 || found[0].PublicID != s.PublicID() {
		t.Errorf("%v, %v", found, err)
	}
	mustFind(t, m, header)
}

type groupless struct{ session.Store }

func (groupless) Join(context.Context, session.Key, []session.Key, time.Duration) error { return nil }

func TestEndAllDuringARefreshIsFinal(t *testing.T) {
	threat.Covers(t, 53)
	synctest.Test(t, func(t *testing.T) {
		store := memoryStore(t)
		provider := sessiontest.NewIdP(time.Minute, 5*time.Second)
		here, there := sessiontest.Manager(t, store, nil), sessiontest.Manager(t, store, nil)
		header, s := expired(t, here, provider)
		done := make(chan error, 1)
		go func() {
			_, err := here.Fresh(t.Context(), s, provider.Refresh)
			done <- err
		}()
		time.Sleep(time.Second) // the IdP has been asked
		if n := endAll(t, there, session.Whose{Issuer: s.Record().Issuer, Subject: s.Record().Subject}, time.Time{}); n != 1 {
			t.Fatalf("ended %d", n)
		}
		wantErr(t, "the refresh", <-done, session.ErrEnded)
		if lives(t, here, header) || lives(t, there, header) {
			t.Error("the refresh has brought it back")
		}
		if n, _ := store.Count(t.Context()); n != 0 {
			t.Errorf("%d records", n)
		}
	})
}

func TestListAndEndByPublicID(t *testing.T) {
	for name, store := range map[string]func(t *testing.T) session.Store{
		"memory": func(t *testing.T) session.Store { return memory.Open(memory.Options{}) },
		"embedded": func(t *testing.T) session.Store {
			s, err := embedded.Open(t.TempDir() + "/data")
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := store(t)
			t.Cleanup(func() { s.Close() })
			m := sessiontest.Manager(t, s, nil)
			sessiontest.Listed(t, m, m)
		})
	}
}
