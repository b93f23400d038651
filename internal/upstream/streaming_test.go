package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"keyway/internal/problem"
	"keyway/internal/threat"
)

const eventStream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"

// ticker is an upstream that sends an event for each thing put into the channel,
// and reports when the proxy has let go of it.
func ticker(t *testing.T) (baseURL string, ticks chan string, freed chan bool) {
	ticks, freed = make(chan string), make(chan bool, 1)
	return listen(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := readSeen(r); err != nil {
			return
		}
		gone := make(chan bool)
		go func() {
			_, _ = r.ReadByte()
			close(gone)
		}()
		_, _ = io.WriteString(c, eventStream)
		for {
			select {
			case tick := <-ticks:
				_, _ = io.WriteString(c, "8\r\ndata: "+tick+"\n\r\n")
			case <-gone:
				freed <- true
				return
			}
		}
	}), ticks, freed
}

func TestEventsArriveOneByOne(t *testing.T) {
	base, ticks, freed := ticker(t)
	// The service's timeout is for exchanges that don't stream.
	const timeout = 200 * time.Millisecond
	f := newFront(t, Service{BaseURL: base, Timeout: timeout}, func(_ *http.Request, req *Request) { req.Streaming = true })
	c := f.dial(t)
	_, _ = io.WriteString(c, get)
	res, err := http.ReadResponse(bufio.NewReader(c), nil) // the head comes before any event
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8)
	for n, began := 0, time.Now(); time.Since(began) < 2*timeout; n++ {
		tick := strconv.Itoa(n % 10)
		ticks <- tick
		if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != "data: "+tick+"\n" {
			t.Fatalf("got %q, %v", buf, err)
		}
	}
	t.Run("client drop frees the upstream", func(t *testing.T) {
		threat.Covers(t, 33)
		c.Close()
		receive(t, freed, "the upstream's connection to end")
		outcome := receive(t, f.outcomes, "the outcome")
		if !errors.Is(outcome.Err, ErrClientGone) || !outcome.Aborted {
			t.Errorf("outcome %+v", outcome)
		}
	})
}

func TestStreamEndsWithItsContext(t *testing.T) {
	for name, cause := range map[string]error{"session end": ErrSessionEnded, "shutdown": ErrShutdown, "another room's word for it": errors.New("over")} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 33)
			base, ticks, freed := ticker(t)
			end := make(chan context.CancelCauseFunc, 1)
			f := newFront(t, Service{BaseURL: base}, func(r *http.Request, req *Request) {
				ctx, cancel := context.WithCancelCause(r.Context())
				*r = *r.WithContext(ctx)
				req.Streaming = true
				end <- cancel
			})
			c := f.dial(t)
			_, _ = io.WriteString(c, get)
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			ticks <- "1"
			if _, err := io.ReadFull(res.Body, make([]byte, 8)); err != nil {
				t.Fatal(err)
			}
			(<-end)(cause)
			if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
				t.Errorf("the event stream did not end in order: %q, %v", rest, err)
			}
			receive(t, freed, "the upstream's connection to end")
		})
	}
}

func TestContextThatEndsBeforeTheResponse(t *testing.T) {
	for code, cause := range map[problem.Code]error{
		problem.SessionEnded: ErrSessionEnded, problem.ShuttingDown: ErrShutdown, problem.StoreUnavailable: problem.New(problem.StoreUnavailable, nil),
	} {
		for _, streaming := range []bool{true, false} {
			arrived := make(chan bool, 1)
			end := make(chan context.CancelCauseFunc, 1)
			f := newFront(t, Service{BaseURL: listen(t, func(c net.Conn) {
				r := bufio.NewReader(c)
				_, _ = readSeen(r)
				arrived <- true
				hang(c)
			})}, func(r *http.Request, req *Request) {
				ctx, cancel := context.WithCancelCause(r.Context())
				*r = *r.WithContext(ctx)
				req.Streaming = streaming
				end <- cancel
			})
			go func() {
				<-arrived
				(<-end)(cause)
			}()
			res, body := f.send(t, get)
			wantProblem(t, res, body, code)
		}
	}
}

