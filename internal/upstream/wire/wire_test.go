package wire_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"keyway/internal/threat"
	"keyway/internal/upstream/wire"
)

// serve starts net/http behind a checked listener. Each request that reaches a
// handler is named on the channel.
func serve(t *testing.T) (addr string, handled chan string) {
	t.Helper()
	handled = make(chan string, 100)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		handled <- r.Method + " " + r.URL.Path + " " + string(body)
		w.WriteHeader(http.StatusNoContent)
	}))
	s.Listener = wire.Listener(s.Listener)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), handled
}

// exchange sends raw bytes and returns all that comes back until the server
// closes.
func exchange(t *testing.T, addr, raw string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("the connection was not closed: %v, after %q", err, answer)
	}
	return string(answer)
}

const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

func TestAmbiguousFramingIsRefusedAndTheConnectionClosed(t *testing.T) {
	for name, raw := range map[string]string{
		"CL and TE":             "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TE and CL":             "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"two CL":                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\ncontent-length: 0\r\n\r\n",
		"CL list":               "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n",
		"CL sign":               "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n",
		"CL empty":              "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
		"CL huge":               "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\n",
		"two TE":                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TE list":               "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
		"TE with vertical tab":  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n",
		"TE in HTTP/1.0":        "POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"bare LF everywhere":    "GET / HTTP/1.1\nHost: a\n\n",
		"bare LF in a field":    "GET / HTTP/1.1\r\nHost: a\r\nX: b\nContent-Length: 5\r\n\r\n",
		"bare LF ends the head": "GET / HTTP/1.1\r\nHost: a\r\n\n",
		"bare CR in a field":    "GET / HTTP/1.1\r\nHost: a\r\nX: b\rContent-Length: 5\r\n\r\n",
		"folded line":           "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n Content-Length: 5\r\n\r\n",
		"space before colon":    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n",
		"no colon":              "GET / HTTP/1.1\r\nHost: a\r\nContent-Length\r\n\r\n",
		"two Hosts":             "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"no Host":               "GET / HTTP/1.1\r\n\r\n",
		"NUL":                   "GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
		"no version":            "GET /\r\n",
		"line too long":         "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 70<<10) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 41)
			addr, handled := serve(t)
			answer := exchange(t, addr, raw+smuggled)
			if !strings.HasPrefix(answer, "HTTP/1.1 400 ") {
				t.Errorf("answered %q, want 400", answer)
			}
			if strings.Count(answer, "HTTP/1.") != 1 {
				t.Errorf("answered more than once: %q", answer)
			}
			select {
			case request := <-handled:
				t.Errorf("a handler saw %q", request)
			default:
			}
		})
	}
}

func TestAmbiguousChunksReachNoHandlerAsABody(t *testing.T) {
	for name, chunks := range map[string]string{
		"bare LF after the size":    "5\nhello\r\n0\r\n\r\n",
		"bare LF in an extension":   "5;a\nhello\r\n0\r\n\r\n",
		"bare LF after the data":    "5\r\nhello\n0\r\n\r\n",
		"longer than it said":       "5\r\nhello!\r\n0\r\n\r\n",
		"size with a prefix":        "0x5\r\nhello\r\n0\r\n\r\n",
		"size with a sign":          "+5\r\nhello\r\n0\r\n\r\n",
		"size too large":            "10000000000000005\r\nhello\r\n0\r\n\r\n",
		"no size":                   "\r\nhello\r\n0\r\n\r\n",
		"framing among trailers":    "0\r\nContent-Length: 5\r\n\r\n",
		"folded trailer":            "0\r\nA: b\r\n c\r\n\r\n",
		"bare LF ends the trailers": "0\r\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 41)
			addr, handled := serve(t)
			answer := exchange(t, addr, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+chunks+smuggled)
			if !strings.HasPrefix(answer, "HTTP/1.1 400 ") || strings.Count(answer, "HTTP/1.") != 1 {
				t.Errorf("answered %q, want 400 once", answer)
			}
			select {
			case request := <-handled:
				t.Errorf("a handler saw %q", request)
			default:
			}
		})
	}
}

