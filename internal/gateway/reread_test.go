package gateway_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/gateway"
	"keyway/internal/keyring"
	"keyway/internal/session"
	"keyway/internal/threat"
)

// sources is what Options.Reread finds.
type sources struct {
	w     *world
	calls atomic.Int32
	mu    sync.Mutex
	found []keyring.Version // nil: nothing new
	err   error
	hold  chan struct{} // if set, a reading ends when it is closed
}

func (s *sources) set(found []keyring.Version, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found, s.err = found, err
}

func (s *sources) reread(context.Context) (bool, error) {
	s.calls.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold != nil {
		<-s.hold
	}
	if s.err != nil || s.found == nil {
		return false, s.err
	}
	s.w.publish(s.found)
	return true, nil
}

func withSources(s *sources) option {
	return func(w *world) {
		s.w = w
		w.options = append(w.options, func(o *gateway.Options) { o.Reread = s.reread })
	}
}

var (
	onlyOld = one("v1")
	onlyNew = one("v2")
	overlap = []keyring.Version{version("v2", keyring.Active), version("v1", keyring.Retiring)}
)

// Another replica issues with a version that this one has not heard of. Whoever
// comes with what it issued waits for a moment, and is served.
func TestUnknownVersionIsLookedForBeforeItIsRefused(t *testing.T) {
	threat.Covers(t, 61)
	for name, c := range map[string]func(*testing.T, *world, *user, *user, string, string){
		"a cookie": func(t *testing.T, _ *world, u, _ *user, _, _ string) {
			if got := u.do("GET", "/api/notes"); got.status != 200 {
				t.Errorf("%d %s", got.status, got.body)
			}
		},
		"who is signed in": func(t *testing.T, _ *world, u, _ *user, _, _ string) {
			if !u.signedIn() {
				t.Error("told that nobody is")
			}
		},
		"a proxy asks": func(t *testing.T, _ *world, u, _ *user, _, _ string) {
			if got := u.do("GET", "/auth/verify"); got.status != 200 || got.header.Get("X-User-Id") == "" {
				t.Errorf("%d %s", got.status, got.body)
			}
		},
		"a form, whole": func(t *testing.T, w *world, u, _ *user, token, _ string) {
			bodies := make(chan string, 1)
			w.onBody = func(b string) { bodies <- b }
			form := strings.Repeat("the whole form; ", 100_000)
			if got := u.send(http.MethodPost, "/api/notes", form, "X-CSRF-Token", token); got.status != 200 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			if got := <-bodies; got != form {
				t.Errorf("the upstream got %d of %d bytes", len(got), len(form))
			}
		},
		"a stream": func(t *testing.T, _ *world, u, _ *user, _, _ string) {
			if got := u.do("GET", "/api/stream"); got.status != 200 {
				t.Errorf("%d %s", got.status, got.body)
			}
		},
		"a sign-in under way": func(t *testing.T, _ *world, _, u *user, _, callback string) {
			if got := u.do("GET", callback); got.status != http.StatusSeeOther || got.header.Get("Location") != "/home" || !u.signedIn() {
				t.Errorf("%d %s", got.status, got.body)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &sources{}
			w := start(t, withSources(s))
			// The other replica: it has v2.
			w.publish(overlap)
			u, underWay := w.user().signIn(), w.user()
			token, callback := u.csrf(), underWay.toCallback("/home")
			// This one does not, yet.
			w.publish(onlyOld)
			s.set(overlap, nil)
			if c(t, w, u, underWay, token, callback); s.calls.Load() != 1 {
				t.Errorf("the sources were read again %d times, want once", s.calls.Load())
			}
		})
	}
}

func TestAHundredRequestsReadTheSourcesOnce(t *testing.T) {
	s := &sources{hold: make(chan struct{})}
	var begun atomic.Int32
	w := start(t, withSources(s), func(w *world) {
		w.options = append(w.options, func(o *gateway.Options) {
			o.Current = func() *gateway.Generation { begun.Add(1); return w.current.Load() }
		})
	})
	w.publish(overlap)
	u := w.user().signIn()
	w.publish(onlyOld)
	s.set(overlap, nil)
	begun.Store(0)
	var served atomic.Int32
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() {
			if u.do("GET", "/api/notes").status == 200 {
				served.Add(1)
			}
		})
	}
	poll(t, "all have come, and a reading has begun", func() bool { return s.calls.Load() == 1 && begun.Load() >= 200 })
	close(s.hold)
	group.Wait()
	if served.Load() != 100 || s.calls.Load() != 1 {
		t.Errorf("%d of 100 served, the sources were read %d times; want once", served.Load(), s.calls.Load())
	}
}

