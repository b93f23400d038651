package e2e

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/demo/api"
)

// upstream is an API behind the gateway: the demo's, which lets every token in,
// and remembers what it saw.
type upstream struct {
	*httptest.Server
	mu     sync.Mutex
	tokens []string      // in the order of arrival
	last   arrival       // the last request
	seen   chan string   // paths as they arrive; nobody need listen
	gate   chan struct{} // closed: /slow answers
}

// arrival is a whole request as it came.
type arrival struct {
	Method, Target, Host string
	Header, Trailer      http.Header
	Body                 string
}

func startUpstream(t testing.TB) *upstream {
	t.Helper()
	u := &upstream{seen: make(chan string, 1024), gate: make(chan struct{})}
	demo := api.New(api.Options{
		TickInterval: 50 * time.Millisecond,
		Verify: func(_ context.Context, token string) (api.Subject, error) {
			u.mu.Lock()
			defer u.mu.Unlock()
			u.tokens = append(u.tokens, token)
			return api.Subject{ID: "somebody"}, nil
		},
	})
	mux := http.NewServeMux()
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-u.gate:
			_, _ = w.Write([]byte("at last"))
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/page", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><title>A page</title>"))
	})
	u.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			return // cut on the way: nothing has arrived
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		u.mu.Lock()
		u.last = arrival{r.Method, r.RequestURI, r.Host, r.Header.Clone(), r.Trailer.Clone(), string(body)}
		u.mu.Unlock()
		select {
		case u.seen <- r.URL.EscapedPath():
		default:
		}
		// The rest not through the mux, which cleans paths.
		if r.URL.Path == "/slow" || r.URL.Path == "/page" {
			mux.ServeHTTP(w, r)
			return
		}
		demo.ServeHTTP(w, r)
	}))
	u.Start()
	t.Cleanup(func() {
		u.CloseClientConnections()
		u.Close()
	})
	return u
}

// await waits until a request for path has arrived.
func (u *upstream) await(t testing.TB, path string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case got := <-u.seen:
			if got == path {
				return
			}
		case <-deadline:
			t.Fatalf("no request for %s has reached the upstream", path)
		}
	}
}

// lastHeader is the header of the last request that arrived.
func (u *upstream) lastHeader() http.Header { return u.lastArrival().Header }

func (u *upstream) lastArrival() arrival {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.last
}

// forget makes the upstream one that nothing has reached.
func (u *upstream) forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.last = arrival{}
}

// distinctTokens lists the access tokens that arrived, each once.
func (u *upstream) distinctTokens() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var distinct []string
	known := map[string]bool{}
	for _, token := range u.tokens {
		if !known[token] {
			known[token] = true
			distinct = append(distinct, token)
		}
	}
	return distinct
}

// routes is routes.yaml for the API at url.
func routes(url string) string {
	return strings.ReplaceAll(`
services:
  api: {base_url: URL, timeout: 20s}
  nobody: {base_url: "http://127.0.0.1:1"}
routes:
  - {id: notes, path: /api/notes, target_service: api, upstream_path: /notes, methods: [GET, POST], auth: session}
  - {id: echo, path: "/api/echo/*", target_service: api, upstream_path: "/echo/{path}", auth: session}
  - {id: echo-root, path: /api/echo, target_service: api, upstream_path: /echo, auth: session}
  - {id: open, path: "/open/*", target_service: api, upstream_path: "/echo/{path}", auth: none, token_policy: {mode: none}}
  - {id: ticks, path: /api/ticks, target_service: api, upstream_path: /ticks, methods: [GET], auth: session, streaming: true}
  - {id: socket, path: /api/ws, target_service: api, upstream_path: /ws, methods: [GET], auth: session, streaming: true}
  - {id: slow, path: /api/slow, target_service: api, upstream_path: /slow, methods: [GET], auth: session}
  - {id: page, path: /page, target_service: api, upstream_path: /page, methods: [GET], auth: none, token_policy: {mode: none}}
  - {id: nobody, path: /api/nobody, target_service: nobody, upstream_path: /, methods: [GET], auth: session}
`, "URL", url)
}
