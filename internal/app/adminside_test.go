package app

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/threat"
)

// pipes is a listener of connections in memory, whose time synctest has.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { close(p); return nil } // net/http closes it once
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// Who reaches the admin listener can't hold connections open for ever, by a head or
// a body that never ends, or by saying nothing.
func TestTheAdminListenerHoldsNothingOpen(t *testing.T) {
	threat.Covers(t, 70)
	for name, sent := range map[string]string{
		"nothing":              "",
		"half a head":          "GET /metrics HTTP/1.1\r\nHost: x\r\n",
		"a body that is late":  "POST /admin/v1/rotations HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
		"one request, no more": "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				read := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
				server, listener := newAdminServer(read, slog.New(slog.DiscardHandler)), make(pipes, 1)
				ended := make(chan struct{})
				go func() { defer close(ended); _ = server.Serve(listener) }()
				client, served := net.Pipe()
				listener <- served
				go func() { _, _ = io.WriteString(client, sent) }()
				began := time.Now()
				_, _ = io.Copy(io.Discard, bufio.NewReader(client)) // until it is closed
				if took := time.Since(began); took > 2*time.Minute {
					t.Errorf("it was held open for %v", took)
				}
				_ = client.Close()
				_ = server.Close()
				<-ended
			})
		})
	}
}
