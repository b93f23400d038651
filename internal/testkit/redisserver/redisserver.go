package redisserver

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"keyway/internal/testkit/child"
	"keyway/internal/testkit/parts"
	"keyway/internal/testkit/ports"
)

const startWithin = 10 * time.Second

// Server is a running redis-server. Its methods are for the test's goroutine.
type Server struct {
	t       testing.TB
	program string
	port    int
	dir     string
	opts    options
	proc    *child.Process
}

type options struct {
	keep     bool
	password string
	args     []string
}

// Option changes how a server is run.
type Option func(*options)

// KeepData makes the server write each change to disk before it answers, so
// that Restart finds what Kill left.
func KeepData() Option { return func(o *options) { o.keep = true } }

// Password makes the server ask for one.
func Password(p string) Option { return func(o *options) { o.password = p } }

// Args adds settings in redis-server's own form, such as "--maxmemory", "64mb".
func Args(args ...string) Option { return func(o *options) { o.args = append(o.args, args...) } }

// Start runs a redis-server until the end of the test. The test is left out
// where there is no redis-server.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s := &Server{t: t, program: parts.Need(t, parts.Redis)[0], dir: t.TempDir()}
	for _, o := range opts {
		o(&s.opts)
	}
	// Between choosing a free port and redis-server taking it, somebody else
	// may. The next attempt takes another.
	var err error
	for range 5 {
		s.port = ports.Reserve(t, 1)
		if err = s.run(); err == nil {
			return s
		}
	}
	t.Fatalf("redis-server does not start: %v", err)
	return nil
}

// Addr is host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is the server's address in the form of REDIS_URL.
func (s *Server) URL() string {
	if s.opts.password != "" {
		return "redis://:" + s.opts.password + "@" + s.Addr() + "/0"
	}
	return "redis://" + s.Addr() + "/0"
}

// Pause makes the server hang: connections stay open, and new ones are taken by
// the kernel, but nothing is answered until Resume.
func (s *Server) Pause() { s.proc.Signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (s *Server) Resume() { s.proc.Signal(syscall.SIGCONT) }

// Kill ends the server at once, as a crash would.
func (s *Server) Kill() { s.proc.Kill() }

// Restart kills the server if it runs, and starts it again on the same port:
// empty, unless it was started with KeepData.
func (s *Server) Restart() {
	s.t.Helper()
	s.proc.Kill()
	if err := s.run(); err != nil {
		s.t.Fatalf("redis-server does not come back: %v", err)
	}
}

func (s *Server) run() error {
	args := []string{
		"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir,
		"--save", "", "--appendonly", "no", "--daemonize", "no",
	}
	if s.opts.keep {
		args = append(args, "--appendonly", "yes", "--appendfsync", "always")
	}
	if s.opts.password != "" {
		args = append(args, "--requirepass", s.opts.password)
	}
	s.proc = child.Start(s.t, exec.Command(s.program, append(args, s.opts.args...)...))
	deadline := time.Now().Add(startWithin)
	for {
		err := s.ping()
		if err == nil {
			return nil
		}
		select {
		case <-s.proc.Done():
			return fmt.Errorf("it ended: %s", lastLine(s.proc.Output()))
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.proc.Kill()
			return fmt.Errorf("no answer on %s within %v: %w", s.Addr(), startWithin, err)
		}
	}
}

// ping wants the server's own word that it has loaded its data. An answer that
// it wants a password first is as good: it is given only when all is loaded.
func (s *Server) ping() error {
	c, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(answer, "+PONG") && !strings.HasPrefix(answer, "-NOAUTH") {
		return fmt.Errorf("answered %q", answer)
	}
	return nil
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
