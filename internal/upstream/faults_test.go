package upstream

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"keyway/internal/problem"
	"keyway/internal/threat"
)

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// hang reads until the other side gives up.
func hang(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// timeoutFor is short where the timeout is what is tested, and otherwise more than
// a loaded machine needs.
func timeoutFor(code problem.Code) time.Duration {
	if code == problem.UpstreamTimeout {
		return 100 * time.Millisecond
	}
	return patience
}

func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

func TestFaultsBeforeTheResponse(t *testing.T) {
	for name, c := range map[string]struct {
		serve func(net.Conn)
		code  problem.Code
	}{
		"reset at once":            {reset, problem.UpstreamFailed},
		"reset after the request":  {func(c net.Conn) { _, _ = readSeen(bufio.NewReader(c)); reset(c) }, problem.UpstreamFailed},
		"closed after the request": {func(c net.Conn) { _, _ = readSeen(bufio.NewReader(c)) }, problem.UpstreamFailed},
		"half-open: no answer":     {hang, problem.UpstreamTimeout},
		"half a status line":       {func(c net.Conn) { _, _ = readSeen(bufio.NewReader(c)); _, _ = io.WriteString(c, "HTTP/1.1 2"); hang(c) }, problem.UpstreamTimeout},
		"header drip": {func(c net.Conn) {
			_, err := readSeen(bufio.NewReader(c))
			for i := 0; err == nil; i++ {
				_, err = io.WriteString(c, "HTTP/1.1 200 OK\r\nX: y"[min(i, 19):min(i+1, 20)])
				<-time.After(time.Millisecond)
			}
		}, problem.UpstreamTimeout},
		"endless headers": {func(c net.Conn) {
			_, _ = readSeen(bufio.NewReader(c))
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for err == nil {
				_, err = io.WriteString(c, "X-Filler: "+strings.Repeat("a", 1000)+"\r\n")
			}
		}, problem.UpstreamFailed},
		"endless informational": {func(c net.Conn) {
			_, err := readSeen(bufio.NewReader(c))
			for err == nil {
				_, err = io.WriteString(c, "HTTP/1.1 102 Processing\r\nX: y\r\n\r\n")
			}
		}, problem.UpstreamFailed},
		"not HTTP": {func(c net.Conn) {
			_, _ = readSeen(bufio.NewReader(c))
			_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n")
			hang(c)
		}, problem.UpstreamFailed},
		"status 099": {func(c net.Conn) {
			_, _ = readSeen(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 099 X\r\n\r\n")
			hang(c)
		}, problem.UpstreamFailed},
		"bad chunking": {func(c net.Conn) {
			_, _ = readSeen(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\n\r\n")
			hang(c)
		}, problem.UpstreamFailed},
		"two lengths": {func(c net.Conn) {
			_, _ = readSeen(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
			hang(c)
		}, problem.UpstreamFailed},
		"never accepts": {nil, problem.UpstreamFailed},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 67)
			s := Service{Timeout: timeoutFor(c.code)}
			if c.serve == nil {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				s.BaseURL = "http://" + l.Addr().String()
				l.Close()
			} else {
				s.BaseURL = listen(t, c.serve)
			}
			f := newFront(t, s, nil)
			res, body := f.send(t, get)
			wantProblem(t, res, body, c.code)
			if outcome := receive(t, f.outcomes, "the outcome"); outcome.Err == nil || outcome.Aborted {
				t.Errorf("outcome %+v", outcome)
			}
			if strings.Contains(body, "127.0.0.1") {
				t.Errorf("the client learns addresses: %s", body)
			}
		})
	}
}

func TestFaultsInTheResponseCutTheConnection(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome"
	for name, c := range map[string]struct {
		serve     func(net.Conn)
		streaming bool
		code      problem.Code
	}{
		"reset":            {func(c net.Conn) { _, _ = readSeen(bufio.NewReader(c)); _, _ = io.WriteString(c, head); reset(c) }, false, problem.UpstreamFailed},
		"short":            {func(c net.Conn) { _, _ = readSeen(bufio.NewReader(c)); _, _ = io.WriteString(c, head) }, false, problem.UpstreamFailed},
		"short, streaming": {func(c net.Conn) { _, _ = readSeen(bufio.NewReader(c)); _, _ = io.WriteString(c, head) }, true, problem.UpstreamFailed},
		"stalls":           {func(c net.Conn) { _, _ = readSeen(bufio.NewReader(c)); _, _ = io.WriteString(c, head); hang(c) }, false, problem.UpstreamTimeout},
		"bad chunk": {func(c net.Conn) {
			_, _ = readSeen(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\nzz\r\n")
		}, false, problem.UpstreamFailed},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 67)
			f := newFront(t, Service{BaseURL: listen(t, c.serve), Timeout: 10 * timeoutFor(c.code)}, func(_ *http.Request, req *Request) { req.Streaming = c.streaming })
			conn := f.dial(t)
			_, _ = io.WriteString(conn, get)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err == nil {
				// It can't look whole.
				_, err = io.ReadAll(res.Body)
			}
			if err == nil {
				t.Error("the response looks whole")
			}
			outcome := receive(t, f.outcomes, "the outcome")
			if !outcome.Aborted || problem.CodeOf(outcome.Err) != c.code || outcome.UpstreamStatus != 200 {
				t.Errorf("outcome %+v", outcome)
			}
		})
	}
}

func TestFaultsOfTheClient(t *testing.T) {
	t.Run("gone while the upstream thinks", func(t *testing.T) {
		threat.Covers(t, 33, 67)
		arrived, freed := make(chan bool, 1), make(chan bool, 1)
		f := newFront(t, Service{BaseURL: listen(t, func(c net.Conn) {
			r := bufio.NewReader(c)
			_, _ = readSeen(r)
			arrived <- true
			_, _ = r.ReadByte()
			freed <- true
		})}, nil)
		c := f.dial(t)
		_, _ = io.WriteString(c, get)
		receive(t, arrived, "the request")
		c.Close()
		receive(t, freed, "the upstream's connection to end")
		if err := receive(t, f.errs, "the error"); !errors.Is(err, ErrClientGone) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("gone in mid-upload", func(t *testing.T) {
		threat.Covers(t, 67)
		arrived := make(chan bool, 1)
		f := newFront(t, Service{BaseURL: listen(t, func(c net.Conn) {
			_, _ = bufio.NewReader(c).ReadString('\n')
			arrived <- true
			hang(c)
		})}, nil)
		c := f.dial(t)
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf")
		receive(t, arrived, "the request")
		c.Close()
		if err := receive(t, f.errs, "the error"); !errors.Is(err, ErrClientGone) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("body that is too large for the gateway", func(t *testing.T) {
		f := newFront(t, Service{BaseURL: listen(t, hang)}, func(r *http.Request, _ *Request) { r.Body = http.MaxBytesReader(nil, r.Body, 3) })
		res, body := f.send(t, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
		wantProblem(t, res, body, problem.TooLarge)
	})
	t.Run("body that is malformed", func(t *testing.T) {
		threat.Covers(t, 41)
		f := newFront(t, Service{BaseURL: listen(t, hang)}, nil)
		res, body := f.send(t, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n")
		wantProblem(t, res, body, problem.BadRequest)
		if !res.Close {
			t.Error("the connection stays open")
		}
	})
	t.Run("body that never comes", func(t *testing.T) {
		threat.Covers(t, 67)
		f := newFront(t, Service{BaseURL: listen(t, hang), Timeout: 100 * time.Millisecond}, nil)
		c := f.dial(t)
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf")
		all, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(all), "HTTP/1.1 504 ") {
			t.Errorf("got %q, %v", all, err)
		}
	})
}

func TestRetriesOnlyWhatIsSafe(t *testing.T) {
	// The upstream answers the first request on each connection, and closes at the
	// second without answering: a client that reuses connections can't know.
	serve := func(lines chan string) func(net.Conn) {
		return func(c net.Conn) {
			r := bufio.NewReader(c)
			for n := range 2 {
				s, err := readSeen(r)
				if err != nil {
					return
				}
				lines <- s.line
				if n == 0 {
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			}
		}
	}
	for _, c := range []struct {
		raw   string
		sent  int
		retry bool
	}{
		{get, 3, true},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", 2, false},
		{"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", 2, false},
	} {
		lines := make(chan string, 10)
		f := newFront(t, Service{BaseURL: listen(t, serve(lines))}, nil)
		if res, _ := f.send(t, get); res.StatusCode != 200 {
			t.Fatal(res.Status)
		}
		res, body := f.send(t, c.raw)
		if c.retry && res.StatusCode != 200 {
			t.Errorf("%.6s: answered %s", c.raw, res.Status)
		}
		if !c.retry {
			wantProblem(t, res, body, problem.UpstreamFailed)
		}
		if len(lines) != c.sent {
			t.Errorf("%.6s: the upstream saw %d requests, want %d", c.raw, len(lines), c.sent)
		}
	}
}
