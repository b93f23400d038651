package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"weak"

	"keyway/internal/gateway"
	"keyway/internal/keyring"
	"keyway/internal/session"
	"keyway/internal/telemetry"
	"keyway/internal/threat"
)

// board is what the fleet agrees on: each secret's versions.
type board struct {
	mu    sync.Mutex
	rings map[string][]keyring.Version
}

func (b *board) versions() func(name string) []keyring.Version {
	b.mu.Lock()
	defer b.mu.Unlock()
	rings := maps.Clone(b.rings)
	return func(name string) []keyring.Version {
		if vs, ok := rings[name]; ok {
			return vs
		}
		return onlyOld
	}
}

func (b *board) set(name string, versions ...keyring.Version) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rings[name] = versions
}

// replica is one gateway of a fleet: with a cache of its own, and the rings as it
// read them last.
type replica struct {
	w       *world
	shared  *session.Shared
	url     string
	current atomic.Pointer[gateway.Generation]
	rereads atomic.Int32
}

func (w *world) replica(b *board) *replica {
	r := &replica{w: w, shared: session.NewShared(w.store.Store, session.SharedOptions{})}
	r.load(b)
	g := gateway.New(gateway.Options{
		Current: r.current.Load, Log: slog.New(slog.DiscardHandler), Metrics: telemetry.NewMetrics(),
		Health: &gateway.Health{Store: r.shared.Ping},
		Reread: func(context.Context) (bool, error) {
			r.rereads.Add(1)
			r.load(b)
			return true, nil
		},
	})
	server := httptest.NewServer(g)
	r.url = server.URL
	w.t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		g.Wait()
		_ = r.shared.Close(context.Background())
	})
	return r
}

// load reads the board and swaps the generation.
func (r *replica) load(b *board) { r.current.Store(r.w.generation(r.shared, b.versions())) }

// turn is users at work on two replicas while a secret turns. The first replica has
// each state first; the second learns of it when it meets it.
type turn struct {
	t        *testing.T
	w        *world
	board    *board
	first    *replica
	second   *replica
	rounds   atomic.Int64
	failures atomic.Int64
	// asleep: the second replica learns of nothing but by what it meets; else it is
	// one state behind.
	asleep bool
}

// fleet starts it, with this secret's versions as they are before.
func fleet(t *testing.T) *turn {
	t.Helper()
	w := start(t, func(w *world) { w.binding = session.BindingOptions{UserAgent: true} })
	b := &board{rings: map[string][]keyring.Version{}}
	return &turn{t: t, w: w, board: b, first: w.replica(b), second: w.replica(b)}
}

func (f *turn) failed(what string, got response) {
	if f.failures.Add(1) <= 3 {
		f.t.Errorf("%s: %d %s", what, got.status, got.body)
	}
}

// page is a user with an open page, which has fetched its CSRF token long ago.
type page struct {
	*user
	csrfAtFirst string
}

func (f *turn) page() page {
	f.t.Helper()
	u := f.w.user()
	f.signIn(u)
	token := u.do("GET", f.first.url+"/auth/csrf")
	if token.status != 200 {
		f.t.Fatalf("csrf: %d %s", token.status, token.body)
	}
	return page{u, u.cookie("bff_csrf")}
}

// signIn begins at one replica and ends at the other.
func (f *turn) signIn(u *user) { f.signInAt(u, f.first, f.second) }

func (f *turn) signInAt(u *user, begin, end *replica) {
	callback, err := f.begin(u, begin)
	if err != nil {
		f.failed("a sign-in: "+err.Error(), response{})
		return
	}
	if got := u.do("GET", end.url+callback); got.status != http.StatusSeeOther || got.header.Get("Location") != "/home" {
		f.failed("callback", got)
	}
}

// begin goes to the IdP and returns the callback's path.
func (f *turn) begin(u *user, r *replica) (string, error) {
	begun := u.do("GET", r.url+"/auth/login?return_to=/home")
	if begun.status != http.StatusSeeOther {
		return "", fmt.Errorf("login: %d %s", begun.status, begun.body)
	}
	at, err := newIdPBrowser(f.w).SignIn(f.t.Context(), begun.header.Get("Location"), "ada", "demo")
	if err != nil {
		return "", err
	}
	return at.Next.RequestURI(), nil
}

// visit is what a user does in one go. early: the secret has not been retired yet,
// and the token that the page has had from the beginning is good.
func (f *turn) visit(p page, r *replica, early bool) {
	if got := p.do("GET", r.url+"/api/notes"); got.status != 200 {
		f.failed("a call", got)
	}
	if got := p.do("POST", r.url+"/api/notes", "X-CSRF-Token", p.cookie("bff_csrf")); got.status != 200 {
		f.failed("a form", got)
	}
	if early {
		if got := p.do("POST", r.url+"/api/notes", "X-CSRF-Token", p.csrfAtFirst); got.status != 200 {
			f.failed("a form of a page that was opened before", got)
		}
	}
	if got := p.do("GET", r.url+"/auth/session"); got.status != 200 || !strings.Contains(got.body, `"authenticated":true`) {
		f.failed("who is signed in", got)
	}
	f.rounds.Add(1)
}

// through has users at work while the secret becomes v2 everywhere.
func (f *turn) through(secret string, pages []page) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	var users sync.WaitGroup
	for i, p := range pages {
		users.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				f.visit(p, []*replica{f.first, f.second}[n%2], true)
			}
		})
	}
	users.Go(func() { // and somebody who signs in again and again, and comes back with what he got
		for n := 0; ctx.Err() == nil; n++ {
			u := f.w.user()
			if n%2 == 0 {
				f.signInAt(u, f.first, f.second)
			} else {
				f.signInAt(u, f.second, f.first)
			}
			if got := u.do("GET", f.second.url+"/api/notes"); got.status != 200 {
				f.failed("right after a sign-in", got)
			}
			f.rounds.Add(1)
		}
	})
	for _, state := range [][]keyring.Version{
		{version("v2", keyring.Pending), version("v1", keyring.Active)},
		{version("v2", keyring.Active), version("v1", keyring.Retiring)},
	} {
		f.board.set(secret, state...)
		f.first.load(f.board) // the second lags
		f.more(int64(3 * len(pages)))
		if !f.asleep {
			f.second.load(f.board)
			f.more(int64(3 * len(pages)))
		}
	}
	if f.asleep {
		poll(f.t, "the second replica looks again", func() bool { return f.second.rereads.Load() > 0 || f.failures.Load() > 3 })
		f.more(int64(3 * len(pages)))
	}
	cancel()
	users.Wait()
}

// more waits until users have done so much more.
func (f *turn) more(n int64) {
	f.t.Helper()
	from := f.rounds.Load()
	poll(f.t, "users are served", func() bool { return f.rounds.Load() >= from+n || f.failures.Load() > 3 })
}

func (f *turn) retire(secret string) {
	f.board.set(secret, version("v2", keyring.Active), version("v1", keyring.Retired))
	f.first.load(f.board)
	f.second.load(f.board)
}

func (f *turn) count() session.VersionCount {
	f.t.Helper()
	count, err := f.first.current.Load().Sessions.CountVersions(f.t.Context())
	must(f.t, err)
	return count
}

// Each secret that we issue with turns under users at work, on two replicas of
// which one lags, and nobody notices; what rests on a retired version is
// over, and a new sign-in leads out of it.
func TestEverySecretTurnsUnderUsersAtWork(t *testing.T) {
	over := func(f *turn, p page) {
		for _, r := range []*replica{f.first, f.second} {
			jar := p.client.Jar
			u := f.w.user()
			at, _ := url.Parse(r.url)
			u.client.Jar.SetCookies(at, jar.Cookies(at))
			if got := u.do("GET", r.url+"/api/notes"); got.status != 401 || got.code() != "session_ended" {
				f.t.Errorf("an old cookie: %d %s", got.status, got.body)
			}
			f.signIn(u)
			if got := u.do("GET", r.url+"/api/notes"); got.status != 200 {
				f.t.Errorf("after signing in again: %d %s", got.status, got.body)
			}
		}
	}
	for secret, after := range map[string]func(f *turn, old, fresh page){
		"token-hash-salt": func(f *turn, old, fresh page) {
			if c := f.count().Salt; c["v1"] == 0 || c["v2"] == 0 {
				f.t.Errorf("counted %v", c)
			}
			f.retire("token-hash-salt")
			over(f, old)
			f.visit(fresh, f.second, false)
		},
		"session-key": func(f *turn, old, fresh page) {
			_, err := f.first.current.Load().Sessions.Reseal(f.t.Context())
			must(f.t, err)
			if c := f.count().SessionKey; c["v1"] != 0 || c["v2"] == 0 {
				f.t.Errorf("after Reseal: %v", c)
			}
			f.retire("session-key")
			f.visit(old, f.first, true) // it never depended on the old one
			f.visit(fresh, f.second, true)
		},
		"ua-hash-salt": func(f *turn, old, fresh page) {
			if c := f.count().UA; c["v1"] == 0 || c["v2"] == 0 {
				f.t.Errorf("counted %v", c)
			}
			f.retire("ua-hash-salt")
			over(f, old)
			f.visit(fresh, f.second, false)
		},
		"csrf-key": func(f *turn, old, fresh page) {
			f.retire("csrf-key")
			if !strings.HasPrefix(old.cookie("bff_csrf"), "v2.") {
				f.t.Errorf("an open page was left with %.3s", old.cookie("bff_csrf"))
			}
			f.visit(old, f.first, false)
			f.visit(fresh, f.second, false)
			if got := old.do("POST", f.second.url+"/api/notes", "X-CSRF-Token", old.csrfAtFirst); got.status != 403 || got.code() != "csrf_failed" {
				f.t.Errorf("the old token: %d %s", got.status, got.body)
			}
		},
		"state-key": func(f *turn, old, fresh page) {
			f.retire("state-key")
			f.visit(old, f.first, true)
			f.visit(fresh, f.second, true)
		},
	} {
		turns := func(t *testing.T, asleep bool) {
			threat.Covers(t, 61)
			f := fleet(t)
			f.asleep = asleep
			pages := []page{f.page(), f.page(), f.page(), f.page()}
			under := f.w.user() // a sign-in that takes until v2 is active
			late := f.w.user()  // and one that takes until v1 is retired
			callback, err := f.begin(under, f.second)
			must(t, err)
			tooLate, err := f.begin(late, f.second)
			must(t, err)
			f.through(secret, pages)
			if n := f.second.rereads.Load(); asleep != (n > 0) {
				t.Errorf("the second replica read its sources again %d times", n)
			}
			if got := under.do("GET", f.first.url+callback); got.status != http.StatusSeeOther || got.header.Get("Location") != "/home" {
				t.Errorf("a sign-in under way: %d %s", got.status, got.body)
			}
			after(f, pages[0], f.page())
			if got := late.do("GET", f.first.url+tooLate); secret == "state-key" {
				if got.status != 400 || got.code() != "login_failed" || !strings.Contains(got.body, "start again") {
					t.Errorf("a sign-in under a retired key: %d %s", got.status, got.body)
				}
				f.signIn(late)
			}
			if got := late.do("GET", f.first.url+"/api/notes"); got.status != 200 {
				t.Errorf("who was late is not signed in: %d %s", got.status, got.body)
			}
			if n := f.failures.Load(); n > 0 {
				t.Errorf("%d failures", n)
			}
		}
		t.Run(secret+", a replica is behind", func(t *testing.T) { turns(t, false) })
		t.Run(secret+", a replica is asleep", func(t *testing.T) { turns(t, true) })
	}
}

