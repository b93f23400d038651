package app

import (
	"errors"
	"net"
	"strconv"
	"syscall"
	"testing"
)

// two is both addresses of localhost; a machine may have no IPv6.
func two(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 loopback: %v", err)
	}
	l.Close()
}

func ports(listeners []net.Listener) (all []string) {
	for _, l := range listeners {
		all = append(all, l.Addr().String())
	}
	return all
}

func TestLocalhostIsBothAddresses(t *testing.T) {
	two(t)
	listeners, err := listen("localhost", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(listeners)
	_, port, _ := net.SplitHostPort(listeners[0].Addr().String())
	if len(listeners) != 2 || listeners[0].Addr().String() != "127.0.0.1:"+port || listeners[1].Addr().String() != "[::1]:"+port {
		t.Fatalf("it listens on %v", ports(listeners))
	}
	for _, l := range listeners {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Errorf("%s: %v", l.Addr(), err)
			continue
		}
		c.Close()
	}
}

// Whoever has one half of localhost would answer half of our users.
func TestHalfOfLocalhostIsRefused(t *testing.T) {
	two(t)
	for _, half := range []string{"127.0.0.1", "::1"} {
		t.Run(half, func(t *testing.T) {
			taken, err := net.Listen("tcp", net.JoinHostPort(half, "0"))
			if err != nil {
				t.Fatal(err)
			}
			defer taken.Close()
			port := taken.Addr().(*net.TCPAddr).Port
			listeners, err := listen("localhost", port)
			if e, ok := errors.AsType[*ListenError](err); !ok || e.Addr != taken.Addr().String() || !errors.Is(e, syscall.EADDRINUSE) {
				t.Fatalf("got %v, %v", ports(listeners), err)
			}
			// The other half was let go.
			for _, host := range []string{"127.0.0.1", "::1"} {
				if host == half {
					continue
				}
				l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
				if err != nil {
					t.Errorf("the other half is still held: %v", err)
					continue
				}
				l.Close()
			}
		})
	}
}

func TestListenOnOneAddress(t *testing.T) {
	listeners, err := listen("127.0.0.1", 0)
	if err != nil || len(listeners) != 1 {
		t.Fatalf("%v, %v", ports(listeners), err)
	}
	defer closeAll(listeners)
	if _, err := listen("127.0.0.1", listeners[0].Addr().(*net.TCPAddr).Port); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second on the same port: %v", err)
	}
}

func TestListenErrorWords(t *testing.T) {
	for _, tc := range []struct {
		err  ListenError
		says string
	}{
		{ListenError{"public", "0.0.0.0:80", syscall.EACCES},
			"the public listener: this process may not listen on 0.0.0.0:80; ports below 1024 want a privilege: choose one from 1024 on in PORT"},
		{ListenError{"public", "nowhere.invalid:80", &net.DNSError{Err: "no such host"}},
			"the public listener: no address is known for the host nowhere.invalid; expected one of its addresses, localhost, or 0.0.0.0 for all of them in HOST"},
		{ListenError{"admin", "127.0.0.1:1", syscall.EMFILE},
			"the admin listener: can't listen on 127.0.0.1:1: too many open files; see BFF_ADMIN_ADDR"},
	} {
		if got := tc.err.Error(); got != tc.says {
			t.Errorf("got  %s\nwant %s", got, tc.says)
		}
	}
}
