package e2e

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/testkit/faults"
	"keyway/internal/testkit/leakhunt"
	"keyway/internal/testkit/redisserver"
	"keyway/internal/threat"
)

// Each fault on the way to each dependency, and what users get meanwhile. A new
// dependency is a line of matrix.
type fault struct {
	name string
	on   func(*faults.Link)
}

var allFaults = []fault{
	{"down", (*faults.Link).Down},
	{"reset", (*faults.Link).Reset},
	{"reset mid-answer", func(l *faults.Link) { l.ResetAfter(150 * time.Millisecond) }},
	{"truncated", func(l *faults.Link) { l.Truncate(40) }},
	{"half open", (*faults.Link).HalfOpen},
	{"trickling", func(l *faults.Link) { l.Trickle(1) }},
	{"jittery", func(l *faults.Link) { l.Jitter(250*time.Millisecond, 200*time.Millisecond) }},
	{"closing slowly", func(l *faults.Link) { l.SlowClose(time.Second) }},
}

// Bounds. A request to the provider may take 10 s, and a sign-in makes two; to Redis
// 1 s, and a few are made; to the upstream what the route says, here 2 s. The rest is
// for a machine with too much to do.
const (
	idpBound      = 30 * time.Second
	redisBound    = 15 * time.Second
	upstreamBound = 12 * time.Second
	recovers      = 20 * time.Second
)

var matrix = []struct {
	dependency string
	link       func(*faultyWorld) *faults.Link
	bound      time.Duration
	// spared are the calls that do without it: they go on as if nothing were.
	spared []string
}{
	{"provider", func(w *faultyWorld) *faults.Link { return w.provider }, idpBound, []string{"session", "verify"}},
	{"Redis", func(w *faultyWorld) *faults.Link { return w.redis }, redisBound, nil},
	{"upstream", func(w *faultyWorld) *faults.Link { return w.upstream }, upstreamBound, []string{"verify", "login", "callback"}},
}

// faultyWorld is a gateway whose every dependency is behind a link that can fail.
type faultyWorld struct {
	*world
	provider, redis, upstream *faults.Link
	gateway                   *Process
	user                      *Browser
	cookie                    string
}