// flood sends without end and says when it was stopped.
func flood(stopped chan int) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = readSeen(bufio.NewReader(c))
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
		block := []byte(strings.Repeat("data: 0123456789\n", 4096))
		sent := 0
		for err == nil {
			var n int
			n, err = c.Write(block)
			sent += n
		}
		stopped <- sent
	}
}

func TestSlowReader(t *testing.T) {
	t.Run("is dropped when it does not read at all", func(t *testing.T) {
		threat.Covers(t, 33)
		t.Parallel()
		stopped := make(chan int, 1)
		f := newFront(t, Service{BaseURL: listen(t, flood(stopped)), WriteStall: 100 * time.Millisecond}, func(_ *http.Request, req *Request) { req.Streaming = true })
		c := f.dial(t)
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		_, _ = io.WriteString(c, get)
		// What was sent sits in the kernel's buffers; the proxy holds one of 32 KiB.
		if sent := receive(t, stopped, "the upstream to be stopped"); sent > 32<<20 {
			t.Errorf("the upstream could send %d bytes to nobody", sent)
		}
		receive(t, f.outcomes, "the end of the request")
	})
	t.Run("does not outlive its session", func(t *testing.T) {
		threat.Covers(t, 33)
		t.Parallel()
		stopped := make(chan int, 1)
		end := make(chan context.CancelCauseFunc, 1)
		f := newFront(t, Service{BaseURL: listen(t, flood(stopped)), WriteStall: time.Hour}, func(r *http.Request, req *Request) {
			ctx, cancel := context.WithCancelCause(r.Context())
			*r = *r.WithContext(ctx)
			req.Streaming = true
			end <- cancel
		})
		c := f.dial(t)
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		_, _ = io.WriteString(c, get)
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		(<-end)(ErrSessionEnded)
		receive(t, stopped, "the upstream to be stopped")
		receive(t, f.outcomes, "the end of the request")
	})
	t.Run("is cut off by the overall timeout where nothing streams", func(t *testing.T) {
		threat.Covers(t, 67)
		t.Parallel()
		stopped := make(chan int, 1)
		f := newFront(t, Service{BaseURL: listen(t, flood(stopped)), Timeout: 200 * time.Millisecond}, nil)
		c := f.dial(t)
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		_, _ = io.WriteString(c, get)
		receive(t, stopped, "the upstream to be stopped")
		receive(t, f.outcomes, "the end of the request")
	})
}

func TestBodiesStreamBothWays(t *testing.T) {
	base := listen(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		buf := make([]byte, 1)
		for {
			if _, err := io.ReadFull(req.Body, buf); err != nil {
				_, _ = io.WriteString(c, "0\r\n\r\n")
				return
			}
			_, _ = io.WriteString(c, "1\r\n"+strings.ToUpper(string(buf))+"\r\n")
		}
	})
	f := newFront(t, Service{BaseURL: base}, func(r *http.Request, req *Request) { req.Streaming = true })
	// net/http reads the rest of a request before it answers unless told otherwise.
	c := f.dial(t)
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\na")
	_, _ = io.WriteString(c, strings.Repeat("b", 99_999))
	res, body := readResponse(t, bufio.NewReader(c))
	if res.StatusCode != 200 || body != "A"+strings.Repeat("B", 99_999) {
		t.Errorf("answered %s, %d bytes", res.Status, len(body))
	}
}

// The end of an answer is sent when the exchange is over. A client that asks and asks and
// never reads must not keep a goroutine and its connection by that.
func TestWhoNeverReadsIsDroppedAtTheEndOfAnAnswer(t *testing.T) {
	threat.Covers(t, 67)
	answer := "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + strings.Repeat("x", 3000) // is buffered whole
	base := listen(t, func(c net.Conn) {
		for r := bufio.NewReader(c); ; {
			if _, err := readSeen(r); err != nil {
				return
			}
			_, _ = io.WriteString(c, answer)
		}
	})
	f := newFront(t, Service{BaseURL: base, Timeout: time.Hour, WriteStall: 100 * time.Millisecond}, nil)
	over := make(chan bool)
	defer close(over)
	go func() {
		for {
			select {
			case <-f.errs:
			case <-f.outcomes:
			case <-over:
				return
			}
		}
	}()
	c := f.dial(t)
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	var err error
	for err == nil {
		_, err = io.WriteString(c, strings.Repeat(get, 10))
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		t.Error("the connection stays open, and is not read from")
	}
}
