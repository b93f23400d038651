package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/authz"
	"keyway/internal/threat"
)

// streaming has the upstream hold a stream, or a WebSocket, open.
func streaming(w *world) {
	w.upstreamAnswers(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			conn, buffer, err := http.NewResponseController(rw).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			// The key's answer is of RFC 6455 section 1.3.
			fmt.Fprint(buffer, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
			_ = buffer.Flush()
			_, _ = io.Copy(io.Discard, conn)
			return
		}
		rw.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(rw, "data: 1\n\n")
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
	})
}

// opened is the stream, past its first event or handshake.
func (u *user) opened(t *testing.T, webSocket bool) (rest io.Reader, status int) {
	t.Helper()
	conn, err := net.Dial("tcp", u.w.server.Listener.Addr().String())
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	host := strings.TrimPrefix(u.w.server.URL, "http://")
	request := "GET /api/watch HTTP/1.1\r\nHost: " + host + "\r\nCookie: bff_session=" + u.cookie("bff_session") + "\r\n"
	if webSocket {
		request += "Origin: http://" + host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	}
	_, err = io.WriteString(conn, request+"\r\n")
	must(t, err)
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, nil)
	must(t, err)
	if webSocket {
		return reader, answer.StatusCode
	}
	body := bufio.NewReader(answer.Body)
	if answer.StatusCode == 200 {
		_, err = body.ReadString('\n')
		must(t, err)
	}
	return body, answer.StatusCode
}

// A stream is decided before it opens, and again when claims or policies change.
func TestAStreamEndsWhenItMayNotGoOn(t *testing.T) {
	isEditor := func(q authz.Question) bool {
		roles, _ := q.Subject.Properties["roles"].([]string)
		return slices.Contains(roles, "editor")
	}
	for name, end := range map[string]func(w *world, u *user, p *point){
		"roles that go": func(w *world, u *user, _ *point) { w.setRoles(u, []string{"viewer"}) },
		"policies that change": func(_ *world, _ *user, p *point) {
			p.saysYes(func(authz.Question) bool { return false })
			p.enforcer.Forget()
		},
		"no answer when policies change": func(_ *world, _ *user, p *point) {
			p.answers(func(ctx context.Context, _ authz.Question) (authz.Decision, error) {
				<-ctx.Done()
				return authz.Decision{Allow: true}, ctx.Err()
			})
			p.enforcer.Forget()
		},
		"a panic when policies change": func(_ *world, _ *user, p *point) {
			p.answers(func(context.Context, authz.Question) (authz.Decision, error) { panic("defect") })
			p.enforcer.Forget()
		},
	} {
		for kind, webSocket := range map[string]bool{"events": false, "WebSocket": true} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				threat.Covers(t, 49)
				p := &point{}
				w := start(t, decidedBy(p))
				streaming(w)
				p.saysYes(isEditor)
				u := w.user().signIn()
				if _, status := u.opened(t, webSocket); status != 403 || w.lastSeen() != nil {
					t.Fatalf("without the role it opens: %d", status)
				}
				w.setRoles(u, []string{"editor"})
				rest, status := u.opened(t, webSocket)
				if status != 200 && status != 101 {
					t.Fatalf("with the role: %d", status)
				}
				w.setRoles(u, []string{"editor", "admin"}) // may still
				p.enforcer.Forget()                        // may still
				deadline := time.Now().Add(5 * time.Second)
				for len(p.questions()) < 3 {
					if time.Now().After(deadline) {
						t.Fatal("it is not decided again")
					}
					time.Sleep(time.Millisecond)
				}
				began := time.Now()
				end(w, u, p)
				_, _ = io.Copy(io.Discard, rest)
				if took := time.Since(began); took > 3*time.Second {
					t.Errorf("it ended after %v", took)
				}
				if e := p.lastEvent(); !e.Again || e.Decision == authz.Allowed || e.Route != "watch" || e.Action != "watch" {
					t.Errorf("event %+v", e)
				}
				if !u.signedIn() {
					t.Error("the session is gone")
				}
			})
		}
	}
}

// A stream that may go on does, and leaves nothing behind when it is over.
func TestAStreamThatMayGoOnDoes(t *testing.T) {
	p := &point{}
	w := start(t, decidedBy(p))
	done := make(chan struct{})
	w.upstreamAnswers(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(rw, "data: 1\n\n")
		rw.(http.Flusher).Flush()
		<-done
		fmt.Fprint(rw, "data: last\n\n")
	})
	u := w.user().signIn()
	rest, status := u.opened(t, false)
	if status != 200 {
		t.Fatal(status)
	}
	for range 5 {
		p.enforcer.Forget()
	}
	w.setRoles(u, []string{"editor"})
	deadline := time.Now().Add(5 * time.Second)
	for !slices.ContainsFunc(p.questions(), func(q authz.Question) bool {
		return slices.Equal(q.Subject.Properties["roles"].([]string), []string{"editor"})
	}) {
		if time.Now().After(deadline) {
			t.Fatal("it is not decided again")
		}
		time.Sleep(time.Millisecond)
	}
	close(done)
	if all, err := io.ReadAll(rest); err != nil || !strings.Contains(string(all), "last") {
		t.Errorf("it ended early: %q, %v", all, err)
	}
	w.gateway.Wait() // nobody decides about it any more
}