func TestSoundRequestsPassHoweverTheyArrive(t *testing.T) {
	requests := "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" +
		"\r\n" + // some clients of old send this after a POST, RFC 9112 section 2.2
		"POST /b HTTP/1.1\r\nhost: a\r\nTransfer-Encoding:\tChunked\r\nTrailer: X\r\n\r\n5;ext=\"1\"\r\nhel\r\n\r\n0A;x\r\n0123\n\n6789\r\n0\r\nX: y\r\n\r\n" +
		"GET /c HTTP/1.1\r\nHost: a\r\nX-Long: " + strings.Repeat("c", 20<<10) + "\r\nEmpty:\r\n\r\n" +
		"DELETE /d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	want := []string{"POST /a hello", "POST /b hel\r\n0123\n\n6789", "GET /c ", "DELETE /d "}
	for name, send := range map[string]func(net.Conn) error{
		"at once": func(c net.Conn) error { _, err := io.WriteString(c, requests); return err },
		"byte by byte": func(c net.Conn) error {
			_ = c.(*net.TCPConn).SetNoDelay(true)
			_, err := io.Copy(struct{ io.Writer }{c}, iotest.OneByteReader(strings.NewReader(requests)))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			addr, handled := serve(t)
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			go func() { _ = send(c) }()
			answer, err := io.ReadAll(c)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(string(answer), "HTTP/1.1 204 "); got != len(want) {
				t.Fatalf("%d of %d requests answered: %q", got, len(want), answer)
			}
			for _, w := range want {
				if got := <-handled; got != w {
					t.Errorf("handled %q, want %q", got, w)
				}
			}
		})
	}
}

func TestRawEndsTheChecks(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := wire.NewConn(ours)
	defer c.Close()
	c.Raw()
	go func() { _, _ = io.WriteString(theirs, "\x81\x05hello\n\n") }()
	buf := make([]byte, 9)
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "\x81\x05hello\n\n" {
		t.Errorf("read %q, %v", buf, err)
	}
}

func TestAViolationStays(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := wire.NewConn(ours)
	defer c.Close()
	go func() { _, _ = io.WriteString(theirs, "GET / HTTP/1.1\nGET / HTTP/1.1\r\n\r\n") }()
	sound, err := io.ReadAll(c)
	violation, ok := errors.AsType[*wire.Violation](err)
	if !ok || string(sound) != "GET / HTTP/1.1" {
		t.Fatalf("read %q, %v", sound, err)
	}
	if n, again := c.Read(make([]byte, 10)); n != 0 || !errors.Is(again, violation) {
		t.Errorf("then read %d bytes, %v", n, again)
	}
}

// FuzzScan checks that the scanner and net/http agree on where requests begin: of
// what the scanner lets through, net/http must read the same number of requests
// whether the bytes come whole or one by one, with nothing refused in one way only.
func FuzzScan(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
	f.Add("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
	f.Add("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
	f.Add("\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	f.Fuzz(func(t *testing.T, input string) {
		whole, errWhole := throughConn(strings.NewReader(input))
		bytewise, errBytewise := throughConn(iotest.OneByteReader(strings.NewReader(input)))
		if whole != bytewise || fmt.Sprint(errWhole) != fmt.Sprint(errBytewise) {
			t.Fatalf("whole: %q %v\nbyte by byte: %q %v", whole, errWhole, bytewise, errBytewise)
		}
		if !strings.HasPrefix(input, whole) {
			t.Fatalf("%q is not the beginning of %q", whole, input)
		}
		if strings.HasPrefix(input, "PRI ") {
			return
		}
		// What passed holds no head in which net/http would have had to choose.
		r := bufio.NewReader(strings.NewReader(whole))
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			if len(req.TransferEncoding) > 0 && req.ProtoMinor == 0 {
				t.Fatalf("chunked HTTP/1.0 in %q", whole)
			}
		}
	})
}

type readConn struct {
	net.Conn
	io.Reader
}

func (c readConn) Read(p []byte) (int, error) { return c.Reader.Read(p) }

func throughConn(r io.Reader) (string, error) {
	got, err := io.ReadAll(wire.NewConn(readConn{Reader: r}))
	return string(got), err
}

func BenchmarkScan(b *testing.B) {
	head := "GET /api/notes?x=1 HTTP/1.1\r\nHost: localhost:8000\r\n" + strings.Repeat("X-Some-Header: some value of the usual length\r\n", 12) + "\r\n"
	r := &repeat{s: head}
	c := wire.NewConn(readConn{Reader: r})
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}

type repeat struct{ s string }

func (r *repeat) Read(p []byte) (int, error) { return copy(p, r.s), nil }
