package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/threat"
)

// What strangers can do to the protocol itself. Meanwhile others are served, and
// afterwards nothing is left of it.
//
// The listener speaks HTTP/1.1, and nothing else: h2spec and what HTTP/2 is attacked
// with (rapid reset, CONTINUATION floods) have nothing to hold on to, which "HTTP/2"
// below shows. Whoever wants HTTP/2 has a proxy in front, which ends it.
func TestProtocolAbuse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.settle(t, "server: {read_header_timeout: 2s, idle_timeout: 3s}\n")
	gateway := w.serve(t, Env{"LOG_LEVEL": "warn"})
	user := w.signedIn(t, gateway)
	wantStatus(t, user.Get(t, "/api/notes"), 200)
	host := mustURL(t, gateway.URL).Host
	before, heapBefore := goroutines(t, gateway), (&faultyWorld{gateway: gateway}).heap(t)

	for _, abuse := range []struct {
		name string
		do   func(t *testing.T, host string)
	}{
		{"headers that crawl", slowHeaders},
		{"bodies that crawl", slowBodies},
		{"connections that come and go", comeAndGo},
		{"connections that say nothing", idleOnes},
		{"HTTP/2", http2Asked},
		{"ten thousand fields", manyFields},
		{"a huge target", hugeTarget},
		{"a thousand requests in a row", pipelined},
		{"answers that nobody reads", unread},
	} {
		t.Run(abuse.name, func(t *testing.T) {
			threat.Covers(t, 70)
			done := make(chan struct{})
			var others sync.WaitGroup
			others.Go(func() {
				for {
					start := time.Now()
					if a, err := user.Try("GET", "/api/notes", ""); err != nil || a.StatusCode != 200 || time.Since(start) > 10*time.Second {
						t.Errorf("somebody else waits %v and gets %s %v", time.Since(start), status(a), err)
					}
					select {
					case <-done:
						return
					case <-time.After(50 * time.Millisecond):
					}
				}
			})
			defer others.Wait()
			defer close(done)
			abuse.do(t, host)
		})
	}
	w.API.CloseClientConnections() // the pool of idle ones to the upstream is not what is looked for
	wantNoMoreGoroutines(t, gateway, before)
	if heap := (&faultyWorld{gateway: gateway}).heap(t); heap > 2*heapBefore+64<<20 {
		t.Errorf("%d MB of heap before, %d MB after", heapBefore>>20, heap>>20)
	}
}

// conns opens connections at once, and closes them with the test.
func conns(t *testing.T, host string, n int) []net.Conn {
	t.Helper()
	all := make([]net.Conn, n)
	for i := range all {
		c, err := net.DialTimeout("tcp", host, 10*time.Second)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(40 * time.Second))
		all[i] = c
	}
	return all
}

// closedAll fails the test unless the gateway ends every connection by itself.
func closedAll(t *testing.T, all []net.Conn) {
	t.Helper()
	for i, c := range all {
		if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatalf("connection %d of %d is still open", i, len(all))
		}
	}
}

