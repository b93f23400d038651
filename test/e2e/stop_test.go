package e2e

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"keyway/internal/threat"
)

// SIGTERM with a stream and a slow request under way: readiness goes first while
// everything is still served, then the stream is ended, the slow request
// finishes, and the exit code is 0.
func TestGracefulStop(t *testing.T) {
	threat.Covers(t, 69)
	t.Parallel()
	w := newWorld(t, setup{Env: Env{"BFF_DRAIN_DELAY": "1s"}})
	gateway := w.serve(t, nil)
	b := w.signedIn(t, gateway)
	signingIn := w.browser(gateway)
	callback := signingIn.ToCallback(t, "grace", "/during")

	stream := b.Open(t, "/api/ticks")
	defer stream.Body.Close()
	lines := bufio.NewScanner(stream.Body)
	if !lines.Scan() {
		t.Fatal("no tick")
	}
	slow := make(chan Answer, 1)
	go func() {
		a, _ := b.Try("GET", "/api/slow", "")
		slow <- a
	}()
	w.API.await(t, "/slow")

	gateway.Signal(syscall.SIGTERM)
	eventually(t, "readiness turns", func() bool {
		a := b.Get(t, "/health/ready")
		return a.StatusCode == 503 && strings.Contains(a.Text, "stopping")
	})
	wantStatus(t, b.Get(t, "/health/live"), 200)
	wantStatus(t, b.Get(t, "/api/notes"), 200)
	a := signingIn.Get(t, callback)
	if a.StatusCode != 303 || a.Header.Get("Location") != "/during" {
		t.Errorf("a callback while draining: %s", a.Status)
	}

	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines.Scan() {
		}
	}()
	select {
	case <-ended:
	case <-time.After(stopWithin):
		t.Fatal("the stream goes on")
	}
	select {
	case a := <-slow:
		t.Fatalf("the slow request was ended early: %v", a.Response)
	default:
	}
	eventually(t, "no connection is taken any more", func() bool {
		_, err := NewBrowser(gateway.URL).Try("GET", "/health/live", "")
		return err != nil
	})
	close(w.API.gate)
	select {
	case a := <-slow:
		if a.Response == nil || a.StatusCode != 200 || a.Text != "at last" {
			t.Errorf("the slow request: %v %q", a.Response, a.Text)
		}
	case <-time.After(stopWithin):
		t.Fatal("the slow request does not end")
	}
	if code, err := gateway.ExitCode(stopWithin); code != 0 || err != nil {
		t.Errorf("exit code %d (%v); it said:\n%s", code, err, gateway.Output())
	}
}

// A request that never ends does not keep the process for ever.
func TestStopCutsWhatDoesNotFinish(t *testing.T) {
	threat.Covers(t, 69)
	t.Parallel()
	w := newWorld(t, setup{Env: Env{"BFF_SHUTDOWN_GRACE": "1s"}})
	gateway := w.serve(t, nil)
	b := w.signedIn(t, gateway)
	go func() { _, _ = b.Try("GET", "/api/slow", "") }()
	w.API.await(t, "/slow")
	within(t, 20*time.Second, func() {
		if code := gateway.Terminate(t); code != 0 {
			t.Errorf("exit code %d; it said:\n%s", code, gateway.Output())
		}
	})
}

// A WebSocket and an event stream end when the session does, and not before.
func TestStreamsEndWithTheSession(t *testing.T) {
	threat.Covers(t, 33)
	w := newWorld(t, setup{})
	gateway := w.serve(t, nil)
	b := w.signedIn(t, gateway)
	stream := b.Open(t, "/api/ticks")
	defer stream.Body.Close()

	socket, resp, err := websocket.Dial(t.Context(), gateway.URL+"/api/ws", &websocket.DialOptions{
		HTTPClient: &http.Client{Jar: b.Jar}, HTTPHeader: http.Header{"Origin": {gateway.URL}},
	})
	if err != nil {
		t.Fatalf("WebSocket: %v %v", err, resp)
	}
	defer socket.CloseNow()
	if err := socket.Write(t.Context(), websocket.MessageText, []byte("hello there")); err != nil {
		t.Fatal(err)
	}
	for {
		_, message, err := socket.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(message), "hello there") {
			break
		}
	}

	wantStatus(t, b.Do(t, "POST", "/auth/logout", "", "X-CSRF-Token", b.CSRF(t)), 303)
	ended := make(chan string, 2)
	go func() {
		for {
			if _, _, err := socket.Read(t.Context()); err != nil {
				ended <- "socket"
				return
			}
		}
	}()
	go func() {
		_, _ = io.Copy(io.Discard, stream.Body)
		ended <- "stream"
	}()
	deadline := time.After(5 * time.Second)
	for range 2 {
		select {
		case <-ended:
		case <-deadline:
			t.Fatal("five seconds after the logout a stream goes on")
		}
	}
}

// A page of another site can't open a WebSocket with the user's cookie.
func TestWebSocketOfAnotherOrigin(t *testing.T) {
	threat.Covers(t, 30)
	w := newWorld(t, setup{})
	gateway := w.serve(t, nil)
	b := w.signedIn(t, gateway)
	for _, origin := range []string{"https://evil.example", "null", strings.Replace(gateway.URL, "http:", "https:", 1), gateway.URL + ".evil.example"} {
		a := b.Get(t, "/api/ws", "Origin", origin, "Connection", "Upgrade", "Upgrade", "websocket",
			"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
		wantProblem(t, a, 403, "cross_origin")
	}
}
