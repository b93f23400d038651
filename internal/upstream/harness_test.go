package upstream

import (
	"bufio"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keyway/internal/principal"
	"keyway/internal/problem"
	"keyway/internal/upstream/wire"
)

// patience bounds what a test waits for on real sockets. It is only used up when
// the test fails.
const patience = 10 * time.Second

// silent is for servers that a test has fail.
var silent = log.New(io.Discard, "", 0)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(os.Exit))
}

// listen runs serve for each connection, until the test ends; then all are closed.
func listen(t testing.TB, serve func(net.Conn)) (baseURL string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var open []net.Conn
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			running.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return "http://" + l.Addr().String()
}

// seen is one request as its bytes arrived at an upstream.
type seen struct {
	line    string
	fields  []string
	body    string
	trailer []string
}

// field returns the values of a field in the order they came; name is compared
// without case, as bytes otherwise.
func (s seen) field(name string) []string {
	var values []string
	for _, f := range s.fields {
		if n, v, _ := strings.Cut(f, ": "); strings.EqualFold(n, name) {
			values = append(values, v)
		}
	}
	return values
}

// recorder is an upstream that keeps what it gets and answers 200 "ok".
func recorder(t testing.TB) (baseURL string, requests chan seen) {
	requests = make(chan seen, 100)
	return listen(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			s, err := readSeen(r)
			if err != nil {
				return
			}
			requests <- s
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
				return
			}
		}
	}), requests
}

func readSeen(r *bufio.Reader) (s seen, err error) {
	line := func() string {
		var l string
		if err == nil {
			l, err = r.ReadString('\n')
		}
		return strings.TrimSuffix(l, "\r\n")
	}
	s.line = line()
	for l := line(); l != ""; l = line() {
		s.fields = append(s.fields, l)
	}
	if err != nil {
		return s, err
	}
	if len(s.field("Transfer-Encoding")) > 0 {
		for size := line(); err == nil && size != "0"; size = line() {
			s.body += line()
		}
		for l := line(); l != ""; l = line() {
			s.trailer = append(s.trailer, l)
		}
	} else if n := s.field("Content-Length"); len(n) > 0 {
		buf := make([]byte, len("x")*atoi(n[0]))
		_, err = io.ReadFull(r, buf)
		s.body = string(buf)
	}
	return s, err
}

func atoi(s string) (n int) {
	for _, c := range s {
		n = n*10 + int(c-'0')
	}
	return n
}

var ada = &principal.Principal{
	Provider: "demo", Subject: "ada", Email: "ada@example.org", Name: "Ada Lovelace", SessionID: "s-1", AuthTime: time.Unix(1_700_000_000, 0),
}

// front is a gateway that has decided: decide gets a request that goes to the
// service "api" as its path and query stand, and may change it.
type front struct {
	addr     string
	outcomes chan Outcome
	errs     chan error
}

func newFront(t testing.TB, s Service, decide func(*http.Request, *Request)) *front {
	t.Helper()
	s.Name = "api"
	p, err := New(Options{Services: []Service{s}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return frontOf(t, p, decide)
}

func frontOf(t testing.TB, p *Proxy, decide func(*http.Request, *Request)) *front {
	f := &front{outcomes: make(chan Outcome, 100), errs: make(chan error, 100)}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var outcome Outcome
		req := Request{
			Service: "api", Path: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery, CorrelationID: "c-1",
			ClientIP: netip.MustParseAddr("192.0.2.7"), Scheme: "https", Host: "app.example", Outcome: &outcome,
		}
		if decide != nil {
			decide(r, &req)
		}
		var err error
		defer func() {
			f.errs <- err
			f.outcomes <- outcome
		}()
		w.Header().Set("X-Correlation-ID", "c-1")
		if err = p.Forward(w, r, req); errors.Is(err, ErrClientGone) {
			panic(http.ErrAbortHandler)
		} else if err != nil {
			problem.Write(w, "c-1", err)
		}
	}))
	s.Config.ErrorLog = silent
	s.Listener = wire.Listener(s.Listener)
	s.Start()
	t.Cleanup(s.Close)
	f.addr = s.Listener.Addr().String()
	return f
}

func (f *front) dial(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// send writes raw bytes on a connection of its own and reads one response.
func (f *front) send(t testing.TB, raw string) (*http.Response, string) {
	t.Helper()
	c := f.dial(t)
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	return readResponse(t, bufio.NewReader(c))
}

func readResponse(t testing.TB, r *bufio.Reader) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("no response: %v", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("no whole response: %v", err)
	}
	return res, string(body)
}

// wantProblem checks that a response is a problem document of the kind.
func wantProblem(t testing.TB, res *http.Response, body string, code problem.Code) {
	t.Helper()
	if res.StatusCode != code.Status() || res.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(body, string(code)) {
		t.Errorf("answered %s %q %q, want %s", res.Status, res.Header.Get("Content-Type"), body, code)
	}
}

func receive[T any](t testing.TB, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}
