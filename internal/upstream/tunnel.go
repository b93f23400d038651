package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// linger is how long the other direction of a WebSocket may go on after one has
// ended, for the answer to a close frame.
const linger = 5 * time.Second

// switchProtocols serves what the upstream switches to when it answers 101. The error
// is never nil: on errTunnelDone there is nothing left to do. The caller closes
// res.Body.
func (x *exchange) switchProtocols(res *http.Response) error {
	upstream, ok := res.Body.(io.ReadWriteCloser)
	switch {
	case !x.webSocket || !isSwitch(res.Header, x.outside.Header.Get("Sec-Websocket-Key")):
		return errUnasked
	case !ok || x.backend == nil:
		return errNoUpgradeSocket
	}
	conn, buffered, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return errNoHijack
	}
	defer conn.Close()
	defer upstream.Close()
	// From here on the response has begun: failures end the tunnel, nothing else.
	stopParsing(conn)
	_ = conn.SetDeadline(time.Time{}) // the server's were for the request
	x.cutoff.disarm()

	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	t := &tunnel{patience: x.service.writeStall}
	t.down = pump{src: upstream, srcConn: x.backend, from: x.service.host, dst: conn, dstConn: conn, to: theClient}
	t.up = pump{src: conn, srcConn: conn, from: theClient, dst: upstream, dstConn: x.backend, to: x.service.host, masked: true}
	if err := x.writeSwitch(conn, buffered.Writer, res); err != nil {
		x.tunnelEnded(fault(theClient, err))
		return errTunnelDone
	}
	x.tunnelEnded(t.run(x.outside.Context(), early))
	return errTunnelDone
}

// stopParsing tells a connection that checks HTTP (package wire) that what
// follows is none. Other wrappers are looked through.
func stopParsing(conn net.Conn) {
	for {
		switch c := conn.(type) {
		case interface{ Raw() }:
			c.Raw()
			return
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return
		}
	}
}

func (x *exchange) tunnelEnded(err error) {
	if x.req.Outcome != nil {
		x.req.Outcome.Err = err
	}
}

// writeSwitch sends the 101 response: the upstream's headers by the rules for
// every response, and of the hop-by-hop ones our own.
func (x *exchange) writeSwitch(conn net.Conn, w *bufio.Writer, res *http.Response) error {
	h := res.Header
	dropHopByHop(h)
	delete(h, "Content-Length")
	already := x.w.Header()
	cleanResponse(h, already)
	delete(already, "Connection")
	_ = conn.SetWriteDeadline(time.Now().Add(x.service.writeStall))
	_, _ = w.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
	_ = already.Write(w)
	_ = h.Write(w)
	_, _ = w.WriteString("\r\n")
	return w.Flush()
}

// tunnel copies both ways between two connections that speak WebSocket.
type tunnel struct {
	up, down pump
	patience time.Duration

	mu    sync.Mutex
	ended bool // deadlines are final
}

// run returns when both directions are over: why the context ended, or what the
// first direction failed with, or nil.
func (t *tunnel) run(ctx context.Context, early []byte) error {
	stop := context.AfterFunc(ctx, func() { t.end(0, graceToWrite) })
	defer stop()
	results := make(chan error, 2)
	go func() { results <- t.copy(&t.up, early) }()
	go func() { results <- t.copy(&t.down, nil) }()
	first := <-results
	if first == nil {
		t.end(linger, linger)
	} else {
		t.end(0, graceToWrite)
	}
	<-results

	cause := context.Cause(ctx)
	if cause == nil {
		return first
	}
	code, reason := uint16(closePolicy), "session ended"
	if ownersCause(ctx) == nil || errors.Is(cause, ErrShutdown) {
		code, reason = closeGoingAway, "going away"
	}
	t.up.sayClose(code, reason)
	t.down.sayClose(code, reason)
	return cause
}

// end makes all reads and writes stop in time. An earlier end stays when it is
// the stricter one.
func (t *tunnel) end(readFor, writeFor time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended && readFor > 0 {
		return
	}
	t.ended = true
	now := time.Now()
	for _, conn := range []net.Conn{t.up.srcConn, t.down.srcConn} {
		_ = conn.SetReadDeadline(now.Add(readFor))
		_ = conn.SetWriteDeadline(now.Add(writeFor))
	}
}

// allowWrite gives the next write to conn its time.
func (t *tunnel) allowWrite(conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		_ = conn.SetWriteDeadline(time.Now().Add(t.patience))
	}
}

func (t *tunnel) copy(p *pump, early []byte) error {
	buf := buffers{}.Get()
	defer buffers{}.Put(buf)
	n := copy(buf, early) // at most the server's buffer, which is smaller
	for {
		if n > 0 {
			t.allowWrite(p.dstConn)
			if _, err := p.dst.Write(buf[:n]); err != nil {
				p.broken = true
				return fault(p.to, err)
			}
			p.frames.advance(buf[:n])
		}
		var err error
		if n, err = p.src.Read(buf); err != nil && n == 0 {
			if err == io.EOF {
				if half, ok := p.dst.(interface{ CloseWrite() error }); ok {
					_ = half.CloseWrite()
				}
				p.broken = true
				return nil
			}
			return fault(p.from, err)
		}
	}
}

// pump is one direction.
type pump struct {
	src, dst         io.ReadWriter
	srcConn, dstConn net.Conn
	from, to         string // names of the two, for errors
	masked           bool   // towards a server
	frames           frames
	broken           bool // nothing more can be written
}

// sayClose tells the receiving side that it is over, if it is in a state to
// understand that.
func (p *pump) sayClose(code uint16, reason string) {
	if !p.broken && p.frames.boundary() {
		_, _ = p.dst.Write(closeFrame(code, reason, p.masked))
	}
}
