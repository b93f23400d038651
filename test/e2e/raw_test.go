package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"keyway/internal/threat"
)

// raw sends bytes to the gateway over a connection of its own, and answers with
// the first response. Closed says that nothing more can be sent after it.
func raw(t testing.TB, p *Process, request string) (a Answer, closed bool) {
	t.Helper()
	conn, err := net.Dial("tcp", mustURL(t, p.URL).Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	read := bufio.NewReader(conn)
	resp, err := http.ReadResponse(read, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no response: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	// One more request of the plainest kind: is it answered?
	_, _ = io.WriteString(conn, "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
	next, err := http.ReadResponse(read, nil)
	if err == nil {
		next.Body.Close()
	}
	resp.Request = &http.Request{Method: method, URL: mustURL(t, p.URL)}
	return Answer{resp, string(body)}, err != nil
}

// rawWorld is a gateway with ada signed in, and the header lines of her browser.
func rawWorld(t testing.TB) (w *world, gateway *Process, head string) {
	t.Helper()
	w = newWorld(t, setup{})
	gateway = w.serve(t, nil)
	b := w.signedIn(t, gateway)
	return w, gateway, "Host: " + mustURL(t, gateway.URL).Host + "\r\nCookie: __Host-bff_session=" + b.Jar.Get("__Host-bff_session").Value + "\r\n"
}

const forgedIdentity = "X-User-ID: mallory\r\nx-user-id: mallory\r\nX_User_ID: mallory\r\nx.user.id: mallory\r\nX-User-Email: mallory\r\n" +
	"X-User-Name: mallory\r\nX-Session-ID: mallory\r\nX-Auth-Time: mallory\r\nX-Original-User: mallory\r\nX_Original_User: mallory\r\n" +
	"Authorization: Bearer mallory\r\nX-Correlation-ID: mallory\r\n"

func TestRawIdentity(t *testing.T) {
	w, gateway, head := rawWorld(t)
	for name, tc := range map[string]struct{ target, head, rest string }{
		"public":  {"GET /open/x", "Host: x\r\n", ""},
		"session": {"GET /api/echo", head, ""},
		"OPTIONS": {"OPTIONS /open/x", "Host: x\r\n", ""},
		"trailer": {"POST /open/x", "Host: x\r\n", "Transfer-Encoding: chunked\r\nTrailer: X-User-ID\r\n\r\n2\r\nhi\r\n0\r\nX-User-ID: mallory\r\nX_User_ID: mallory\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 34)
			w.API.forget()
			raw(t, gateway, tc.target+" HTTP/1.1\r\n"+tc.head+forgedIdentity+tc.rest+"\r\n")
			seen := w.API.lastArrival()
			if seen.Method == "" {
				t.Fatal("nothing arrived")
			}
			if strings.Contains(fmt.Sprint(seen), "mallory") {
				t.Errorf("the API saw %+v", seen)
			}
			if name == "session" && seen.Header.Get("X-User-Id") != "ada" {
				t.Errorf("the API saw %+v", seen.Header)
			}
		})
	}
	t.Run("Connection", func(t *testing.T) {
		threat.Covers(t, 35)
		w.API.forget()
		a, _ := raw(t, gateway, "GET /api/echo HTTP/1.1\r\n"+head+
			"Connection: x-user-id, x-original-user, authorization, x-session-id, x-correlation-id, close\r\n\r\n")
		wantStatus(t, a, 200)
		h := w.API.lastHeader()
		for _, name := range []string{"X-User-Id", "X-Original-User", "Authorization", "X-Session-Id", "X-Correlation-Id"} {
			if h.Get(name) == "" {
				t.Errorf("%s did not arrive", name)
			}
		}
	})
}

func TestRawUpgrades(t *testing.T) {
	w, gateway, head := rawWorld(t)
	for name, request := range map[string]string{
		"h2c":               "GET /api/echo HTTP/1.1\r\n" + head + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
		"h2c on a stream":   "GET /api/ws HTTP/1.1\r\n" + head + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
		"h2c and websocket": "GET /api/ws HTTP/1.1\r\n" + head + "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		"CONNECT":           "CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n",
		"CONNECT to a path": "CONNECT /api/echo HTTP/1.1\r\n" + head + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 36)
			w.API.forget()
			a, _ := raw(t, gateway, request)
			if a.StatusCode < 400 && a.StatusCode != 200 || a.StatusCode == 101 {
				t.Errorf("%s", a.Status)
			}
			if a.StatusCode == 200 && strings.HasPrefix(request, "CONNECT") {
				t.Errorf("a tunnel was opened")
			}
			if h := w.API.lastHeader(); h.Get("Upgrade") != "" || h.Get("Http2-Settings") != "" {
				t.Errorf("the API saw %v", h)
			}
		})
	}
}

