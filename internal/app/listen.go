package app

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"

	"keyway/internal/upstream/wire"
)

// listen opens the sockets for host and port. "localhost" means both loopback
// addresses, because browsers try either; one of them is enough, unless somebody
// else has the other: half of localhost would answer as them. Port 0 is a free
// one, the same on both. The error is a *ListenError.
func listen(host string, port int) ([]net.Listener, error) {
	hosts := []string{host}
	if host == "localhost" {
		hosts = []string{"127.0.0.1", "::1"}
	}
	var listeners []net.Listener
	var refused *ListenError
	for _, h := range hosts {
		addr := net.JoinHostPort(h, strconv.Itoa(port))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			if refused == nil || errors.Is(err, syscall.EADDRINUSE) {
				refused = &ListenError{"public", addr, err}
			}
			continue
		}
		listeners = append(listeners, l)
		if port == 0 {
			port = l.Addr().(*net.TCPAddr).Port
		}
	}
	if len(listeners) == 0 || refused != nil && errors.Is(refused, syscall.EADDRINUSE) {
		closeAll(listeners)
		return nil, refused
	}
	return listeners, nil
}

// guarded refuses requests whose framing two servers could read differently,
// before net/http has tidied them.
func guarded(listeners []net.Listener) []net.Listener {
	wrapped := make([]net.Listener, len(listeners))
	for i, l := range listeners {
		wrapped[i] = wire.Listener(l)
	}
	return wrapped
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}

// serve runs server on each listener, and reports the first that fails.
func serve(server *http.Server, listeners []net.Listener, failed chan<- error) {
	for _, l := range listeners {
		go func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("listener %s failed: %w", l.Addr(), err)
			}
		}()
	}
}