func newFaultyWorld(t *testing.T) *faultyWorld {
	t.Helper()
	w := &faultyWorld{world: newWorld(t, setup{Method: "client_secret_basic", Late: true})}
	server := httptest.NewUnstartedServer(nil)
	w.provider = faults.Proxy(t, server.Listener.Addr().String())
	issuer := "http://" + w.provider.Addr()
	// Access tokens that run out all the time, so that there is always something to
	// refresh; refresh tokens that work again when an answer got lost.
	provider, err := idp.New(idp.Options{Issuer: issuer, AccessTokenLifetime: 2 * time.Second, KeepRefreshTokens: true, Clients: []idp.Client{
		{ID: clientID, AuthMethods: []string{"client_secret_basic"}, RedirectURIs: []string{w.Env["BFF_CALLBACK_URL"]}, Secrets: []string{w.Env["AUTH_CLIENT_SECRET"]}},
		{ID: asker, Secrets: []string{askerSecret}, AuthMethods: []string{idp.AuthSecretBasic}, GrantTypes: []string{}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = leakhunt.Watch(provider)
	server.Start()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close(); _ = provider.Close() })
	redis := redisserver.Start(t)
	w.redis = faults.Proxy(t, redis.Addr())
	w.upstream = faults.Proxy(t, mustURL(t, w.API.URL).Host)
	w.settle(t, quick)
	dir := w.Env["BFF_CONFIG_DIR"]
	write(t, filepath.Join(dir, "routes.yaml"), strings.ReplaceAll(`
services:
  api: {base_url: "http://API", timeout: 2s}
routes:
  - {id: session, path: /api/session, target_service: api, upstream_path: /page, methods: [GET], auth: session, token_policy: {mode: none}}
  - {id: refresh, path: /api/refresh, target_service: api, upstream_path: /echo, methods: [GET], auth: session}
  - {id: machine, path: /m2m, target_service: api, upstream_path: /page, methods: [GET], auth: bearer, token_policy: {mode: none}}
`, "API", w.upstream.Addr()))
	write(t, filepath.Join(dir, "asker"), askerSecret)
	write(t, filepath.Join(dir, "idps.yaml"), fmt.Sprintf(
		"idps:\n  - {name: machines, issuer: %q, audience: %s, client_id: %s, client_secret: %q, token_endpoint_auth_method: client_secret_basic}\n",
		issuer, audience, asker, "file:"+filepath.Join(dir, "asker")))
	w.Env["OIDC_ISSUER"] = issuer
	w.gateway = w.serve(t, Env{"REDIS_URL": "redis://" + w.redis.Addr() + "/0", "LOG_LEVEL": "info"})
	w.user = w.enter(t, w.gateway)
	w.cookie = w.user.Jar.Get("__Host-bff_session").Value
	return w
}

func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	for _, m := range matrix {
		t.Run(m.dependency, func(t *testing.T) {
			threat.Covers(t, 67)
			t.Parallel()
			w := newFaultyWorld(t)
			w.allWork(t, "before")
			w.all(t, "no fault", m.bound, w.calls(t), nil) // so that its pools are filled
			goroutinesBefore, heapBefore := goroutines(t, w.gateway), w.heap(t)
			for _, f := range allFaults {
				calls := w.calls(t)
				link := m.link(w)
				f.on(link)
				w.all(t, f.name, m.bound, calls, m.spared)
				link.Up()
				w.allWork(t, f.name)
				if t.Failed() {
					t.Fatalf("after %s", f.name)
				}
			}
			// Idle connections are kept for a minute, at two goroutines each, and there may be
			// some more of them now. What leaks, leaks with each of a hundred calls.
			w.API.CloseClientConnections()
			wantNoMoreGoroutines(t, w.gateway, goroutinesBefore+12)
			if heap := w.heap(t); heap > 2*heapBefore+64<<20 {
				t.Errorf("%d MB of heap before the faults, %d MB after them", heapBefore>>20, heap>>20)
			}
		})
	}
}

// faultyCall is something that people do.
type faultyCall struct {
	name string
	once bool // it works only one time
	good int  // its status when all is well
	do   func() (Answer, error)
}

// calls are one of each. What has to be made ready for them is, so there must be no
// fault yet.
func (w *faultyWorld) calls(t *testing.T) []faultyCall {
	t.Helper()
	late := w.browser(w.gateway)
	callback := late.ToCallback(t, "grace", "/")
	user := func(path string) func() (Answer, error) {
		return func() (Answer, error) { return w.user.Try("GET", path, "") }
	}
	bare := NewBrowser(w.gateway.URL)
	return []faultyCall{
		{"session", false, 200, user("/api/session")},
		{"refresh", false, 200, user("/api/refresh")},
		{"verify", false, 200, user("/auth/verify")},
		{"login", false, 303, func() (Answer, error) { return NewBrowser(w.gateway.URL).Try("GET", "/auth/login?return_to=/", "") }},
		{"callback", true, 303, func() (Answer, error) { return late.Try("GET", callback, "") }},
		// A token that nobody has seen can only be asked about.
		{"bearer", false, 401, func() (Answer, error) { return bare.Try("GET", "/m2m", "", "Authorization", "Bearer "+rand.Text()) }},
		{"back-channel logout", false, 400, func() (Answer, error) {
			return bare.Try("POST", "/auth/backchannel-logout", "logout_token=x."+rand.Text()+".y", "Content-Type", "application/x-www-form-urlencoded")
		}},
	}
}

// all makes all calls at once, each twice: what fails may leave something behind that
// the next one meets.
func (w *faultyWorld) all(t *testing.T, fault string, bound time.Duration, calls []faultyCall, spared []string) {
	var all sync.WaitGroup
	for _, c := range calls {
		for range 2 {
			all.Go(func() { w.judge(t, fault, c, bound, slices.Contains(spared, c.name)) })
			if c.once {
				break
			}
		}
	}
	all.Wait()
}

// judge makes a call, and holds what comes of it against what may.
func (w *faultyWorld) judge(t *testing.T, fault string, c faultyCall, bound time.Duration, spared bool) {
	start := time.Now()
	a, err := c.do()
	took := time.Since(start)
	name := fault + ", " + c.name
	if took > bound {
		t.Errorf("%s: took %v, want at most %v", name, took, bound)
	}
	if err != nil {
		// A response that had begun can only be cut. Nobody takes it for a whole one.
		if a.Response == nil || a.StatusCode != 200 {
			t.Errorf("%s: no answer: %v", name, err)
		}
		return
	}
	if spared && a.StatusCode != c.good {
		t.Errorf("%s: %s %s, and it needs nothing of what is faulty", name, a.Status, a.Text)
	}
	switch a.StatusCode {
	case c.good:
		if c.name == "refresh" && !strings.Contains(a.Text, "u-ada-1815") {
			t.Errorf("%s: not hers: %s", name, a.Text)
		}
	case 502, 503, 504:
		if cc := a.Header.Get("Cache-Control"); cc != "no-store" {
			t.Errorf("%s: Cache-Control %q", name, cc)
		}
	default:
		// nginx's auth_request knows but 401 and 403: it is told in the body why.
		if c.name == "verify" && a.StatusCode == 403 && (strings.Contains(a.Text, "sessions_unavailable") || strings.Contains(a.Text, "idp_unavailable")) {
			break
		}
		// A stranger's request may be refused for what it is; a user's may not: she is
		// signed in, whatever else is wrong.
		if a.StatusCode < 400 || c.name == "session" || c.name == "refresh" || c.name == "verify" {
			t.Errorf("%s: %s %s", name, a.Status, a.Text)
		}
	}
	if c.name == "session" || c.name == "refresh" || c.name == "verify" {
		for _, set := range a.Cookies() {
			if strings.HasSuffix(set.Name, "bff_session") {
				t.Errorf("%s: %s sets or clears %s", name, a.Status, set.Name)
			}
		}
	}
}

// allWork waits until everything works by itself again, for the user who was signed
// in before, and for one who comes now.
func (w *faultyWorld) allWork(t *testing.T, after string) {
	t.Helper()
	if now := w.user.Jar.Get("__Host-bff_session"); now == nil || now.Value != w.cookie {
		t.Fatalf("%s: her cookie is gone", after)
	}
	deadline := time.Now().Add(recovers)
	for {
		bad := ""
		for _, path := range []string{"/api/session", "/api/refresh", "/auth/verify", "/health/ready"} {
			if a, err := w.user.Try("GET", path, ""); err != nil || a.StatusCode != 200 {
				bad = fmt.Sprintf("%s: %v %v", path, status(a), err)
				break
			}
		}
		b := w.browser(w.gateway)
		if a, err := b.Try("GET", "/auth/login?return_to=/", ""); bad == "" && (err != nil || a.StatusCode != 303) {
			bad = fmt.Sprintf("/auth/login: %v %v", status(a), err)
		}
		if bad == "" {
			if a := b.SignIn(t, "grace", "/"); a.StatusCode != 303 || !b.SignedIn(t) {
				bad = "the callback: " + a.Status
			}
		}
		if bad == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: it has not come back in %v: %s", after, recovers, bad)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func status(a Answer) string {
	if a.Response == nil {
		return "no answer"
	}
	return a.Status + " " + a.Text
}

var heapInUse = regexp.MustCompile(`(?m)^go_memstats_heap_inuse_bytes ([0-9.e+]+)$`)

// heap is how much memory the gateway holds, by its own metrics.
func (w *faultyWorld) heap(t *testing.T) int {
	t.Helper()
	a := NewBrowser(w.gateway.AdminURL).Get(t, "/metrics")
	m := heapInUse.FindStringSubmatch(a.Text)
	if a.StatusCode != http.StatusOK || m == nil {
		t.Fatalf("no go_memstats_heap_inuse_bytes in /metrics: %s", a.Status)
	}
	n, _ := strconv.ParseFloat(m[1], 64)
	return int(n)
}
