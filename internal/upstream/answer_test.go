package upstream

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"keyway/internal/threat"
)

const (
	date = "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
	okay = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + date
)

// What an upstream answers reaches the client as httputil.ReverseProxy passes it on.
// Where the two differ, which is in whose headers they are, in type sniffing and in
// informational responses, is for other tests.
func TestAnswersArriveAsThroughAnyProxy(t *testing.T) {
	long := strings.Repeat("0123456789", 10_000)
	for name, answer := range map[string]string{
		"of known length":         okay + "Content-Length: 2\r\n\r\nok",
		"long":                    okay + "Content-Length: 100000\r\n\r\n" + long,
		"empty":                   okay + "Content-Length: 0\r\n\r\n",
		"in chunks":               okay + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3\r\nay!\r\n0\r\n\r\n",
		"until the end":           okay + "Connection: close\r\n\r\nok",
		"HTTP/1.0":                "HTTP/1.0 200 OK\r\n" + date + "Content-Type: text/plain\r\n\r\nok",
		"trailers":                okay + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n",
		"trailers, not announced": okay + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n",
		"trailers, some":          okay + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
		"trailers, no body":       okay + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n0\r\nX-Sum: 1\r\n\r\n",
		"no content":              "HTTP/1.1 204 No Content\r\n" + date + "X-App: 1\r\n\r\n",
		"not modified":            "HTTP/1.1 304 Not Modified\r\n" + date + "Etag: \"1\"\r\nContent-Length: 7\r\n\r\n",
		"a redirect":              "HTTP/1.1 302 Found\r\n" + date + "Location: /x\r\nContent-Length: 0\r\n\r\n",
		"an error":                "HTTP/1.1 500 Oops\r\n" + date + "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nno",
		"a status of its own":     "HTTP/1.1 799 Odd\r\n" + date + "Content-Length: 0\r\n\r\n",
		"many values":             okay + "Vary: A\r\nVary: B\r\nLink: <a>\r\nLink: <b>\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n",
		"for the next hop":        okay + "Connection: x-hop, X-Other,,keep-alive\r\nX-Hop: 1\r\nX-Other: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: x\r\nProxy-Connection: x\r\nTe: x\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok",
		"events":                  "HTTP/1.1 200 OK\r\n" + date + "Content-Type: Text/Event-Stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n0\r\n\r\n",
	} {
		for _, method := range []string{"GET", "HEAD"} {
			for _, streams := range []bool{false, true} {
				t.Run(fmt.Sprint(name, " ", method, " streaming ", streams), func(t *testing.T) {
					base := listen(t, func(c net.Conn) {
						r := bufio.NewReader(c)
						if _, err := readSeen(r); err != nil {
							return
						}
						answer := answer
						if head, _, _ := strings.Cut(answer, "\r\n\r\n"); method == "HEAD" {
							answer = head + "\r\n\r\n"
						}
						_, _ = io.WriteString(c, answer)
					})
					ours := newFront(t, Service{BaseURL: base}, func(_ *http.Request, req *Request) { req.Streaming = streams })
					got, want := answered(t, ours.addr, method), answered(t, bare(t, base, streams), method)
					if got != want {
						t.Errorf("the client got\n%.2000s\nwant\n%.2000s", got, want)
					}
				})
			}
		}
	}
}

// bare is the address of a proxy that adds what newFront's does and nothing else.
func bare(t *testing.T, base string, streams bool) string {
	target, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{Rewrite: func(pr *httputil.ProxyRequest) { pr.SetURL(target) }, Transport: transport}
	if streams {
		proxy.FlushInterval = -1
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxy.ServeHTTP(correlated{w}, r)
	}))
	s.Config.ErrorLog, proxy.ErrorLog = silent, silent
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// correlated adds to a response what newFront's has. What is informational stays here.
type correlated struct{ http.ResponseWriter }

func (c correlated) WriteHeader(status int) {
	if status >= http.StatusOK {
		c.Header().Set("X-Correlation-ID", "c-1")
		c.ResponseWriter.WriteHeader(status)
	}
}

func (c correlated) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// answered is all that a client can tell of the answer to a request.
func answered(t *testing.T, addr, method string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, method+" /x HTTP/1.1\r\nHost: a\r\nTe: trailers\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	var all bytes.Buffer
	fmt.Fprintln(&all, res.Status, res.Proto, res.ContentLength, res.TransferEncoding, res.Close)
	_ = res.Header.Write(&all)
	fmt.Fprintln(&all, len(body), string(body), err)
	fmt.Fprintln(&all, "trailers")
	_ = res.Trailer.Write(&all)
	return all.String()
}

// And what a client sends reaches the upstream as that has it, but for what we add.
func TestRequestsArriveAsThroughAnyProxy(t *testing.T) {
	for name, raw := range map[string]string{
		"GET":              "GET /x?a=b HTTP/1.1\r\nHost: a\r\nAccept: a\r\nAccept: b\r\nUser-Agent: me\r\nCookie: a=b\r\nRange: bytes=0-1\r\n\r\n",
		"without an agent": "GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
		"that is the last": "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		"HTTP/1.0":         "GET /x HTTP/1.0\r\n\r\n",
		"to the next hop":  "GET /x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nTe: trailers, deflate\r\nProxy-Connection: 1\r\n\r\n",
		"OPTIONS":          "OPTIONS /x HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST":             "POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
		"POST of nothing":  "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
		"PUT in chunks":    "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"DELETE":           "DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n",
		"of its own":       "BREW /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
	} {
		t.Run(name, func(t *testing.T) {
			base, requests := recorder(t)
			ours := newFront(t, Service{BaseURL: base}, nil)
			var arrived [2]string
			for i, addr := range []string{ours.addr, bare(t, base, false)} {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				_, _ = io.WriteString(c, raw)
				got := receive(t, requests, "the request")
				_, _ = readResponse(t, bufio.NewReader(c))
				added := func(field string) bool {
					return strings.HasPrefix(field, "X-Forwarded-") || strings.HasPrefix(field, "X-Correlation-")
				}
				arrived[i] = fmt.Sprintf("%q %q %q %q", got.line, slices.DeleteFunc(got.fields, added), got.body, got.trailer)
			}
			if arrived[0] != arrived[1] {
				t.Errorf("the upstream got\n%s\nwant\n%s", arrived[0], arrived[1])
			}
		})
	}
}

func TestNothingReadsTheClientsBodyAfterTheExchange(t *testing.T) {
	threat.Covers(t, 41)
	source := &closing{Reader: strings.NewReader("of the next request")}
	b := requestBody{src: source}
	_ = b.Close()
	if n, err := b.Read(make([]byte, 10)); n != 0 || err == nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if source.closed || b.failure() != nil {
		t.Errorf("the client's body was closed: %v, and is to blame: %v", source.closed, b.failure())
	}
}

type closing struct {
	io.Reader
	closed bool
}

// A transport that has sent a body of known length looks whether there is more. By then
// the answer may have begun, with which net/http closes what it reads from.
func TestABodyThatWasReadStaysAtItsEnd(t *testing.T) {
	threat.Covers(t, 41)
	b := requestBody{src: io.NopCloser(iotest.DataErrReader(strings.NewReader("hello")))}
	buf := make([]byte, 10)
	if n, err := b.Read(buf); n != 5 || err != io.EOF {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	b.src = io.NopCloser(iotest.ErrReader(http.ErrBodyReadAfterClose))
	if n, err := b.Read(buf); n != 0 || err != io.EOF || b.failure() != nil {
		t.Errorf("then read %d bytes, %v, and the client is to blame: %v", n, err, b.failure())
	}
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}
