package upstream

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"keyway/internal/threat"
)

// socket is an upstream's side of a WebSocket.
type socket struct {
	net.Conn
	r       *bufio.Reader
	request seen
}

// webSockets accepts handshakes and hands out the connections, which stay open
// until the test ends.
func webSockets(t *testing.T, early string) (baseURL string, accepted chan socket) {
	accepted = make(chan socket, 10)
	return listen(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		s, err := readSeen(r)
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, switched+early)
		_ = c.SetDeadline(time.Now().Add(patience))
		accepted <- socket{c, r, s}
		<-t.Context().Done()
	}), accepted
}

// shake opens a WebSocket through the front. ahead is sent with the handshake.
func shake(t *testing.T, f *front, ahead string) (net.Conn, *bufio.Reader, string) {
	t.Helper()
	c := f.dial(t)
	_, _ = io.WriteString(c, handshake+ahead)
	r := bufio.NewReader(c)
	var head strings.Builder
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("no handshake: %v after %q", err, head.String())
		}
		head.WriteString(line)
	}
	return c, r, head.String()
}

func expect(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got[:n], err, want)
	}
}

const (
	hello  = "\x81\x05hello"                 // from a server
	masked = "\x81\x85\x00\x00\x00\x00hello" // from a client
)

func TestWebSocketPasses(t *testing.T) {
	threat.Covers(t, 34, 36, 42)
	base, accepted := webSockets(t, hello)
	f := newFront(t, Service{BaseURL: base}, func(_ *http.Request, req *Request) { req.Streaming, req.Principal = true, ada })
	c, r, head := shake(t, f, "")
	up := receive(t, accepted, "the handshake")
	for name, want := range map[string]string{
		"X-User-ID": "ada", "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "X-Correlation-ID": "c-1",
	} {
		if got := up.request.field(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !strings.HasPrefix(head, "HTTP/1.1 101 Switching Protocols\r\n") || strings.Contains(head, "evil") ||
		strings.Count(head, "Upgrade: websocket\r\n") != 1 || !strings.Contains(head, "X-App: 1\r\n") || !strings.Contains(head, "X-Correlation-Id: c-1\r\n") {
		t.Errorf("the client got\n%s", head)
	}
	expect(t, r, hello) // sent in one piece with the handshake's answer
	for range 3 {
		_, _ = io.WriteString(c, masked)
		expect(t, up.r, masked)
		_, _ = io.WriteString(up, hello+"\n\n")
		expect(t, r, hello+"\n\n")
	}
	c.Close()
	if _, err := up.r.ReadByte(); err != io.EOF {
		t.Errorf("the upstream read %v, want the end", err)
	}
	up.Close()
	if outcome := receive(t, f.outcomes, "the outcome"); outcome.UpstreamStatus != 101 || outcome.Aborted {
		t.Errorf("outcome %+v", outcome)
	}
}

func TestWebSocketEndsWithItsContext(t *testing.T) {
	for name, c := range map[string]struct {
		cause error
		code  uint16
		half  bool // in the middle of a frame
	}{
		"session end":             {ErrSessionEnded, closePolicy, false},
		"shutdown":                {ErrShutdown, closeGoingAway, false},
		"session end, mid-frames": {ErrSessionEnded, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 33)
			base, accepted := webSockets(t, "")
			end := make(chan context.CancelCauseFunc, 1)
			f := newFront(t, Service{BaseURL: base}, func(r *http.Request, req *Request) {
				ctx, cancel := context.WithCancelCause(r.Context())
				*r = *r.WithContext(ctx)
				req.Streaming = true
				end <- cancel
			})
			conn, r, _ := shake(t, f, "")
			up := receive(t, accepted, "the handshake")
			down, upward := hello, masked
			if c.half {
				down, upward = hello[:4], masked[:3]
			}
			_, _ = io.WriteString(up, down)
			expect(t, r, down)
			_, _ = io.WriteString(conn, upward)
			expect(t, up.r, upward)
			(<-end)(c.cause)
			toClient, err := io.ReadAll(r)
			if err != nil {
				t.Errorf("the client's side did not end in order: %v", err)
			}
			toServer, err := io.ReadAll(up.r)
			if err != nil {
				t.Errorf("the upstream's side did not end in order: %v", err)
			}
			if c.half {
				if len(toClient) > 0 || len(toServer) > 0 {
					t.Errorf("inside a frame came %q and %q", toClient, toServer)
				}
				return
			}
			if len(toClient) < 4 || toClient[0] != 0x88 || binary.BigEndian.Uint16(toClient[2:]) != c.code {
				t.Errorf("the client got %q", toClient)
			}
			if len(toServer) < 8 || toServer[0] != 0x88 || toServer[1]&0x80 == 0 ||
				binary.BigEndian.Uint16([]byte{toServer[6] ^ toServer[2], toServer[7] ^ toServer[3]}) != c.code {
				t.Errorf("the upstream got %q", toServer)
			}
			if outcome := receive(t, f.outcomes, "the outcome"); !errors.Is(outcome.Err, c.cause) {
				t.Errorf("outcome %+v", outcome)
			}
		})
	}
}