// slowHeaders sends heads a byte at a time, and never ends one.
func slowHeaders(t *testing.T, host string) {
	all := conns(t, host, 200)
	for _, c := range all {
		_, _ = io.WriteString(c, "GET /api/notes HTTP/1.1\r\nHost: x\r\nX-A: ")
	}
	var sending sync.WaitGroup
	for _, c := range all {
		sending.Go(func() {
			for range 200 {
				if _, err := io.WriteString(c, "a"); err != nil {
					return // closed: as it should be
				}
				select {
				case <-t.Context().Done():
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
			t.Error("a head may take 20 s, with a bound of 2 s")
		})
	}
	closedAll(t, all)
	sending.Wait()
}

// slowBodies announces bodies that never come, where nobody is signed in and where
// everybody may.
func slowBodies(t *testing.T, host string) {
	all := conns(t, host, 100)
	for i, c := range all {
		path := []string{"/open/x", "/api/notes", "/auth/logout", "/auth/callback", "/auth/backchannel-logout"}[i%5]
		_, _ = io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\na=")
	}
	closedAll(t, all)
}

// comeAndGo connects, sends something or nothing, and resets.
func comeAndGo(t *testing.T, host string) {
	var all sync.WaitGroup
	for worker := range 10 {
		all.Go(func() {
			for i := range 100 {
				c, err := net.DialTimeout("tcp", host, 10*time.Second)
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
				if (i+worker)%2 == 0 {
					_, _ = io.WriteString(c, "GET /auth/login HTTP/1.1\r\nHost: x\r\n\r\n")
				}
				_ = c.(*net.TCPConn).SetLinger(0) // a reset, not an end
				c.Close()
			}
		})
	}
	all.Wait()
}

func idleOnes(t *testing.T, host string) {
	all := conns(t, host, 300)
	// Some have been answered once: another bound holds for these.
	for _, c := range all[:100] {
		_, _ = io.WriteString(c, "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	closedAll(t, all)
}

// http2Asked asks for HTTP/2 in each way there is without TLS: by prior knowledge
// (RFC 9113 section 3.3) and by upgrade (RFC 7540 section 3.2).
func http2Asked(t *testing.T, host string) {
	const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for name, request := range map[string]string{
		"preface":             "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings,
		"preface, in between": "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings,
		"upgrade":             "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
	} {
		c := conns(t, host, 1)[0]
		_, _ = io.WriteString(c, request)
		_ = c.SetReadDeadline(time.Now().Add(15 * time.Second))
		answer, _ := io.ReadAll(c)
		if text := string(answer); strings.Contains(text, "HTTP/2") || strings.Contains(text, " 101 ") || strings.HasPrefix(text, "\x00") ||
			len(text) > 0 && !strings.HasPrefix(text, "HTTP/1.1 ") {
			t.Errorf("%s: %q", name, text)
		}
	}
}

func manyFields(t *testing.T, host string) {
	for name, fields := range map[string]string{
		"different": func() string {
			var b strings.Builder
			for i := range 10_000 {
				fmt.Fprintf(&b, "X-%d: v\r\n", i)
			}
			return b.String()
		}(),
		"the same": strings.Repeat("X-A: v\r\n", 10_000),
		"one huge": "X-A: " + strings.Repeat("v", 4<<20) + "\r\n",
	} {
		for _, path := range []string{"/open/x", "/api/notes", "/auth/login"} {
			wantRefusal(t, host, name+" "+path, "GET "+path+" HTTP/1.1\r\nHost: x\r\n"+fields+"\r\n")
		}
	}
}

func hugeTarget(t *testing.T, host string) {
	for name, target := range map[string]string{
		"path": "/open/" + strings.Repeat("a/", 1<<20), "query": "/open/x?" + strings.Repeat("a", 2<<20), "return_to": "/auth/login?return_to=/" + strings.Repeat("a", 2<<20),
	} {
		wantRefusal(t, host, name, "GET "+target+" HTTP/1.1\r\nHost: x\r\n\r\n")
	}
}

// wantRefusal fails the test unless a request is answered by 4xx, or its connection
// ended while it was still being sent.
func wantRefusal(t *testing.T, host, name, request string) {
	t.Helper()
	c := conns(t, host, 1)[0]
	sent := make(chan struct{})
	go func() { defer close(sent); _, _ = io.WriteString(c, request) }()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err == nil && (resp.StatusCode < 400 || resp.StatusCode >= 500) {
		t.Errorf("%s: %s", name, resp.Status)
	}
	c.Close()
	<-sent
}

// pipelined sends a thousand requests before it reads an answer. They are answered in
// their order.
func pipelined(t *testing.T, host string) {
	c := conns(t, host, 1)[0]
	const n = 1000
	paths, statuses := []string{"/page", "/nothing", "/auth/logout", "/health/live", "/api/notes", "/nothing/else"}, []int{200, 404, 303, 200, 401, 404}
	path := func(i int) string { return paths[i*i%101%len(paths)] }
	go func() {
		var all strings.Builder
		for i := range n {
			fmt.Fprintf(&all, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path(i))
		}
		_, _ = io.WriteString(c, all.String())
	}()
	in := bufio.NewReader(c)
	for i := range n {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		body, err := io.ReadAll(resp.Body)
		if want := statuses[i*i%101%len(paths)]; err != nil || resp.StatusCode != want {
			t.Fatalf("answer %d, to %s: %s, want %d; %v %s", i, path(i), resp.Status, want, err, body)
		}
	}
}

// unread asks on and on, and reads nothing.
func unread(t *testing.T, host string) {
	all := conns(t, host, 20)
	var sending sync.WaitGroup
	for _, c := range all {
		sending.Go(func() {
			_ = c.SetWriteDeadline(time.Now().Add(3 * time.Second))
			request := strings.Repeat("GET /open/"+strings.Repeat("y", 2000)+" HTTP/1.1\r\nHost: x\r\n\r\n", 50)
			for range 40 {
				if _, err := io.WriteString(c, request); err != nil {
					return // its buffers are full: it is not read on without end
				}
			}
		})
	}
	sending.Wait()
	for _, c := range all {
		c.Close()
	}
}
