package app

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// counting bounds the connections that the listeners have open at once, of all of
// them together; 0: no bound. One more is closed as soon as it is accepted, so that
// whoever balances load learns it at once, and asks another replica.
func counting(listeners []net.Listener, most int) []net.Listener {
	if most <= 0 {
		return listeners
	}
	open := new(atomic.Int64)
	wrapped := make([]net.Listener, len(listeners))
	for i, l := range listeners {
		wrapped[i] = &countingListener{l, open, int64(most)}
	}
	return wrapped
}

type countingListener struct {
	net.Listener
	open *atomic.Int64
	most int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
			return &countedConn{Conn: c, open: l.open}, nil
		}
		l.open.Add(-1)
		_ = c.Close()
	}
}

// countedConn counts until it is closed, once.
type countedConn struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

// CloseWrite shuts the sending side, which net/http does before it closes.
func (c *countedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// ReadFrom keeps sendfile within reach.
func (c *countedConn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }
