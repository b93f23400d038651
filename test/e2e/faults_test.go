package e2e

import (
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"keyway/internal/testkit/faults"
	"keyway/internal/testkit/realidp"
	"keyway/internal/testkit/redisserver"
	"keyway/internal/threat"
)

// within fails the test if f takes longer. The bounds are several times what the
// gateway allows itself, for slow machines.
func within(t testing.TB, d time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > d {
		t.Errorf("took %v, want at most %v", took, d)
	}
}

func TestIdentityProviderDown(t *testing.T) {
	threat.Covers(t, 67)
	t.Parallel()
	for _, tc := range []struct {
		name  string
		fault func(*world)
		mend  func(*world)
	}{
		{"killed", func(w *world) { w.IdP.Kill(); w.idpGone = true }, nil},
		{"hanging", func(w *world) { w.IdP.Pause() }, func(w *world) { w.IdP.Resume() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			// Refresh tokens work more than once here: a provider that hangs may have used
			// one up and never said so, and then nobody can help.
			w := newWorld(t, setup{IdP: realidp.Options{PAR: realidp.PAROn, AccessTokenTTL: 4 * time.Second}})
			gateway := w.serve(t, nil)
			b := w.signedIn(t, gateway)
			wantStatus(t, b.Get(t, "/api/notes"), 200)
			before := goroutines(t, gateway)

			tc.fault(w)
			within(t, 20*time.Second, func() {
				wantProblem(t, w.browser(gateway).Get(t, "/auth/login"), 503, "idp_unavailable")
			})
			// The access token runs out. What needs it says so; nobody is signed out.
			var last Answer
			eventually(t, "the access token is over", func() bool {
				within(t, 25*time.Second, func() { last = b.Get(t, "/api/notes") })
				return last.StatusCode != 200
			})
			wantProblem(t, last, 503, "idp_unavailable")
			if last.Header.Get("Retry-After") == "" || len(last.Cookies()) != 0 {
				t.Errorf("header: %v", last.Header)
			}
			if !b.SignedIn(t) {
				t.Error("signed out because the provider is down")
			}
			wantStatus(t, b.Get(t, "/auth/verify"), 200)
			wantStatus(t, b.Get(t, "/health/ready"), 200)
			if tc.mend == nil {
				// Signing out needs nobody's help.
				wantStatus(t, b.Do(t, "POST", "/auth/logout", "", "X-CSRF-Token", b.CSRF(t)), 303)
				return
			}
			tc.mend(w)
			eventually(t, "the session is refreshed", func() bool { return b.Get(t, "/api/notes").StatusCode == 200 })
			eventually(t, "sign-in works", func() bool { return w.browser(gateway).Get(t, "/auth/login").StatusCode == 303 })
			wantNoMoreGoroutines(t, gateway, before)
		})
	}
}

// The provider is not there when the gateway starts: it starts, and sign-in
// works as soon as the provider does.
func TestIdentityProviderDownAtStart(t *testing.T) {
	threat.Covers(t, 67)
	t.Parallel()
	w := newWorld(t, setup{Method: "private_key_jwt", Late: true})
	gateway := w.serve(t, nil)
	b := w.browser(gateway)
	wantProblem(t, b.Get(t, "/auth/login"), 503, "idp_unavailable")
	wantStatus(t, b.Get(t, "/health/ready"), 200)
	wantStatus(t, b.Get(t, "/.well-known/jwks.json"), 200)
	w.startIdP()
	eventually(t, "sign-in can be started", func() bool { return w.browser(gateway).Get(t, "/auth/login").StatusCode == 303 })
	callAPI(t, w.signedIn(t, gateway))
}