func TestWebSocketOfOneThatDoesNotRead(t *testing.T) {
	for name, end := range map[string]error{"stalls": nil, "loses its session": ErrSessionEnded} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 33)
			t.Parallel()
			base, accepted := webSockets(t, "")
			cancels := make(chan context.CancelCauseFunc, 1)
			s := Service{BaseURL: base, WriteStall: time.Hour}
			if end == nil {
				s.WriteStall = 100 * time.Millisecond
			}
			f := newFront(t, s, func(r *http.Request, req *Request) {
				ctx, cancel := context.WithCancelCause(r.Context())
				*r = *r.WithContext(ctx)
				req.Streaming = true
				cancels <- cancel
			})
			shake(t, f, "")
			up := receive(t, accepted, "the handshake")
			written := make(chan error, 1)
			go func() {
				frame := append([]byte{0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0}, make([]byte, 1<<16)...)
				var err error
				for err == nil {
					_, err = up.Write(frame)
				}
				written <- err
			}()
			if end != nil {
				(<-cancels)(end)
			}
			receive(t, written, "the upstream to be stopped")
			receive(t, f.outcomes, "the end of the WebSocket")
		})
	}
}

func TestWebSocketThatIsCutSaysByWhom(t *testing.T) {
	for name, cut := range map[string]func(client net.Conn, upstream socket){
		"by the upstream": func(_ net.Conn, upstream socket) { reset(upstream.Conn) },
		"by the client":   func(client net.Conn, _ socket) { reset(client) },
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 23)
			base, accepted := webSockets(t, "")
			f := newFront(t, Service{BaseURL: base}, withToken(true))
			c, _, _ := shake(t, f, "")
			cut(c, receive(t, accepted, "the handshake"))
			outcome := receive(t, f.outcomes, "the outcome")
			wantSilence(t, outcome.Err)
			who := theClient
			if name == "by the upstream" {
				who = strings.TrimPrefix(base, "http://")
			}
			// A client that went away may show first in its request's context.
			if outcome.Err == nil || outcome.Err.Error() != who+": connection reset by peer" && !errors.Is(outcome.Err, context.Canceled) {
				t.Errorf("outcome %+v, want a reset by %s", outcome, who)
			}
		})
	}
}

func TestFramesFindsBoundaries(t *testing.T) {
	stream := []byte("\x81\x00" + hello + masked + "\x01\x03abc\x89\x00\x80\x02de" +
		"\x82\x7e\x00\x80" + strings.Repeat("x", 128) + "\x82\xfe\x01\x00mask" + strings.Repeat("y", 256) +
		"\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x03xyz")
	boundaries := map[int]bool{0: true}
	for _, n := range []int{2, 7, 11, 5, 2, 4, 4 + 128, 8 + 256, 10 + 3} {
		boundaries[maxKey(boundaries)+n] = true
	}
	for step := 1; step < 20; step++ {
		var f frames
		for at := 0; at < len(stream); {
			n := min(step, len(stream)-at)
			f.advance(stream[at : at+n])
			at += n
			if f.boundary() != boundaries[at] {
				t.Fatalf("in steps of %d, at %d: boundary %v", step, at, f.boundary())
			}
		}
	}
	var f frames
	f.advance([]byte("\x88\x00"))
	if f.boundary() {
		t.Error("another frame after a close frame")
	}
}

func maxKey(m map[int]bool) (n int) {
	for k := range m {
		n = max(n, k)
	}
	return n
}

// FuzzFrames: however a stream is cut, its boundaries are the same, and a close
// frame of ours is one frame.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(hello+masked), 3)
	f.Add([]byte("\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff"), 1)
	f.Fuzz(func(t *testing.T, stream []byte, cut int) {
		var whole, cutUp frames
		whole.advance(stream)
		cut = max(0, min(cut, len(stream)))
		cutUp.advance(stream[:cut])
		cutUp.advance(stream[cut:])
		if whole.boundary() != cutUp.boundary() || whole.left != cutUp.left {
			t.Fatalf("whole %+v, cut at %d %+v", whole, cut, cutUp)
		}
		if whole.boundary() {
			whole.advance(closeFrame(closeGoingAway, "going away", len(stream)%2 == 0))
			if whole.left != 0 || whole.n != 0 || !whole.closed {
				t.Fatalf("a close frame left %+v", whole)
			}
		}
	})
}

func TestMuchPassesThroughAWebSocket(t *testing.T) {
	base, accepted := webSockets(t, "")
	f := newFront(t, Service{BaseURL: base}, streaming)
	c, r, _ := shake(t, f, "")
	up := receive(t, accepted, "the handshake")
	upward, down := strings.Repeat(masked, 50_000), strings.Repeat(hello, 50_000)
	go func() { _, _ = io.WriteString(c, upward) }()
	go func() { _, _ = io.WriteString(up, down) }()
	expect(t, up.r, upward)
	expect(t, r, down)
}

// net/http alone, without package wire before it, lets a client send ahead.
func TestBytesSentAheadAreNotLost(t *testing.T) {
	base, accepted := webSockets(t, "")
	p, err := New(Options{Services: []Service{{Name: "api", BaseURL: base}}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = p.Forward(w, r, Request{Service: "api", Path: "/", Streaming: true})
	}))
	t.Cleanup(s.Close)
	shake(t, &front{addr: s.Listener.Addr().String()}, masked)
	up := receive(t, accepted, "the handshake")
	expect(t, up.r, masked)
}
