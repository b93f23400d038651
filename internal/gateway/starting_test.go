package gateway_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/gateway"
	"keyway/internal/threat"
)

func TestStarting(t *testing.T) {
	server := httptest.NewServer(gateway.Starting{Health: &gateway.Health{
		Starting: true, Store: func(context.Context) error { return errors.New("dial tcp 10.0.0.1: refused") },
	}})
	defer server.Close()
	ask := func(method, path, body string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		must(t, err)
		r.Header.Set("X-Correlation-Id", "made-up")
		answer, err := http.DefaultTransport.RoundTrip(r)
		must(t, err)
		t.Cleanup(func() { answer.Body.Close() })
		return answer
	}
	for _, prefix := range []string{"", "/auth", "/api/v1"} {
		for path, want := range map[string]int{"/health": 503, "/health/ready": 503, "/health/ready?x=1": 503, "/health/live": 200, "/health/live?x": 200} {
			for _, method := range []string{"GET", "HEAD"} {
				answer := ask(method, prefix+path, "")
				text, _ := io.ReadAll(answer.Body)
				if answer.StatusCode != want || answer.Header.Get("Cache-Control") != "no-store" || !answer.Close {
					t.Errorf("%s %s: %d %v", method, prefix+path, answer.StatusCode, answer.Header)
				}
				if method == "GET" && want == 503 && string(text) != `{"status":"unavailable","checks":{"replica":"starting","sessions":"unavailable","sign_in":"ok"}}`+"\n" {
					t.Errorf("%s: %s", prefix+path, text)
				}
			}
		}
	}
	for _, c := range [][2]string{
		{"GET", "/"}, {"GET", "/auth/login"}, {"POST", "/api/notes"}, {"GET", "/auth/session"}, {"POST", "/health/live"}, {"GET", "/health/live/"},
		{"GET", "/metrics"}, {"GET", "/.well-known/jwks.json"}, {"GET", "/auth/forward"}, {"GET", "/auth/forward/api/notes"},
	} {
		answer := ask(c[0], c[1], strings.Repeat("x", len(c[0])-3))
		text, _ := io.ReadAll(answer.Body)
		id := answer.Header.Get("X-Correlation-Id")
		if answer.StatusCode != 503 || answer.Header.Get("Retry-After") == "" || answer.Header.Get("Content-Type") != "application/problem+json" ||
			!strings.Contains(string(text), `"code":"starting"`) || len(id) != 32 || !strings.Contains(string(text), id) || !answer.Close {
			t.Errorf("%s %s: %d %v %s", c[0], c[1], answer.StatusCode, answer.Header, text)
		}
	}
	t.Run("verify", func(t *testing.T) {
		threat.Covers(t, 40)
		if answer := ask("GET", "/auth/verify", ""); answer.StatusCode != 403 {
			t.Errorf("a server that acts on the status reads %d", answer.StatusCode)
		}
	})
	t.Run("a body that is never sent", func(t *testing.T) {
		threat.Covers(t, 70)
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		must(t, err)
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = io.WriteString(c, "POST /api/notes HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
		must(t, err)
		if text, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 503 ") {
			t.Errorf("it held us, and said %q: %v", text, err)
		}
	})
}

// What is signed before this replica serves can be checked by those whom it is for.
func TestStartingPublishesItsKeys(t *testing.T) {
	var current *gateway.Generation
	starting := gateway.Starting{Health: &gateway.Health{Starting: true}, Current: func() *gateway.Generation { return current }}
	ask := func(method string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		starting.ServeHTTP(w, httptest.NewRequest(method, "/.well-known/jwks.json", nil))
		return w
	}
	if w := ask("GET"); w.Code != 503 {
		t.Errorf("before there are keys: %d %s", w.Code, w.Body)
	}
	current = &gateway.Generation{}
	if w := ask("GET"); w.Code != 503 {
		t.Errorf("without a signing key: %d %s", w.Code, w.Body)
	}
	current = &gateway.Generation{Parts: gateway.Parts{JWKS: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"keys":[]}`) })}}
	if w := ask("GET"); w.Code != 200 || w.Body.String() != `{"keys":[]}` {
		t.Errorf("with keys: %d %s", w.Code, w.Body)
	}
	if w := ask("POST"); w.Code != 503 {
		t.Errorf("POST: %d %s", w.Code, w.Body)
	}
}

// Who is sent here by a balancer that takes a connection for a yes is served as soon as
// there is what serves, and told after some time when there is not.
func TestStartingHoldsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handed := make(chan http.Handler)
		starting := gateway.Starting{Health: &gateway.Health{Starting: true}, Await: func(ctx context.Context) http.Handler {
			select {
			case h := <-handed:
				return h
			case <-ctx.Done():
				return nil
			}
		}}
		began := time.Now()
		ask := func(ctx context.Context, path string) (w *httptest.ResponseRecorder, took time.Duration) {
			w = httptest.NewRecorder()
			starting.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", path, nil))
			return w, time.Since(began)
		}
		go func() {
			time.Sleep(time.Second)
			handed <- http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Context().Err() != nil {
					t.Error("what holds it has ended it")
				}
				w.WriteHeader(http.StatusTeapot)
			})
		}()
		if w, took := ask(t.Context(), "/api/notes"); w.Code != 418 || took != time.Second || w.Header().Get("Connection") != "" {
			t.Errorf("once it serves: %d after %v, %v", w.Code, took, w.Header())
		}
		began = time.Now()
		if w, took := ask(t.Context(), "/health/live"); w.Code != 200 || took != 0 {
			t.Errorf("health: %d after %v", w.Code, took)
		}
		if w, took := ask(t.Context(), "/api/notes"); w.Code != 503 || took != 5*time.Second {
			t.Errorf("when it does not serve: %d after %v", w.Code, took)
		}
		began = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, took := ask(ctx, "/api/notes"); took != time.Second {
			t.Errorf("whose asker has gone: held for %v", took)
		}
	})
}
