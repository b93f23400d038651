package faults_test

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"keyway/internal/testkit/faults"
)

const patience = 10 * time.Second

// echo is an upstream that answers with what it gets.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ask sends a byte and waits for it to come back.
func ask(c net.Conn, within time.Duration) error {
	c.SetDeadline(time.Now().Add(within))
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

func mustWork(t *testing.T, link *faults.Link) {
	t.Helper()
	if err := ask(dial(t, link.Addr()), patience); err != nil {
		t.Fatalf("a link without a fault: %v", err)
	}
}

func TestDownAndUp(t *testing.T) {
	link := faults.Proxy(t, echo(t))
	open := dial(t, link.Addr())
	if err := ask(open, patience); err != nil {
		t.Fatal(err)
	}
	addr := link.Addr()
	link.Down()
	if err := ask(open, patience); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the open connection: %v, want it closed", err)
	}
	if _, err := net.DialTimeout("tcp", addr, patience); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection: %v, want it refused", err)
	}
	link.Up()
	if link.Addr() != addr {
		t.Errorf("came back on %s, was on %s", link.Addr(), addr)
	}
	mustWork(t, link)
}

func TestLatency(t *testing.T) {
	link := faults.Proxy(t, echo(t))
	c := dial(t, link.Addr())
	const delay = 200 * time.Millisecond
	link.Latency(delay)
	start := time.Now()
	if err := ask(c, patience); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < delay {
		t.Errorf("answered after %v, want at least %v", took, delay)
	}
	link.Up()
	mustWork(t, link)
}

func TestReset(t *testing.T) {
	link := faults.Proxy(t, echo(t))
	link.Reset()
	if err := ask(dial(t, link.Addr()), patience); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("got %v, want a reset", err)
	}
	link.Up()
	mustWork(t, link)
}

func TestHalfOpen(t *testing.T) {
	link := faults.Proxy(t, echo(t))
	open := dial(t, link.Addr())
	if err := ask(open, patience); err != nil {
		t.Fatal(err)
	}
	link.HalfOpen()
	for name, c := range map[string]net.Conn{"open": open, "new": dial(t, link.Addr())} {
		if err := ask(c, 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s connection: %v, want silence", name, err)
		}
	}
	link.Up()
	mustWork(t, link)
}

func TestUpstreamMayComeLater(t *testing.T) {
	link := faults.Proxy(t, "127.0.0.1:1")
	if err := ask(dial(t, link.Addr()), patience); err == nil {
		t.Error("an answer from nobody")
	}
}

func TestTruncate(t *testing.T) {
	link := faults.Proxy(t, echo(t))
	link.Truncate(2)
	c := dial(t, link.Addr())
	for range 2 {
		if err := ask(c, patience); err != nil {
			t.Fatal(err)
		}
	}
	if err := ask(c, patience); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after two bytes: %v, want an end", err)
	}
	link.Up()
	mustWork(t, link)
}

func TestResetAfter(t *testing.T) {
	link := faults.Proxy(t, echo(t))
	link.ResetAfter(50 * time.Millisecond)
	c := dial(t, link.Addr())
	c.SetDeadline(time.Now().Add(patience))
	c.Write(make([]byte, 100_000))
	if n, err := io.Copy(io.Discard, c); n == 100_000 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes came back, %v", n, err)
	}
	link.Up()
	mustWork(t, link)
}

func TestSlowness(t *testing.T) {
	for name, slow := range map[string]func(*faults.Link){
		"jitter":     func(l *faults.Link) { l.Jitter(100*time.Millisecond, 50*time.Millisecond) },
		"trickle":    func(l *faults.Link) { l.Trickle(1) },
		"slow close": func(l *faults.Link) { l.SlowClose(100 * time.Millisecond) },
	} {
		t.Run(name, func(t *testing.T) {
			link := faults.Proxy(t, echo(t))
			slow(link)
			mustWork(t, link)
			link.Up()
			mustWork(t, link)
		})
	}
}
