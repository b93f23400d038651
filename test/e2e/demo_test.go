package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"keyway/internal/testkit/child"
	"keyway/internal/testkit/ports"
	"keyway/internal/testkit/realidp"
	"keyway/internal/threat"
)

// startDemo runs `keyway demo`, with nothing but a port.
func startDemo(t testing.TB) *Process {
	t.Helper()
	port := ports.Reserve(t, 4)
	p := &Process{
		Process: child.Start(t, command(t, BuildKeyway(t), Env{"TMPDIR": t.TempDir()}, []string{"demo", "--verbose", "--port", fmt.Sprint(port)})),
		// As the demo says it: the provider is another host then, with cookies of its own.
		URL:      fmt.Sprintf("http://localhost:%d", port),
		AdminURL: fmt.Sprintf("http://127.0.0.1:%d", port+1),
	}
	p.WaitReady(t)
	return p
}

func TestDemo(t *testing.T) {
	demo := startDemo(t)
	b := NewBrowser(demo.URL)
	var secrets ledger

	t.Run("says where to go", func(t *testing.T) {
		if out := demo.Output(); !strings.Contains(out, "Open ") || !strings.Contains(out, "http://localhost:") {
			t.Errorf("it said:\n%s", out)
		}
	})
	t.Run("anonymous", func(t *testing.T) {
		if b.SignedIn(t) {
			t.Error("signed in before signing in")
		}
		wantProblem(t, b.Get(t, "/api/notes"), 401, "unauthenticated")
		if a := b.Get(t, "/"); a.StatusCode != 200 || !strings.Contains(a.Text, "<title>Keyway demo") {
			t.Errorf("page: %s %s", a.Status, a.Text)
		}
	})
	t.Run("sign in", func(t *testing.T) {
		a := b.SignIn(t, "ada", "/?welcome=1")
		wantStatus(t, a, 303)
		if to := a.Header.Get("Location"); to != "/?welcome=1" {
			t.Errorf("sent to %q", to)
		}
	})
	secrets.learn(b.Trace)
	t.Run("session", func(t *testing.T) {
		s := b.Session(t)
		user, _ := s["user"].(map[string]any)
		if s["authenticated"] != true || user["name"] != "Ada Lovelace" || user["email"] == nil || user["sub"] == nil {
			t.Errorf("session: %v", s)
		}
		if left, _ := s["expires_in"].(float64); left < 60 || left > 8*3600 {
			t.Errorf("expires_in: %v", s["expires_in"])
		}
		if alias := b.Get(t, "/api/auth/session").JSON(t); alias["session_id"] != s["session_id"] {
			t.Errorf("/api/auth/session: %v", alias)
		}
	})
	t.Run("call", func(t *testing.T) { callAPI(t, b) })
	t.Run("what the API saw", func(t *testing.T) {
		seen := b.Get(t, "/api/echo?a=1", "X-User-ID", "mallory", "X_Original_User", "mallory").JSON(t)
		headers, _ := seen["headers"].(map[string]any)
		for _, name := range []string{"X-User-Id", "X-User-Email", "X-User-Name", "X-Session-Id", "X-Auth-Time", "X-Original-User", "X-Correlation-Id", "Authorization"} {
			if headers[name] == nil {
				t.Errorf("no %s in %v", name, headers)
			}
		}
		if headers["Cookie"] != nil {
			t.Errorf("a cookie arrived: %v", headers["Cookie"])
		}
		if strings.Contains(fmt.Sprint(seen), "mallory") {
			t.Errorf("a forged header arrived: %v", headers)
		}
		if user, _ := headers["X-Original-User"].(string); !strings.HasPrefix(user, "auth:account:demo:") {
			t.Errorf("X-Original-User: %q", user)
		}
		if seen["query"] != "a=1" {
			t.Errorf("query: %v", seen["query"])
		}
	})
	t.Run("ticks", func(t *testing.T) { readTicks(t, b, 2) })
	t.Run("logout is final", func(t *testing.T) {
		threat.Covers(t, 27)
		old := NewBrowser(demo.URL)
		old.Jar.SetCookies(mustURL(t, demo.URL), []*http.Cookie{b.Jar.Get("bff_session")})
		wantStatus(t, old.Get(t, "/api/notes"), 200)

		a := b.SignOut(t)
		wantStatus(t, a, 303)
		if got := b.Jar.Get("bff_session"); got != nil {
			t.Error("the session cookie is still there")
		}
		wantStatus(t, old.Get(t, "/api/notes"), 401)
		wantStatus(t, old.Get(t, "/auth/verify"), 401)
		if old.SignedIn(t) || b.SignedIn(t) {
			t.Error("still signed in")
		}
	})
	t.Run("and ends at the provider", func(t *testing.T) {
		// A provider that still knew ada would send her back without asking.
		login := b.Get(t, "/auth/login")
		back, err := realidp.Walk(b.client, login.Header.Get("Location"), map[string]string{"username": "ada", "password": "wrong"})
		if err == nil {
			t.Errorf("signed in without the password: %s", mustURL(t, back).Path)
		}
	})
	t.Run("nothing leaks", func(t *testing.T) {
		threat.Covers(t, 23)
		demo.Terminate(t)
		secrets.learn(b.Trace)
		secrets.inTrace(t, b.Trace, mustURL(t, demo.URL).Host)
		if what := secrets.find(demo.Output()); what != "" {
			t.Errorf("the demo has printed %s:\n%s", what, demo.Output())
		}
	})
}

// callAPI reads and writes notes: the write without a CSRF token is refused, and
// with it is not.
func callAPI(t testing.TB, b *Browser) {
	t.Helper()
	wantStatus(t, b.Get(t, "/api/notes"), 200)
	note := `{"text":"buy milk"}`
	wantProblem(t, b.Do(t, "POST", "/api/notes", note, "Content-Type", "application/json"), 403, "csrf_failed")
	wantStatus(t, b.Do(t, "POST", "/api/notes", note, "Content-Type", "application/json", "X-CSRF-Token", b.CSRF(t)), 201)
	if a := b.Get(t, "/api/notes"); !strings.Contains(a.Text, "buy milk") {
		t.Errorf("the note is not there: %s", a.Text)
	}
}

// readTicks opens the stream of events, and reads n of them.
func readTicks(t testing.TB, b *Browser, n int) {
	t.Helper()
	stream := b.Open(t, "/api/ticks", "Accept", "text/event-stream")
	defer stream.Body.Close()
	if ct := stream.Header.Get("Content-Type"); stream.StatusCode != 200 || !strings.HasPrefix(ct, "text/event-stream") {
		t.Fatalf("ticks: %s %s", stream.Status, ct)
	}
	for lines := bufio.NewScanner(stream.Body); n > 0 && lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "data:") {
			n--
		}
	}
	if n > 0 {
		t.Errorf("the stream ended %d events early", n)
	}
}
