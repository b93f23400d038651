package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/gateway"
	"keyway/internal/threat"
)

// A stream ends when its session does, on logout within a second; and a session
// holds only so many.
func TestStreamsEndWithTheSession(t *testing.T) {
	threat.Covers(t, 33)
	w := start(t)
	released := make(chan struct{}, 8)
	w.upstreamAnswers(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(rw, "data: 1\n\n")
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
		released <- struct{}{}
	})
	u := w.user().signIn()
	open := func() *http.Response {
		r, _ := http.NewRequest("GET", w.server.URL+"/api/stream", nil)
		answer, err := u.client.Do(r)
		must(t, err)
		t.Cleanup(func() { answer.Body.Close() })
		return answer
	}
	first, second := open(), open()
	for _, s := range []*http.Response{first, second} {
		if line, err := bufio.NewReader(s.Body).ReadString('\n'); err != nil || line != "data: 1\n" {
			t.Fatalf("stream: %q %v", line, err)
		}
	}
	if third := open(); third.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a third stream: %d", third.StatusCode)
	}
	w.upstreamAnswers(nil)
	token := u.csrf()
	began := time.Now()
	u.do("POST", "/auth/logout", "X-CSRF-Token", token)
	for _, s := range []*http.Response{first, second} {
		_, _ = bufio.NewReader(s.Body).ReadString(0) // until it ends, one way or the other
	}
	for range 2 {
		select {
		case <-released:
		case <-time.After(5 * time.Second):
			t.Fatal("the upstream was not freed")
		}
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("streams ended %v after the session", took)
	}
}

func TestStopEndsStreamsAndTurnsReadinessFirst(t *testing.T) {
	threat.Covers(t, 69)
	w := start(t)
	w.upstreamAnswers(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/stream" {
			return
		}
		rw.Header().Set("Content-Type", "text/event-stream")
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	u := w.user().signIn()
	r, _ := http.NewRequest("GET", w.server.URL+"/api/stream", nil)
	stream, err := u.client.Do(r)
	must(t, err)
	defer stream.Body.Close()
	w.gateway.Drain()
	if got := u.do("GET", "/health/ready"); got.status != 503 {
		t.Errorf("ready while draining: %d", got.status)
	}
	if got := u.do("GET", "/api/notes"); got.status != 200 {
		t.Errorf("requests while draining: %d", got.status)
	}
	w.gateway.EndStreams()
	_, _ = bufio.NewReader(stream.Body).ReadString(0)
	if got := u.do("GET", "/api/stream"); got.status != 503 || got.code() != "shutting_down" {
		t.Errorf("a new stream: %d %s", got.status, got.body)
	}
}

// The log finds faults and names nobody.
func TestLogsNameNobodyAndHoldNoSecret(t *testing.T) {
	threat.Covers(t, 23)
	w := start(t)
	u := w.user()
	callback := u.toCallback("/home?token=in-the-query")
	u.do("GET", callback)
	token := u.csrf()
	u.do("POST", "/api/notes?secret=query", "X-CSRF-Token", token)
	u.do("POST", "/api/notes")
	seen := w.lastSeen()
	u.do("POST", "/auth/logout", "X-CSRF-Token", token)
	_, query, _ := strings.Cut(callback, "?")
	log := w.log.String()
	for what, secret := range map[string]string{
		"the callback's query": query, "the CSRF token": token, "the user's name": "Lovelace", "the subject": "u-ada",
		"the access token": strings.TrimPrefix(seen.Header.Get("Authorization"), "Bearer "),
		"a query":          "secret=query", "the client secret": "the client secret of the tests", "the address": "127.0.0.1",
	} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %s", what)
		}
	}
	for _, want := range []string{`"route":"notes"`, `"status":403`, `"code":"csrf_failed"`, `"correlation_id":"`, `"session":"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s", want)
		}
	}
}

// A route with a service token gets ours, not the user's, fetched once; when none
// can be had the route is closed.
func TestServiceToken(t *testing.T) {
	w := start(t)
	u := w.user().signIn()
	u.do("GET", "/api/notes")
	users := w.lastSeen().Header.Get("Authorization")
	before := w.idp.Stats().Of("token")
	for range 5 {
		if got := u.do("GET", "/api/reports"); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	seen := w.lastSeen()
	if got := seen.Header.Get("Authorization"); got == users || !strings.HasPrefix(got, "Bearer ") {
		t.Error("the upstream did not get a token of ours")
	}
	if seen.Header.Get("X-User-Id") != "u-ada-1815" {
		t.Error("the upstream is not told whom it is for")
	}
	if calls := w.idp.Stats().Of("token") - before; calls != 1 {
		t.Errorf("%d token calls", calls)
	}
	w2 := start(t)
	u2 := w2.user().signIn()
	w2.idp.SetHooks(&idp.Hooks{Before: func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			rw.WriteHeader(http.StatusInternalServerError)
			return true
		}
		return false
	}})
	if got := u2.do("GET", "/api/reports"); got.status != 502 || got.code() != "upstream_auth_failed" || w2.lastSeen() != nil {
		t.Errorf("no token to be had: %d %s", got.status, got.body)
	}
	if !u2.signedIn() {
		t.Error("the user was signed out for it")
	}
}

// A defect of ours ends one request with a clean answer, and is told.
func TestDefectIsContained(t *testing.T) {
	w := start(t)
	whole := w.current.Load()
	broken := whole.Parts
	broken.Sessions = nil
	w.current.Store(gateway.NewGeneration(broken))
	got := w.user().do("GET", "/auth/session", "Cookie", "bff_session=v1.whatever")
	if got.status != 500 || got.code() != "internal_error" || strings.Contains(got.body, "nil") {
		t.Errorf("%d %s", got.status, got.body)
	}
	if log := w.log.String(); !strings.Contains(log, "met a defect") || strings.Contains(log, "v1.whatever") {
		t.Errorf("the log: %s", log)
	}
	w.current.Store(whole)
	if w.user().signIn(); !strings.Contains(w.user().do("GET", "/auth/session").body, "false") {
		t.Error("the gateway did not survive")
	}
}

// A user who walks away is no failure of anybody.
func TestClientGone(t *testing.T) {
	w := start(t)
	arrived := make(chan struct{})
	w.upstreamAnswers(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	u := w.user().signIn()
	ctx, cancel := context.WithCancel(t.Context())
	r, _ := http.NewRequestWithContext(ctx, "GET", w.server.URL+"/api/notes", nil)
	go func() { <-arrived; cancel() }()
	if _, err := u.client.Do(r); err == nil {
		t.Fatal("answered")
	}
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(w.log.String(), `"status":499`); {
		if time.Now().After(deadline) {
			t.Fatalf("not logged as 499: %s", w.log)
		}
		runtime.Gosched()
	}
	if strings.Contains(w.log.String(), "upstream_failed") || strings.Contains(w.log.String(), "internal_error") {
		t.Errorf("taken for a failure: %s", w.log)
	}
}