// What nobody has is refused as it always was; what nobody can know is not.
func TestWhatTheSourcesDoNotHave(t *testing.T) {
	s := &sources{}
	w := start(t, withSources(s))
	w.publish(onlyNew)
	u := w.user().signIn()
	cookie, token := u.cookie("bff_session"), u.csrf()
	other := w.user()
	callback := other.toCallback("/home")
	w.publish(onlyOld)
	mine := w.user().signIn() // a session that is known, for a token that is not

	s.set(nil, errors.New("redis is away"))
	for what, got := range map[string]response{
		"a call":     u.do("GET", "/api/notes"),
		"session":    u.do("GET", "/auth/session"),
		"logout":     u.do("POST", "/auth/logout", "X-CSRF-Token", token),
		"CSRF token": mine.do("POST", "/api/notes", "X-CSRF-Token", token),
		"callback":   other.do("GET", callback),
	} {
		if got.status != 503 || got.code() != "keys_unavailable" || got.header.Get("Retry-After") == "" {
			t.Errorf("%s while nobody can know: %d %s", what, got.status, got.body)
		}
		if got.header.Get("Set-Cookie") != "" {
			t.Errorf("%s while nobody can know changed a cookie: %v", what, got.header["Set-Cookie"])
		}
	}
	if u.cookie("bff_session") != cookie {
		t.Error("the cookie is gone")
	}

	s.set(nil, nil)
	if got := u.do("GET", "/api/notes"); got.status != 401 || got.code() != "unauthenticated" {
		t.Errorf("a cookie of a version that nobody has: %d %s", got.status, got.body)
	}
	if got := mine.do("POST", "/api/notes", "X-CSRF-Token", token); got.status != 403 || got.code() != "csrf_failed" {
		t.Errorf("a CSRF token: %d %s", got.status, got.body)
	}
	if got := other.do("GET", callback); got.status != 400 || got.code() != "login_failed" {
		t.Errorf("a state: %d %s", got.status, got.body)
	}
	if u.signedIn() {
		t.Error("signed in by a version that nobody has")
	}
	if !u.signIn().signedIn() {
		t.Error("whoever has such a cookie can't sign in")
	}
}

