package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/route"
	"keyway/internal/threat"
)

// A form on another site comes without our cookies; what it gets must not take
// them away.
func TestNoOtherSiteSignsAnybodyOut(t *testing.T) {
	threat.Covers(t, 51, 29)
	w := start(t)
	u := w.user().signIn()
	stranger := w.user() // the browser sends no cookie along
	for _, headers := range [][]string{
		{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"},
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
		{"Sec-Fetch-Site", "same-site"},
	} {
		got := stranger.do("POST", "/auth/logout", headers...)
		if got.status != 403 || got.code() != "cross_origin" || got.header.Get("Set-Cookie") != "" {
			t.Errorf("%v: %d %v", headers, got.status, got.header)
		}
		got = u.do("POST", "/auth/logout", headers...)
		if got.status != 403 || got.header.Get("Set-Cookie") != "" || !u.signedIn() {
			t.Errorf("%v with the cookie: %d %v", headers, got.status, got.header)
		}
	}
	if got := stranger.do("GET", "/auth/logout"); got.status != http.StatusSeeOther || got.header.Get("Set-Cookie") != "" {
		t.Errorf("a link, without a cookie: %d %v", got.status, got.header)
	}
	ended := w.user()
	ended.setCookie("bff_session", "v1."+strings.Repeat("A", 43))
	if got := ended.do("POST", "/auth/logout"); got.header.Get("Set-Cookie") == "" {
		t.Error("a cookie of no session is not cleared for its own page")
	}
	for _, everywhere := range []string{"everywhere=", "everywhere=1", "everywhere", "everywhere=true&everywhere=true", "everywhere=true&everywhere=false", "everywhere=TRUE"} {
		if got := u.do("POST", "/auth/logout?"+everywhere, "X-CSRF-Token", u.csrf()); got.status != 400 || !u.signedIn() {
			t.Errorf("%s: %d", everywhere, got.status)
		}
	}
}

// Script that signs out is told where to go, and gets no token with it.
func TestLogoutAddressForScriptHasNoToken(t *testing.T) {
	threat.Covers(t, 23)
	w := start(t)
	u := w.user().signIn()
	got := u.do("POST", "/auth/logout", "X-CSRF-Token", u.csrf(), "Accept", "application/json")
	if got.status != 200 || !strings.Contains(got.body, "logout_url") || strings.Contains(got.body, "eyJ") || strings.Contains(got.body, "id_token_hint") {
		t.Errorf("%d %s", got.status, got.body)
	}
	u.signIn()
	got = u.do("GET", "/auth/logout?csrf="+u.csrf())
	if !strings.Contains(got.header.Get("Location"), "id_token_hint=") {
		t.Errorf("the browser's own way lacks the hint: %v", got.header)
	}
}

// A client that announces a body and sends none gets its answer in seconds, and
// holds nobody up.
func TestBodyThatNeverComes(t *testing.T) {
	threat.Covers(t, 70)
	w := start(t, func(w *world) {
		w.routes = append(w.routes, route.Route{ID: "open", Path: "/open/*", Service: "api", Auth: route.AuthNone, TokenPolicy: route.TokenPolicy{Mode: route.TokenService}})
	})
	w.idp.SetHooks(&idp.Hooks{Before: func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			rw.WriteHeader(http.StatusInternalServerError)
		}
		return r.URL.Path == "/token"
	}})
	for _, head := range []string{
		// Refused by the proxy, before it reads anything.
		"POST /public/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 10\r\n\r\n",
		"POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
		"POST /auth/logout HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
		"GET /health/live HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
		"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
		"POST /api/notes HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
		"POST /a//b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		line, _, _ := strings.Cut(head, "\r\n")
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", w.server.Listener.Addr().String())
			must(t, err)
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			fmt.Fprint(c, head)
			answer, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the connection is still open: %v", err)
			}
		})
	}
}

// Busy is not dead: an orchestrator that asks is answered, and streams don't count.
func TestBusy(t *testing.T) {
	w := start(t, func(w *world) { w.settings.ConcurrentRequests = 1 })
	u := w.user().signIn()
	hold := make(chan struct{})
	arrived := make(chan struct{}, 4)
	w.upstreamAnswers(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/stream") {
			rw.Header().Set("Content-Type", "text/event-stream")
			rw.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		arrived <- struct{}{}
		<-hold
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "GET", w.server.URL+"/api/stream", nil)
	stream, err := u.client.Do(r)
	must(t, err)
	defer stream.Body.Close()
	go func() {
		r, _ := http.NewRequest("GET", w.server.URL+"/public/slow", nil)
		if answer, err := http.DefaultClient.Do(r); err == nil {
			answer.Body.Close()
		}
	}()
	<-arrived
	if got := u.do("GET", "/public/x"); got.status != 503 || got.code() != "overloaded" {
		t.Errorf("one too many: %d %s", got.status, got.body)
	}
	for _, path := range []string{"/health/live", "/health/ready"} {
		if got := u.do("GET", path); got.status != 200 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	close(hold)
}

// An access token that is over, with nothing to renew it, is not sent to anybody.
func TestExhaustedSession(t *testing.T) {
	w := start(t)
	w.idp.SetHooks(&idp.Hooks{Token: func(_ *http.Request, a *idp.Answer) {
		a.Edit(func(body map[string]any) {
			delete(body, "refresh_token")
			body["expires_in"] = 0
		})
	}})
	u := w.user().signIn()
	if got := u.do("GET", "/api/notes"); got.status != 401 || got.code() != "session_ended" || w.lastSeen() != nil {
		t.Errorf("%d %s", got.status, got.body)
	}
	if u.signedIn() {
		t.Error("the page is told that it is signed in")
	}
	w.idp.SetHooks(nil)
	if got := u.do("GET", "/api/reports"); got.status != 200 {
		t.Errorf("a route with a token of ours: %d %s", got.status, got.body)
	}
}

// What upstreams hear of our name is the configuration's word, not the client's.
func TestHostIsNotTheClientsToSay(t *testing.T) {
	threat.Covers(t, 37)
	w := start(t, func(w *world) { w.settings.PublicHosts = []string{"app.example"} })
	r, _ := http.NewRequest("GET", w.server.URL+"/public/x", nil)
	r.Host = "evil.example"
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	answer.Body.Close()
	if got := w.lastSeen().Header.Get("X-Forwarded-Host"); got != "app.example" {
		t.Errorf("X-Forwarded-Host is %q", got)
	}
}