func TestRawFraming(t *testing.T) {
	w, gateway, head := rawWorld(t)
	post := "POST /open/x HTTP/1.1\r\nHost: x\r\n"
	for name, request := range map[string]string{
		"CL and TE":          post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two CL":             post + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"CL list":            post + "Content-Length: 1, 2\r\n\r\nab",
		"signed CL":          post + "Content-Length: +1\r\n\r\na",
		"TE identity":        post + "Transfer-Encoding: identity\r\n\r\n",
		"TE twice":           post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"bare LF":            "GET /open/x HTTP/1.1\nHost: x\n\n",
		"bare LF in a field": "GET /open/x HTTP/1.1\r\nHost: x\r\nA: b\nX-User-ID: mallory\r\n\r\n",
		"bare LF in a chunk": post + "Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
		"bare CR":            "GET /open/x HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
		"folded":             "GET /open/x HTTP/1.1\r\nHost: x\r\nA: b\r\n X-User-ID: mallory\r\n\r\n",
		"space before colon": post + "Content-Length : 4\r\n\r\nabcd",
		"two Hosts":          "GET /open/x HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
		"no Host":            "GET /open/x HTTP/1.1\r\n\r\n",
		"absolute form":      "GET http://169.254.169.254/latest HTTP/1.1\r\nHost: x\r\n\r\n",
		"authority and @":    "GET http://x@127.0.0.1:1/open/x HTTP/1.1\r\nHost: x\r\n\r\n",
		"signed in, smuggling": "POST /api/notes HTTP/1.1\r\n" + head + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" +
			"GET /api/echo HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 41)
			w.API.forget()
			a, closed := raw(t, gateway, request)
			if a.StatusCode != 400 && a.StatusCode != 501 {
				t.Errorf("%s %s, want 400", a.Status, a.Text)
			}
			if !closed {
				t.Error("the connection goes on")
			}
			if got := w.API.lastArrival(); got.Method != "" {
				t.Errorf("the API saw %+v", got)
			}
		})
	}
}

func TestRawPathsAndQueries(t *testing.T) {
	w, gateway, head := rawWorld(t)
	send := func(t *testing.T, target string) (Answer, arrival) {
		w.API.forget()
		a, _ := raw(t, gateway, "GET "+target+" HTTP/1.1\r\n"+head+"\r\n")
		return a, w.API.lastArrival()
	}
	for _, target := range []string{
		"/open/../api/echo", "/open/%2e%2e/api/echo", "/open/%2E./api/echo", "/open/..%2fapi/echo", "/open/..%5capi", "/open/..\\api",
		"/open//api/echo", "//open/x", "/open/;/../api/echo", "/open/x;a=b", "/open/x#frag", "/open/%00", "/open/%0d%0aX-User-ID:%20m",
		"/open/%252e%252e/api", "/open/%c0%ae%c0%ae/api", "/open/%", "/open/%zz", "/open/./x", "/auth//session", "/auth/%73ession/..",
	} {
		t.Run("refused "+target, func(t *testing.T) {
			threat.Covers(t, 38)
			a, seen := send(t, target)
			if a.StatusCode != 400 || seen.Method != "" {
				t.Errorf("%s; the API saw %q", a.Status, seen.Target)
			}
		})
	}
	for target, want := range map[string]string{
		"/open/a%20b":        "/echo/a%20b",
		"/open/%C3%A9":       "/echo/%C3%A9",
		"/open/a?b=c&b=d":    "/echo/a?b=c&b=d",
		"/open/a?b=%2e%2e":   "/echo/a?b=%2e%2e",
		"/open/a?b=%23%3F":   "/echo/a?b=%23%3F",
		"/open/Case/sensi":   "/echo/Case/sensi",
		"/open/a?":           "/echo/a",
		"/api/echo/x?q=a+b":  "/echo/x?q=a+b",
		"/api/echo/..x/y...": "/echo/..x/y...",
	} {
		t.Run("forwarded "+target, func(t *testing.T) {
			threat.Covers(t, 38, 39)
			a, seen := send(t, target)
			if strings.TrimSuffix(seen.Target, "?") != want {
				t.Errorf("%s; the API saw %q, want %q", a.Status, seen.Target, want)
			}
		})
	}
	for name, target := range map[string]string{
		"another case":   "/OPEN/x",
		"encoded prefix": "/%6fpen/x",
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 38)
			a, seen := send(t, target)
			if a.StatusCode < 400 && !strings.HasPrefix(seen.Target, "/echo/") || a.StatusCode >= 500 {
				t.Errorf("%s; the API saw %q", a.Status, seen.Target)
			}
		})
	}
	for name, query := range map[string]string{
		"bad escape": "a=%zz", "half an escape": "a=%4", "semicolon": "a=b;c=d", "too many": strings.Repeat("a&", 1_001), "far too many": strings.Repeat("a=b&", 10_001),
	} {
		t.Run("query with "+name, func(t *testing.T) {
			threat.Covers(t, 39)
			a, seen := send(t, "/open/x?"+query)
			if a.StatusCode != 400 && a.StatusCode != 431 || seen.Method != "" {
				t.Errorf("%s; the API saw %q", a.Status, seen.Target)
			}
		})
	}
}

func TestRawForwardedHeaders(t *testing.T) {
	threat.Covers(t, 37)
	w, gateway, head := rawWorld(t)
	const forged = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\nForwarded: for=203.0.113.7;host=evil.example\r\n" +
		"X-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\nX-Real-IP: 203.0.113.7\r\nX-Forwarded-Prefix: /evil\r\n"
	a, _ := raw(t, gateway, "GET /api/echo HTTP/1.1\r\n"+head+forged+"\r\n")
	wantStatus(t, a, 200)
	seen := w.API.lastArrival()
	if text := fmt.Sprint(seen); strings.Contains(text, "evil") || strings.Contains(text, "203.0.113.7") || seen.Target != "/echo" {
		t.Errorf("the API saw %+v", seen)
	}
	if got := seen.Header.Get("X-Forwarded-For"); got != "127.0.0.1" {
		t.Errorf("X-Forwarded-For: %q", got)
	}
	a, _ = raw(t, gateway, "GET /auth/login?return_to=/x HTTP/1.1\r\nHost: evil.example\r\n"+forged+"\r\n")
	if to := a.Header.Get("Location"); a.StatusCode != 303 || strings.Contains(to, "evil") {
		t.Errorf("%s to %s", a.Status, to)
	}
}