// Anybody can make ids up. They must not each cost a second, nor a reading.
func TestMadeUpVersionsDoNotWaitEach(t *testing.T) {
	s := &sources{}
	w := start(t, withSources(s))
	u := w.user()
	junk := "bff_session=madeup." + strings.Repeat("A", 43)
	for range 50 {
		if got := u.do("GET", "/api/notes", "Cookie", junk); got.status != 401 {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	if n := s.calls.Load(); n > 3 { // one each five seconds
		t.Errorf("the sources were read %d times for one id", n)
	}
	began := time.Now()
	var group sync.WaitGroup
	for i := range 60 {
		group.Go(func() {
			_ = w.user().do("GET", "/api/notes", "Cookie", "bff_session=madeup-"+string(rune('A'+i%26))+string(rune('a'+i/26))+"."+strings.Repeat("A", 43))
		})
	}
	group.Wait()
	if n := s.calls.Load(); n > int32(time.Since(began)/time.Second)+4 {
		t.Errorf("the sources were read %d times in %v", n, time.Since(began))
	}
	before := s.calls.Load()
	signed := w.user().signIn()
	if got := signed.do("POST", "/api/notes", "X-CSRF-Token", strings.Repeat("x", 70)+"."+strings.Repeat("A", 75)); got.status != 403 || s.calls.Load() != before {
		t.Errorf("what is too long to be a version: %d, %d readings", got.status, s.calls.Load()-before)
	}
}

// The session that ends is the one of the cookie, though its version came late.
func TestLogoutUnderAnUnknownVersion(t *testing.T) {
	threat.Covers(t, 27)
	s := &sources{}
	w := start(t, withSources(s))
	w.publish(overlap)
	u, other := w.user().signIn(), w.user().signIn()
	old, token := u.cookie("bff_session"), u.csrf()
	w.publish(onlyOld)
	s.set(overlap, nil)
	if got := u.do("POST", "/auth/logout", "X-CSRF-Token", token); got.status != http.StatusSeeOther {
		t.Fatalf("%d %s", got.status, got.body)
	}
	u.setCookie("bff_session", old)
	if u.signedIn() {
		t.Error("the session lives on")
	}
	if !other.signedIn() {
		t.Error("somebody else's ended")
	}
}

// A sign-in ends the session that the browser had, whoever's version it is under:
// before the code is used up, because that can't be done twice.
func TestSignInOverASessionUnderAnUnknownVersion(t *testing.T) {
	threat.Covers(t, 15)
	s := &sources{}
	w := start(t, withSources(s))
	u := w.user()
	callback := u.toCallback("/home") // under v1
	w.publish(overlap)
	planted := w.user().signIn()
	u.setCookie("bff_session", planted.cookie("bff_session"))
	w.publish(onlyOld)
	s.set(nil, errors.New("redis is away"))
	if got := u.do("GET", callback); got.status != 503 {
		t.Fatalf("while nobody can know: %d %s", got.status, got.body)
	}
	s.set(overlap, nil)
	if got := u.do("GET", callback); got.status != http.StatusSeeOther || got.header.Get("Location") != "/home" {
		t.Fatalf("the same callback again: %d %s", got.status, got.body)
	}
	if !u.signedIn() || planted.signedIn() {
		t.Errorf("signed in: %v; the session before lives: %v", u.signedIn(), planted.signedIn())
	}
}

// A retired version is over, without anybody being asked, and the browser is rid of
// the cookie.
func TestRetiredVersionIsFinal(t *testing.T) {
	threat.Covers(t, 61)
	s := &sources{}
	w := start(t, withSources(s))
	u := w.user().signIn()
	token, other := u.csrf(), w.user()
	callback := other.toCallback("/home")
	w.publish([]keyring.Version{version("v2", keyring.Active), version("v1", keyring.Retired)})
	if got := u.do("POST", "/api/notes", "X-CSRF-Token", token); got.status != 401 || got.code() != "session_ended" || u.cookie("bff_session") != "" {
		t.Errorf("a cookie: %d %s, which leaves %q", got.status, got.body, u.cookie("bff_session"))
	}
	if got := other.do("GET", callback); got.status != 400 || got.code() != "login_failed" || !strings.Contains(got.body, "start again") {
		t.Errorf("a state: %d %s", got.status, got.body)
	}
	if !other.signIn().signedIn() || !u.signIn().signedIn() {
		t.Error("signing in again does not work")
	}
	if u.do("POST", "/api/notes", "X-CSRF-Token", token).status != 403 || s.calls.Load() != 0 {
		t.Error("a retired CSRF token passed, or the sources were read for it")
	}
}

// An open page is given a new CSRF token while its old one is still good.
func TestOldCSRFTokensAreReplaced(t *testing.T) {
	threat.Covers(t, 61)
	w := start(t)
	u := w.user().signIn()
	old := u.csrf()
	u.do("GET", "/api/notes")
	if got := u.cookie("bff_csrf"); got != old {
		t.Error("a token of the active version was replaced")
	}
	w.publish(overlap)
	u.do("POST", "/api/notes", "X-CSRF-Token", old)
	if u.cookie("bff_csrf") != old {
		t.Error("a POST replaced the token")
	}
	for _, path := range []string{"/api/notes", "/auth/session"} {
		u.setCookie("bff_csrf", old)
		u.do("GET", path)
		if got := u.cookie("bff_csrf"); !strings.HasPrefix(got, "v2.") {
			t.Errorf("%s left %.3s", path, got)
		} else if got := u.do("POST", "/api/notes", "X-CSRF-Token", got); got.status != 200 {
			t.Errorf("the new token: %d %s", got.status, got.body)
		}
	}
	if got := u.do("GET", "/api/notes", "X-CSRF-Token", old); !strings.Contains(strings.Join(got.header["Set-Cookie"], ";"), "bff_csrf=v2.") {
		t.Error("a page that holds the old token in memory is not given another")
	}
	if got := w.user().do("GET", "/public/x", "Cookie", "bff_csrf="+old); got.header.Get("Set-Cookie") != "" {
		t.Error("a token for nobody's session")
	}
}

func TestCutOffReplicaIssuesNothing(t *testing.T) {
	var may atomic.Bool
	may.Store(true)
	w := start(t, func(w *world) {
		w.options = append(w.options, func(o *gateway.Options) { o.MayIssue = may.Load })
	})
	u, other := w.user().signIn(), w.user()
	token := u.csrf()
	callback := other.toCallback("/home")
	may.Store(false)
	for _, path := range []string{"/auth/login", "/auth/csrf"} {
		if got := u.do("GET", path); got.status != 503 || got.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %v", path, got.status, got.header["Set-Cookie"])
		}
	}
	if got := other.do("GET", callback); got.status != 503 {
		t.Errorf("callback: %d", got.status)
	}
	if got := u.do("POST", "/api/notes", "X-CSRF-Token", token); got.status != 200 || !u.signedIn() {
		t.Errorf("what was issued before: %d %s", got.status, got.body)
	}
	may.Store(true)
	if got := other.do("GET", callback); got.status != http.StatusSeeOther || !other.signedIn() {
		t.Errorf("the same callback afterwards: %d %s", got.status, got.body)
	}
}

func TestRefusalsAreTold(t *testing.T) {
	var mu sync.Mutex
	var told []string
	w := start(t, func(w *world) {
		w.binding.UserAgent = true
		w.options = append(w.options, func(o *gateway.Options) {
			o.Refused = func(secret, version, who string) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, secret+" "+version+" "+who)
			}
		})
	})
	u, other := w.user().signIn(), w.user().signIn()
	token := u.csrf()
	u.do("POST", "/api/notes", "X-CSRF-Token", token)
	u.do("POST", "/api/notes", "X-CSRF-Token", "madeup."+strings.Repeat("A", 75))
	u.do("POST", "/api/notes")
	w.user().do("GET", "/api/notes", "Cookie", "bff_session=v1."+strings.Repeat("A", 43))
	if len(told) != 0 {
		t.Errorf("told of what was good, or made up: %v", told)
	}
	other.do("POST", "/api/notes", "X-CSRF-Token", token)
	who := strings.TrimPrefix(told[0], "csrf-key v1 ")
	if _, subject, ok := strings.Cut(who, "\x00"); len(told) != 1 || !ok || !strings.Contains(other.do("GET", "/auth/session").body, `"sub":"`+subject+`"`) {
		t.Errorf("told %q, want the csrf-key, its version and the user", told)
	}
	other.do("GET", "/api/notes", "User-Agent", "another browser")
	if len(told) != 2 || told[1] != "ua-hash-salt v1 "+who {
		t.Errorf("told %v, want the ua-hash-salt too", told)
	}
	var damaged string
	must(t, w.store.Heads(t.Context(), 8, func(k session.Key, _ []byte) error {
		it, err := w.store.Get(t.Context(), k)
		must(t, err)
		it.Data = append([]byte(nil), it.Data...)
		it.Data[len(it.Data)-1] ^= 1
		_, err = w.store.Replace(t.Context(), k, it.Revision, it.Data)
		damaged += k.String() + " "
		return err
	}))
	u.do("GET", "/auth/session")
	if record, ok := strings.CutPrefix(told[len(told)-1], "session-key v1 "); !ok || !strings.Contains(damaged, record) {
		t.Errorf("told %v, want the session-key too", told)
	}
}

