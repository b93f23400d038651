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
// addresses, because browsers try either; one of them is enough.
func listen(host string, port int) ([]net.Listener, error) {
	hosts := []string{host}
	if host == "localhost" {
		hosts = []string{"127.0.0.1", "::1"}
	}
	var listeners []net.Listener
	var problems []error
	for _, h := range hosts {
		l, err := net.Listen("tcp", net.JoinHostPort(h, strconv.Itoa(port)))
		if err != nil {
			problems = append(problems, err)
			continue
		}
		listeners = append(listeners, l)
		if port == 0 {
			port = l.Addr().(*net.TCPAddr).Port
		}
	}
	if len(listeners) == 0 {
		return nil, fmt.Errorf("can't listen on port %d: %w", port, errors.Join(problems...))
	}
	if len(problems) > 0 && len(hosts) > 1 && inUse(problems) {
		// Half of localhost would answer as somebody else.
		closeAll(listeners)
		return nil, fmt.Errorf("can't listen on port %d: %w", port, errors.Join(problems...))
	}
	return listeners, nil
}

func inUse(problems []error) bool {
	for _, err := range problems {
		if errors.Is(err, syscall.EADDRINUSE) {
			return true
		}
	}
	return false
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