// All secrets at once, and a replica that has slept through it all.
func TestAReplicaThatSleptThroughRotations(t *testing.T) {
	threat.Covers(t, 61)
	f := fleet(t)
	for _, secret := range []string{"token-hash-salt", "session-key", "ua-hash-salt", "csrf-key", "state-key"} {
		f.board.set(secret, overlap...)
	}
	f.first.load(f.board)
	u := f.w.user()
	callback, err := f.begin(u, f.first)
	must(t, err)
	if got := u.do("GET", f.second.url+callback); got.status != http.StatusSeeOther {
		t.Fatalf("callback: %d %s", got.status, got.body)
	}
	if n := f.second.rereads.Load(); n != 1 {
		t.Errorf("the sources were read %d times, want once", n)
	}
	f.visit(page{u, u.cookie("bff_csrf")}, f.second, true)
}

// A request is served with one generation, whole: here each of them accepts all that
// was issued under v1, or nothing.
func TestNoRequestMixesGenerations(t *testing.T) {
	threat.Covers(t, 60)
	w := start(t)
	u := w.user().signIn()
	token := u.csrf()
	cookie := "bff_session=" + u.cookie("bff_session")
	accepts := w.current.Load()
	w.publish([]keyring.Version{version("v2", keyring.Active), version("v1", keyring.Retired)})
	refuses := w.current.Load()
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() {
		for ctx.Err() == nil {
			w.current.Store(accepts)
			w.current.Store(refuses)
		}
	})
	var statuses [600]atomic.Int32
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for range 2500 {
				answer := httptest.NewRecorder()
				r := httptest.NewRequestWithContext(ctx, "POST", "/api/notes", http.NoBody)
				r.Header.Set("Cookie", cookie)
				r.Header.Set("X-CSRF-Token", token)
				w.gateway.ServeHTTP(answer, r)
				statuses[answer.Code].Add(1)
			}
		})
	}
	users.Wait()
	cancel()
	work.Wait()
	for status := range statuses {
		if n := statuses[status].Load(); n > 0 && status != 200 && status != 401 {
			t.Errorf("%d requests were answered %d", n, status)
		}
	}
	if statuses[200].Load() == 0 || statuses[401].Load() == 0 {
		t.Errorf("accepted %d, refused %d: want some of both", statuses[200].Load(), statuses[401].Load())
	}
}

// A stream goes on for hours; the keys of the generation that it began with do not.
func TestAStreamLetsGoOfItsGeneration(t *testing.T) {
	w := start(t)
	w.upstreamAnswers(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		_, _ = rw.Write([]byte("data: 1\n\n"))
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	u := w.user().signIn()
	r, err := http.NewRequestWithContext(t.Context(), "GET", w.server.URL+"/api/stream", nil)
	must(t, err)
	stream, err := u.client.Do(r)
	must(t, err)
	defer stream.Body.Close()
	if _, err := bufio.NewReader(stream.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	generation, sessions := weak.Make(w.current.Load()), weak.Make(w.current.Load().Sessions)
	w.publish(overlap)
	poll(t, "the generation before is forgotten", func() bool {
		runtime.GC()
		return generation.Value() == nil && sessions.Value() == nil
	})
}