// Who waits for the sources does not keep others from being served, and is counted
// once.
func TestWhoWaitsIsNotServed(t *testing.T) {
	s := &sources{hold: make(chan struct{})}
	w := start(t, withSources(s), func(w *world) { w.settings.ConcurrentRequests = 1 })
	w.publish(overlap)
	newer := w.user().signIn()
	w.publish(onlyOld)
	older := w.user().signIn()
	s.set(overlap, nil)
	var waits sync.WaitGroup
	waits.Go(func() {
		if got := newer.do("GET", "/api/notes"); got.status != 200 {
			t.Errorf("who waited: %d %s", got.status, got.body)
		}
	})
	poll(t, "a reading begins", func() bool { return s.calls.Load() == 1 })
	if got := older.do("GET", "/api/notes"); got.status != 200 {
		t.Errorf("meanwhile: %d %s", got.status, got.body)
	}
	close(s.hold)
	waits.Wait()
	for range 3 {
		if got := older.do("GET", "/api/notes"); got.status != 200 {
			t.Errorf("afterwards: %d %s", got.status, got.body)
		}
	}
}

// The IdP takes its time, and a secret turns meanwhile: the session is made with
// what is active then.
func TestASignInIsIssuedWithWhatIsActiveAtItsEnd(t *testing.T) {
	threat.Covers(t, 61)
	w := start(t)
	u := w.user()
	callback := u.toCallback("/home")
	w.idp.SetHooks(&idp.Hooks{Before: func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			w.publish(overlap)
		}
		return false
	}})
	if got := u.do("GET", callback); got.status != http.StatusSeeOther {
		t.Fatalf("%d %s", got.status, got.body)
	}
	for _, name := range []string{"bff_session", "bff_csrf"} {
		if !strings.HasPrefix(u.cookie(name), "v2.") {
			t.Errorf("%s is issued with %.3s", name, u.cookie(name))
		}
	}
	count, err := w.current.Load().Sessions.CountVersions(t.Context())
	must(t, err)
	if count.SessionKey["v2"] != 1 || count.Salt["v2"] != 1 {
		t.Errorf("the record rests on %v", count)
	}
}

// poll waits until ok.
func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}
