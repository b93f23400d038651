package upstream

import (
	"context"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"
)

// bufferSize is what one body copy holds.
const bufferSize = 32 << 10

// buffers are for copying bodies. The pool holds array pointers, so that neither
// direction allocates.
type buffers struct{}

var bufferPool = sync.Pool{New: func() any { return new([bufferSize]byte) }}

func (buffers) Get() []byte  { return bufferPool.Get().(*[bufferSize]byte)[:] }
func (buffers) Put(b []byte) { bufferPool.Put((*[bufferSize]byte)(b)) }

// requestBody is the client's body on its way out. It remembers whether reading
// it failed, because then the client is to blame and not the upstream.
//
// A transport may read from it, or close it, when the exchange is over. Neither may
// reach the client's body then, which is net/http's again: closing that would wait for
// what the client has not sent, and it may belong to the next request.
type requestBody struct {
	src     io.ReadCloser
	reading sync.Mutex // held while src is read from; locked before mu
	mu      sync.Mutex
	err     error
	whole   bool // read to its end
	closed  bool
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	b.mu.Lock()
	whole, closed := b.whole, b.closed
	b.mu.Unlock()
	switch {
	case whole:
		// Said once more without asking: net/http closes its body when the answer begins,
		// and an error here would cost the connection on which that is still coming.
		return 0, io.EOF
	case closed:
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.src.Read(p)
	if err != nil {
		b.mu.Lock()
		if err == io.EOF {
			b.whole = true
		} else if !b.closed {
			b.err = err
		}
		b.mu.Unlock()
	}
	return n, err
}

// Close is called by the transport when it is done with the body, also when it
// gave up; errors of later reads are then consequences.
func (b *requestBody) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	return nil
}

// release gives src back to net/http: when it returns, nobody reads from it any more,
// or will. What of the request has not come yet may come within grace.
//
// A read that waits for the client is ended here, since net/http, which ends one too,
// takes away all deadlines by that, and then waits for the rest as long as the client
// likes.
func (b *requestBody) release(rc *http.ResponseController, grace time.Duration) {
	_ = b.Close()
	if !b.pending() {
		return
	}
	if !b.reading.TryLock() {
		if rc.SetReadDeadline(time.Now()) != nil {
			return // nothing ends it then
		}
		b.reading.Lock()
	}
	defer b.reading.Unlock()
	_ = rc.SetReadDeadline(time.Now().Add(grace))
}

// pending reports whether there is a body that has not been read to its end.
func (b *requestBody) pending() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.src != nil && !b.whole
}

func (b *requestBody) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// responseBody is the upstream's body on its way in.
type responseBody struct {
	src     io.ReadCloser
	res     *http.Response
	outside *http.Request // as it came from the client
	events  bool
	err     error // what reading ended with, when not at its end
}

func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.src.Read(p)
	if err == nil || err == io.EOF {
		return n, err
	}
	if b.events {
		// An event stream may end anywhere: a reader drops an event that is not
		// complete, and connects again (WHATWG HTML section 9.2). So when we end it, it
		// ends in order, and the browser learns at once why.
		if ownersCause(b.outside.Context()) != nil {
			return n, io.EOF
		}
	}
	b.err = err
	return n, err
}

// Close is followed by the copying of trailers, which arrive only with the end of
// the body; the rules for headers hold for them too.
func (b *responseBody) Close() error {
	err := b.src.Close()
	if len(b.res.Trailer) > 0 {
		cleanTrailer(b.res.Trailer)
	}
	return err
}

func isEventStream(h http.Header) bool {
	contentType := h.Get("Content-Type")
	const start = "text/event-stream"
	if len(contentType) < len(start) || !strings.EqualFold(contentType[:len(start)], start) {
		return false // as most, for less than it takes to parse it
	}
	base, _, _ := mime.ParseMediaType(contentType)
	return base == "text/event-stream"
}

// graceToWrite is what remains for a response, or a close frame, once time is up.
const graceToWrite = 2 * time.Second

// cutoff ends an exchange: it cancels the upstream's side and unblocks reads from
// a client that does not send, and writes to one that does not read, which no
// context can. It does nothing once disarmed, so that it can't reach into the next
// request on the connection.
type cutoff struct {
	rc     http.ResponseController
	body   bool                    // the request has one
	cancel context.CancelCauseFunc // nil when the context is the caller's
	stop   func() bool             // or else timer
	timer  *time.Timer

	mu    sync.Mutex
	fired bool
	done  bool
}

func (c *cutoff) fire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return
	}
	c.fired = true
	if c.cancel != nil {
		c.cancel(errOverallTimeout)
	}
	now := time.Now()
	if c.body {
		_ = c.rc.SetReadDeadline(now)
	}
	_ = c.rc.SetWriteDeadline(now.Add(graceToWrite))
}

// extend gives the next write d, unless time is up already.
func (c *cutoff) extend(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.fired && !c.done {
		_ = c.rc.SetWriteDeadline(time.Now().Add(d))
	}
}

func (c *cutoff) disarm() {
	if c.timer != nil {
		c.timer.Stop()
	} else {
		c.stop()
	}
	c.mu.Lock()
	c.done = true
	c.mu.Unlock()
	if c.cancel != nil {
		c.cancel(nil)
	}
}

// stallGuard bounds how long each write of a stream may be stuck, since a stream
// as a whole has no bound.
type stallGuard struct {
	http.ResponseWriter
	cutoff   *cutoff
	patience time.Duration
}

func (g *stallGuard) Write(p []byte) (int, error) {
	g.cutoff.extend(g.patience)
	return g.ResponseWriter.Write(p)
}

// FlushError sends what is there, which may be stuck like any other write.
func (g *stallGuard) FlushError() error {
	g.cutoff.extend(g.patience)
	return http.NewResponseController(g.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController reach what lies beneath.
func (g *stallGuard) Unwrap() http.ResponseWriter { return g.ResponseWriter }