func TestRedisDown(t *testing.T) {
	threat.Covers(t, 67)
	t.Parallel()
	for _, tc := range []struct {
		name        string
		fault, mend func(*redisserver.Server, *faults.Link)
	}{
		{"hanging", func(r *redisserver.Server, _ *faults.Link) { r.Pause() }, func(r *redisserver.Server, _ *faults.Link) { r.Resume() }},
		{"killed", func(r *redisserver.Server, _ *faults.Link) { r.Kill() }, func(r *redisserver.Server, _ *faults.Link) { r.Restart() }},
		{"half open", func(_ *redisserver.Server, l *faults.Link) { l.HalfOpen() }, func(_ *redisserver.Server, l *faults.Link) { l.Up() }},
		{"reset", func(_ *redisserver.Server, l *faults.Link) { l.Reset() }, func(_ *redisserver.Server, l *faults.Link) { l.Up() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			redis := redisserver.Start(t, redisserver.Password(redisPassword), redisserver.KeepData())
			link := faults.Proxy(t, redis.Addr())
			w := newWorld(t, setup{})
			w.ledger.add("the Redis password", redisPassword)
			gateway := w.serve(t, Env{"REDIS_URL": "redis://:" + redisPassword + "@" + link.Addr() + "/0"})
			b := w.signedIn(t, gateway)
			wantStatus(t, b.Get(t, "/api/notes"), 200)
			before := goroutines(t, gateway)
			cookie := b.Jar.Get("__Host-bff_session").Value

			tc.fault(redis, link)
			// For some moments a session that was just used may be known still.
			var last Answer
			eventually(t, "the gateway notices", func() bool {
				within(t, 20*time.Second, func() { last = b.Get(t, "/api/notes") })
				return last.StatusCode != 200
			})
			wantProblem(t, last, 503, "sessions_unavailable")
			wantProblem(t, b.Get(t, "/auth/verify"), 403, "sessions_unavailable") // nginx knows no other way to deny
			wantProblem(t, b.Get(t, "/auth/session"), 503, "sessions_unavailable")
			eventually(t, "readiness turns", func() bool { return b.Get(t, "/health/ready").StatusCode == 503 })
			wantStatus(t, b.Get(t, "/health/live"), 200)
			wantAllWithin(t, b, 20, 20*time.Second)
			if kept := b.Jar.Get("__Host-bff_session"); kept == nil || kept.Value != cookie {
				t.Error("the session cookie was taken away")
			}

			tc.mend(redis, link)
			eventually(t, "the session is found again", func() bool { return b.Get(t, "/api/notes").StatusCode == 200 })
			eventually(t, "it is ready", func() bool { return b.Get(t, "/health/ready").StatusCode == 200 })
			callAPI(t, w.signedIn(t, gateway))
			wantNoMoreGoroutines(t, gateway, before)
		})
	}
}

// goroutines is how many a gateway runs, by its own metrics.
func goroutines(t testing.TB, p *Process) int {
	t.Helper()
	metrics := NewBrowser(p.AdminURL).Get(t, "/metrics").Text
	m := regexp.MustCompile(`(?m)^go_goroutines (\d+)$`).FindStringSubmatch(metrics)
	if m == nil {
		t.Fatalf("no go_goroutines in:\n%s", metrics)
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// wantNoMoreGoroutines waits until a gateway runs about as many as before: some
// belong to connections, which stay open for a while.
func wantNoMoreGoroutines(t testing.TB, p *Process, before int) {
	t.Helper()
	now := 0
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if now = goroutines(t, p); now <= before+8 {
			return
		}
	}
	t.Errorf("%d goroutines before the fault, %d after it", before, now)
}

// wantAllWithin sends requests at once: none may wait in line behind the others.
func wantAllWithin(t testing.TB, b *Browser, n int, bound time.Duration) {
	t.Helper()
	var all sync.WaitGroup
	within(t, bound, func() {
		for range n {
			all.Go(func() {
				if a, err := b.Try("GET", "/api/notes", ""); err != nil || a.StatusCode != http.StatusServiceUnavailable {
					t.Errorf("%v %v", a.Response, err)
				}
			})
		}
		all.Wait()
	})
}

func TestUpstreamDown(t *testing.T) {
	threat.Covers(t, 67)
	t.Parallel()
	w := newWorld(t, setup{})
	link := faults.Proxy(t, mustURL(t, w.API.URL).Host)
	dir := folderWith(t, "routes.yaml", `
services:
  api: {base_url: "http://`+link.Addr()+`", timeout: 1s}
  nobody: {base_url: "http://127.0.0.1:1"}
routes:
  - {id: notes, path: /api/notes, target_service: api, upstream_path: /notes, methods: [GET, POST], auth: session}
  - {id: slow, path: /api/slow, target_service: api, upstream_path: /slow, methods: [GET], auth: session}
  - {id: nobody, path: /api/nobody, target_service: nobody, methods: [GET], auth: session}
`)
	b := w.signedIn(t, w.serve(t, Env{"BFF_CONFIG_DIR": dir}))
	wantStatus(t, b.Get(t, "/api/notes"), 200)
	wantProblem(t, b.Get(t, "/api/nobody"), 502, "upstream_failed")
	within(t, 10*time.Second, func() { wantProblem(t, b.Get(t, "/api/slow"), 504, "upstream_timeout") })
	link.Down()
	wantProblem(t, b.Get(t, "/api/notes"), 502, "upstream_failed")
	link.Up()
	link.HalfOpen()
	within(t, 10*time.Second, func() { wantProblem(t, b.Get(t, "/api/notes"), 504, "upstream_timeout") })
	link.Up()
	link.Reset()
	wantProblem(t, b.Get(t, "/api/notes"), 502, "upstream_failed")
	if !b.SignedIn(t) {
		t.Error("signed out because an API is down")
	}
	link.Up()
	eventually(t, "the API is back", func() bool { return b.Get(t, "/api/notes").StatusCode == 200 })
}
