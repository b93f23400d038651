package wire

import (
	"io"
	"net"
	"sync"
)

// Listener wraps l so that every connection is checked. It is for listeners that
// speak HTTP/1.1, and HTTP/2 with prior knowledge, in clear; beneath TLS there is
// nothing to read, so with TLS the check can't be used.
func Listener(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return NewConn(c), nil
}

// Conn checks what is read from a connection.
type Conn struct {
	net.Conn
	mu      sync.Mutex // Read runs on one goroutine at a time; Raw may on another
	scanner scanner
	err     error
	raw     bool
}

// NewConn wraps c.
func NewConn(c net.Conn) *Conn { return &Conn{Conn: c} }

// NetConn returns the connection beneath.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Raw ends the checks: what follows is another protocol. Call it after hijacking
// the connection.
func (c *Conn) Raw() {
	c.mu.Lock()
	c.raw = true
	c.mu.Unlock()
}

// Read returns what is sound. From the first violation on it returns a
// *[Violation], which net/http answers with 400 while it reads a head, and which a
// handler gets from the request's body otherwise.
func (c *Conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	violation := c.err
	c.mu.Unlock()
	if violation != nil {
		return 0, violation
	}
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.raw || n == 0 {
		return n, err
	}
	sound, violation := c.scanner.scan(p[:n])
	if violation == nil {
		return n, err
	}
	c.err = violation
	if sound == 0 {
		return 0, violation
	}
	return sound, nil
}

// Violation says which rule a message broke.
type Violation struct{ Rule string }

func (v *Violation) Error() string { return "HTTP/1.1: " + v.Rule }

// CloseWrite shuts the sending side, where the connection can: net/http does so
// before it closes, for the client to read the answer first.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// ReadFrom keeps sendfile within reach for responses that are files.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }
