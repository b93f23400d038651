package upstream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"keyway/internal/threat"
)

// atOnce is an upstream that answers when it has a request's head, and then takes no
// more of it than the kernel does, until the other side gives up.
func atOnce(t *testing.T, answer string) (baseURL string, lines chan string) {
	lines = make(chan string, 10)
	return listen(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		line, _ := r.ReadString('\n')
		lines <- line
		for l := line; l != "\r\n" && l != ""; {
			l, _ = r.ReadString('\n')
		}
		_, _ = io.WriteString(c, answer)
		hang(c)
	}), lines
}

// What is left of a request whose answer is there already is never read as another
// one: the connection ends. A proxy in front of us, that thinks that all of it is the
// first one's body, would be passed by with it.
func TestWhatIsLeftOfARequestIsNotTheNext(t *testing.T) {
	t.Parallel()
	for _, streaming := range []bool{false, true} {
		for _, bounded := range []bool{false, true} {
			for name, raw := range map[string]string{
				"short": "Content-Length: 1000\r\n\r\nhalf",
				"long":  "Content-Length: 1000000\r\n\r\nhalf",
				"chunked": "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n" +
					"fffff\r\n",
			} {
				t.Run(fmt.Sprint(name, " streaming ", streaming, " bounded ", bounded), func(t *testing.T) {
					threat.Covers(t, 41)
					t.Parallel()
					base, lines := atOnce(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
					f := newFront(t, Service{BaseURL: base}, func(r *http.Request, req *Request) {
						req.Streaming = streaming
						if bounded {
							r.Body = http.MaxBytesReader(nil, r.Body, 2_000_000) // as the gateway does
						}
					})
					c := f.dial(t)
					_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\n"+raw)
					r := bufio.NewReader(c)
					res, body := readResponse(t, r)
					if res.StatusCode != 200 || body != "ok" {
						t.Errorf("answered %s %q", res.Status, body)
					}
					_ = c.SetReadDeadline(time.Now().Add(2 * graceToWrite))
					_, err := r.ReadByte()
					if errors.Is(err, os.ErrDeadlineExceeded) {
						t.Error("the connection stays open")
					}
					for len(lines) > 0 {
						if line := <-lines; !strings.HasPrefix(line, "POST / ") {
							t.Errorf("the upstream got %q", line)
						}
					}
				})
			}
		}
	}
}

// An upstream may refuse a body that it has not seen the end of, and a client may wait
// for that before it sends on.
func TestAnAnswerDoesNotWaitForTheRequest(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100_000)
	for _, streaming := range []bool{false, true} {
		for name, raw := range map[string]string{
			"known length": "Content-Length: 1000000\r\n\r\nhalf",
			"chunked":      "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		} {
			t.Run(fmt.Sprint(name, " streaming ", streaming), func(t *testing.T) {
				threat.Covers(t, 67)
				t.Parallel()
				base, _ := atOnce(t, "HTTP/1.1 413 Too Large\r\nContent-Length: 100000\r\n\r\n"+long)
				f := newFront(t, Service{BaseURL: base}, func(_ *http.Request, req *Request) { req.Streaming = streaming })
				c := f.dial(t)
				_ = c.SetReadDeadline(time.Now().Add(patience))
				_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\n"+raw)
				res, body := readResponse(t, bufio.NewReader(c))
				if res.StatusCode != 413 || body != long || !res.Close {
					t.Errorf("answered %s, %d bytes; the connection is said to end: %v", res.Status, len(body), res.Close)
				}
			})
		}
	}
}

// A client that sends more than anybody wants is not reset before it has read why.
func TestAnAnswerToTooMuchArrives(t *testing.T) {
	const answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"
	for name, c := range map[string]struct {
		bound  int64 // as the gateway puts it around a body
		answer string
	}{
		"from the upstream":                {0, answer},
		"from the upstream, under a bound": {200 << 20, answer},
		"from here":                        {1 << 20, ""},
	} {
		for _, streaming := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " streaming ", streaming), func(t *testing.T) {
				threat.Covers(t, 67)
				base, _ := atOnce(t, c.answer)
				f := newFront(t, Service{BaseURL: base}, func(r *http.Request, req *Request) {
					req.Streaming = streaming
					if c.bound > 0 {
						r.Body = http.MaxBytesReader(nil, r.Body, c.bound)
					}
				})
				conn := f.dial(t)
				_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 104857600\r\n\r\n")
				sent := make(chan bool)
				go func() {
					defer close(sent)
					block := make([]byte, 1<<20)
					for range 100 {
						if _, err := conn.Write(block); err != nil {
							return
						}
					}
				}()
				r := bufio.NewReader(conn)
				res, _ := readResponse(t, r)
				if res.StatusCode != 413 || !res.Close {
					t.Errorf("answered %s; the connection is said to end: %v", res.Status, res.Close)
				}
				if _, err := r.ReadByte(); err != io.EOF {
					t.Errorf("then %v", err)
				}
				conn.Close()
				<-sent
			})
		}
	}
}
