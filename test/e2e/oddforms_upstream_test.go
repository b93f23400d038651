package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// bytesSeen is a request as its very bytes came to a server that tidies nothing.
type bytesSeen struct {
	Target string
	Method string
	Lines  []string // the head's, without the request line
	Body   string   // out of its chunks
}

// values are those of a field, by its name in any case, in their order.
func (b bytesSeen) values(name string) []string {
	var all []string
	for _, line := range b.Lines {
		if n, v, _ := strings.Cut(line, ":"); strings.EqualFold(n, name) {
			all = append(all, strings.Trim(v, " \t"))
		}
	}
	return all
}

// rawUpstream speaks HTTP/1.1 by itself. net/http would refuse, or tidy, what the
// tests want to see. What it can't follow, it reports.
type rawUpstream struct {
	Addr string
	mu   sync.Mutex
	seen []bytesSeen
	odd  []string // what was no request
}

func startRawUpstream(t testing.TB) *rawUpstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &rawUpstream{Addr: l.Addr().String()}
	var all sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			all.Go(func() {
				defer func() {
					c.Close()
					mu.Lock()
					delete(open, c)
					mu.Unlock()
				}()
				u.serve(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return u
}

// take answers with what has arrived since it was last called.
func (u *rawUpstream) take() (seen []bytesSeen, odd []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	seen, odd = u.seen, u.odd
	u.seen, u.odd = nil, nil
	return seen, odd
}

func (u *rawUpstream) serve(c net.Conn) {
	in := bufio.NewReaderSize(c, 64<<10)
	for {
		b, err := readBytes(in, c)
		if errors.Is(err, io.EOF) && b.Method == "" {
			return // between two requests
		}
		u.mu.Lock()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
			// Cut off: the gateway has found, half way through a body, that its framing is
			// wrong. What has come so far is no request, and nothing follows it.
		case err != nil:
			u.odd = append(u.odd, fmt.Sprintf("%v for %s", err, b.Target))
		default:
			u.seen = append(u.seen, b)
		}
		u.mu.Unlock()
		if err != nil {
			return
		}
		body := "seen"
		if b.Method == "HEAD" {
			body = ""
		}
		_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\n%s", body); err != nil {
			return
		}
	}
}

// readBytes reads one request, strictly: each line ends with CR LF, and the body is
// as long as was said.
func readBytes(in *bufio.Reader, c net.Conn) (b bytesSeen, err error) {
	line, err := readLine(in)
	if err != nil {
		return b, err
	}
	method, rest, ok := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 || version != "HTTP/1.1" {
		return bytesSeen{Method: "?", Target: line}, errors.New("no request line")
	}
	b.Method, b.Target = method, target
	for {
		if line, err = readLine(in); err != nil {
			return b, errors.Join(err, errors.New("in its head"))
		}
		if line == "" {
			break
		}
		b.Lines = append(b.Lines, line)
	}
	if len(b.values("Expect")) > 0 {
		if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return b, err
		}
	}
	lengths, codings := b.values("Content-Length"), b.values("Transfer-Encoding")
	switch {
	case len(lengths)+len(codings) > 1:
		return b, errors.New("framed more than once")
	case len(lengths) == 1:
		n, err := strconv.ParseUint(lengths[0], 10, 24)
		if err != nil {
			return b, err
		}
		body := make([]byte, n)
		_, err = io.ReadFull(in, body)
		b.Body = string(body)
		return b, err
	case len(codings) == 1 && codings[0] != "chunked":
		return b, errors.New("an unknown coding")
	case len(codings) == 1:
		var body bytes.Buffer
		for {
			size, err := readLine(in)
			if err != nil {
				return b, err
			}
			n, err := strconv.ParseUint(size, 16, 24)
			if err != nil {
				return b, err
			}
			if n == 0 {
				break
			}
			if _, err := io.CopyN(&body, in, int64(n)); err != nil {
				return b, err
			}
			if end, err := readLine(in); err != nil || end != "" {
				return b, errors.Join(err, errors.New("a chunk is longer than it said"))
			}
		}
		b.Body = body.String()
		for {
			trailer, err := readLine(in)
			if err != nil || trailer == "" {
				return b, err
			}
			b.Lines = append(b.Lines, trailer)
		}
	}
	return b, nil
}

func readLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return line, err
	}
	if line, ok := strings.CutSuffix(line, "\r\n"); ok && !strings.Contains(line, "\r") {
		return line, nil
	}
	return line, errors.New("a line that does not end with CR LF")
}
