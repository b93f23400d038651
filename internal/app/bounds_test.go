package app

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"keyway/internal/threat"
)

// open routes to an upstream of the test's, for what needs no one signed in.
const open = `
services:
  api: {base_url: "%s", timeout: 1s}
routes:
  - {id: open, path: "/open/*", target_service: api, upstream_path: "/{path}", auth: none, token_policy: {mode: none}, limits: {body_bytes: 1000}}
`

// bounded is a gateway with small limits, and how often its upstream was reached.
func bounded(t *testing.T, settings string) *running {
	t.Helper()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	t.Cleanup(api.Close)
	return start(t, options(t, env(t, nil), managed+settings, fmt.Sprintf(open, api.URL)))
}

// raw sends bytes and returns what comes back until the connection is closed, or
// the first answer.
func raw(t *testing.T, addr, bytes string) (status int, closed bool) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, bytes) // it may be refused before it has read all
	in := bufio.NewReader(c)
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		return 0, true
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	if answer.Close {
		_, err = in.ReadByte()
		return answer.StatusCode, err != nil
	}
	return answer.StatusCode, false
}

// What is too large in a request's head is refused before anybody reads it.
func TestHeadsThatAreTooLarge(t *testing.T) {
	r := bounded(t, "limits: {header_bytes: 8192}\n")
	ok := "GET /open/a HTTP/1.1\r\nHost: a\r\n"
	for name, c := range map[string]struct {
		threat int
		bytes  string
		want   int
	}{
		"small":                     {70, ok + "\r\n", 200},
		"a header over the bound":   {70, ok + "X-A: " + strings.Repeat("a", 16<<10) + "\r\n\r\n", 431},
		"many headers":              {70, ok + strings.Repeat("X-A: a\r\n", 3000) + "\r\n", 431},
		"many headers, all empty":   {70, ok + strings.Repeat("X:\r\n", 6000) + "\r\n", 431},
		"10,000 cookies":            {26, ok + "Cookie: " + strings.Repeat("a=b; ", 10_000) + "\r\n\r\n", 431},
		"10,000 cookies in headers": {26, ok + strings.Repeat("Cookie: a=b\r\n", 10_000) + "\r\n", 431},
		"a long path":               {70, "GET /open/" + strings.Repeat("a", 16<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", 431},
		"a long query":              {70, "GET /open/a?" + strings.Repeat("a", 16<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", 431},
		"1,001 parameters":          {71, "GET /open/a?" + strings.Repeat("a&", 1000) + " HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"a line over 64 KiB":        {70, ok + "X-A: " + strings.Repeat("a", 70<<10) + "\r\n\r\n", 431},
		"a body over the route's":   {71, "POST /open/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", 413},
		"a chunk over the route's":  {71, "POST /open/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + strings.Repeat("a", 1001) + "\r\n0\r\n\r\n", 413},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, c.threat)
			status, closed := raw(t, strings.TrimPrefix(r.Public, "http://"), c.bytes)
			// A client that is still sending when the connection is closed may lose
			// the answer to a reset.
			if status != c.want && !(c.want == 431 && (status == 400 || closed && status == 0)) {
				t.Errorf("status %d, closed %t; want %d", status, closed, c.want)
			}
		})
	}
}

// A client that sends slowly holds its connection no longer than it is given.
func TestClientsThatTrickle(t *testing.T) {
	r := bounded(t, "server: {read_header_timeout: 1s, idle_timeout: 1s}\n")
	for name, c := range map[string]struct {
		first, then string
		every       time.Duration
	}{
		"a head":            {"GET /open/a HTTP/1.1\r\nHost: a\r\n", "X-A: a\r\n", 100 * time.Millisecond},
		"half a head":       {"GET /open/a HTTP/1.1\r\n", "", 0},
		"nothing":           {"", "", 0},
		"a body":            {"POST /open/a HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n", "a", 100 * time.Millisecond},
		"chunks":            {"POST /open/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n", 100 * time.Millisecond},
		"idle, after a GET": {"GET /open/a HTTP/1.1\r\nHost: a\r\n\r\n", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			threat.Covers(t, 70)
			conn, err := net.Dial("tcp", strings.TrimPrefix(r.Public, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(patience))
			_, _ = io.WriteString(conn, c.first)
			ended := make(chan error, 1)
			go func() {
				_, err := io.Copy(io.Discard, conn)
				ended <- err
			}()
			var more <-chan time.Time
			if c.every > 0 {
				ticker := time.NewTicker(c.every)
				defer ticker.Stop()
				more = ticker.C
			}
			for {
				select {
				case err := <-ended:
					if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
						t.Error("the connection is still open")
					}
					return
				case <-more:
					_, _ = io.WriteString(conn, c.then)
				}
			}
		})
	}
}

// One connection too many is closed, and there is room again when one ends.
func TestSoManyConnections(t *testing.T) {
	threat.Covers(t, 70)
	r := bounded(t, "limits: {connections: 2}\n")
	served := func(c net.Conn) bool {
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, "GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			return false
		}
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		return err == nil && answer.StatusCode == 200
	}
	dial := func() net.Conn {
		c, err := net.Dial("tcp", strings.TrimPrefix(r.Public, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	one, two := dial(), dial()
	if !served(one) || !served(two) {
		t.Fatal("two connections are not served")
	}
	if served(dial()) {
		t.Error("a third connection is served")
	}
	one.Close()
	until(t, "there is room again", func() bool {
		c := dial()
		defer c.Close()
		return served(c)
	})
	if !served(two) {
		t.Error("the second is not served any more")
	}
}

// The limits of settings.yaml are those that are kept.
func TestRatesOfTheSettings(t *testing.T) {
	threat.Covers(t, 12)
	settings := "limits: {rates: {callback: 2/1h, sign_in: 2/1h}}\noidc: {allow_insecure_http: true}\n"
	idp := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(idp.Close)
	r := start(t, options(t, env(t, map[string]string{
		"OIDC_ISSUER": idp.URL, "AUTH_CLIENT_ID": "keyway", "BFF_CALLBACK_URL": "http://localhost:8000/auth/callback", "BFF_COOKIE_SECURE": "false",
	}), managed+settings, ""))
	var statuses []string
	for range 3 {
		res, err := client(t).Get(r.Public + "/auth/callback?code=a&state=b")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		statuses = append(statuses, fmt.Sprint(res.StatusCode, res.Header.Get("Retry-After") != ""))
	}
	if statuses[0] == "429 true" || statuses[1] == "429 true" || statuses[2] != "429 true" {
		t.Errorf("of 2/1h: %q", statuses)
	}
}
