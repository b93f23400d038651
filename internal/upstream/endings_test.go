package upstream

import (
	"bufio"
	"bytes"
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

// How an exchange ends badly, or otherwise than by the book, and whether the client's
// connection is good for another request then, is as with httputil.ReverseProxy.
func TestExchangesEndAsThroughAnyProxy(t *testing.T) {
	const hello = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
	const waits = "POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
	long := strings.Repeat("x", 100_000)
	for name, c := range map[string]struct{ raw, answer string }{
		"as it should":                         {get, okay + "Content-Length: 2\r\n\r\nok"},
		"as it should, after a body":           {hello, okay + "Content-Length: 2\r\n\r\nok"},
		"cut in its length":                    {get, okay + "Content-Length: 10\r\n\r\nok"},
		"cut in its length, late":              {get, okay + "Content-Length: 100001\r\n\r\n" + long},
		"cut between chunks":                   {get, okay + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"},
		"cut in a chunk":                       {get, okay + "Transfer-Encoding: chunked\r\n\r\n9\r\nok"},
		"cut before trailers":                  {get, okay + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\n"},
		"cut, for HTTP/1.0":                    {"GET / HTTP/1.0\r\n\r\n", okay + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"},
		"no length, for HTTP/1.0":              {"GET / HTTP/1.0\r\n\r\n", okay + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
		"more than its length":                 {get, okay + "Content-Length: 2\r\n\r\nok, and more"},
		"a length with no content":             {get, "HTTP/1.1 204 No Content\r\n" + date + "Content-Length: 5\r\n\r\nhello"},
		"a body with not modified":             {get, "HTTP/1.1 304 Not Modified\r\n" + date + "Content-Length: 5\r\n\r\nhello"},
		"a body with HEAD":                     {"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", okay + "Content-Length: 5\r\n\r\nhello"},
		"reset content":                        {get, "HTTP/1.1 205 Reset Content\r\n" + date + "Content-Length: 0\r\n\r\n"},
		"a part":                               {"GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\nIf-Range: \"1\"\r\n\r\n", "HTTP/1.1 206 Partial\r\n" + date + "Content-Type: text/plain\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nok"},
		"many parts":                           {get, "HTTP/1.1 206 Partial\r\n" + date + "Content-Type: multipart/byteranges; boundary=b\r\nContent-Length: 2\r\n\r\nok"},
		"the connection's end":                 {get, okay + "Connection: close\r\nContent-Length: 2\r\n\r\nok"},
		"told to go on":                        {waits, "HTTP/1.1 100 Continue\r\n\r\n" + okay + "Content-Length: 2\r\n\r\nok"},
		"told to go on twice":                  {waits, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + okay + "Content-Length: 2\r\n\r\nok"},
		"expectation not met, before the body": {waits, "HTTP/1.1 417 Expectation Failed\r\n" + date + "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nno"},
		"refused before the body":              {waits, "HTTP/1.1 413 Too Large\r\n" + date + "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nno"},
		"good before the body":                 {waits, okay + "Content-Length: 2\r\n\r\nok"},
		"expects, but not in HTTP/1.0":         {"POST /x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", okay + "Content-Length: 2\r\n\r\nok"},
		"expects, with nothing to say":         {"POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", okay + "Content-Length: 2\r\n\r\nok"},
		"expects something else":               {"POST /x HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 5\r\n\r\nhello", okay + "Content-Length: 2\r\n\r\nok"},
		"nothing, and an unknown length ":      {"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", okay + "Content-Length: 2\r\n\r\nok"},
		"GET with a body":                      {"GET /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", okay + "Content-Length: 2\r\n\r\nok"},
	} {
		for _, streams := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " streaming ", streams), func(t *testing.T) {
				threat.Covers(t, 67)
				t.Parallel()
				base := listen(t, func(conn net.Conn) {
					_ = conn.SetReadDeadline(time.Now().Add(patience))
					r := bufio.NewReader(conn)
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					answer := c.answer
					if goOn, rest, ok := strings.Cut(answer, "100 Continue\r\n\r\n"); ok {
						_, _ = io.WriteString(conn, goOn+"100 Continue\r\n\r\n")
						answer = rest
					}
					if req.Header.Get("Expect") == "" || answer != c.answer {
						_, _ = io.Copy(io.Discard, req.Body)
					}
					_, _ = io.WriteString(conn, answer)
					if half, ok := conn.(*net.TCPConn); ok {
						_ = half.CloseWrite()
					}
					_, _ = io.Copy(io.Discard, conn)
				})
				ours := newFront(t, Service{BaseURL: base}, func(_ *http.Request, req *Request) { req.Streaming = streams })
				// Whether the rest of a request comes before its answer is sent is a matter of
				// chance there; we don't wait for it, and end the connection.
				early := strings.HasSuffix(name, "before the body")
				got, want := ended(t, ours.addr, c.raw, early), ended(t, bare(t, base, streams), c.raw, early)
				if got != want {
					t.Errorf("the client got\n%.2000s\nwant\n%.2000s", got, want)
				}
			})
		}
	}
}

// ended is all that a client can tell of an exchange, and whether its connection can
// be used for another one.
func ended(t *testing.T, addr, raw string, early bool) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, raw)
	method, _, _ := strings.Cut(raw, " ")
	r := bufio.NewReader(conn)
	var all bytes.Buffer
	res, err := http.ReadResponse(r, &http.Request{Method: method})
	for err == nil && res.StatusCode == http.StatusContinue {
		if !early {
			fmt.Fprintln(&all, res.Status)
		}
		_, _ = io.WriteString(conn, "hello")
		res, err = http.ReadResponse(r, &http.Request{Method: method})
	}
	if err != nil {
		fmt.Fprintln(&all, "no answer", err)
		return all.String()
	}
	body, err := io.ReadAll(res.Body)
	fmt.Fprintln(&all, res.Status, res.Proto, res.ContentLength, res.TransferEncoding, res.Close && !early)
	_ = res.Header.Write(&all)
	fmt.Fprintln(&all, len(body), err)
	if early {
		return all.String()
	}
	_, _ = io.WriteString(conn, "OPTIONS /again HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	again, err := http.ReadResponse(r, nil)
	if err != nil {
		fmt.Fprintln(&all, "once only")
		return all.String()
	}
	fmt.Fprintln(&all, "then", again.StatusCode)
	return all.String()
}

// In HTTP/2 an answer that ends a request early leaves the connection, which others
// share, as it is.
func TestAFailureLeavesAnHTTP2Connection(t *testing.T) {
	threat.Covers(t, 67)
	for name, answer := range map[string]string{"refused early": "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno", "timed out": ""} {
		t.Run(name, func(t *testing.T) {
			base, _ := atOnce(t, answer)
			p, err := New(Options{Services: []Service{{Name: "api", BaseURL: base, Timeout: 500 * time.Millisecond}}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Close)
			connections := make(chan string, 10)
			front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				connections <- r.RemoteAddr
				if p.Forward(w, r, Request{Service: "api", Path: "/"}) != nil {
					w.WriteHeader(http.StatusBadGateway)
				}
			}))
			front.Config.ErrorLog = silent
			front.EnableHTTP2 = true
			front.StartTLS()
			t.Cleanup(front.Close)
			for range 3 {
				body, more := io.Pipe()
				req, err := http.NewRequestWithContext(t.Context(), "POST", front.URL, body)
				if err != nil {
					t.Fatal(err)
				}
				go func() { _, _ = more.Write([]byte("half")) }()
				res, err := front.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				_ = body.Close()
			}
			if a, b, c := <-connections, <-connections, <-connections; a != b || b != c {
				t.Errorf("used the connections %s, %s, %s", a, b, c)
			}
		})
	}
}
