package redisserver_test

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"

	"keyway/internal/testkit/redisserver"
)

// do sends one inline command and returns the first line of the answer, or ""
// where nothing came within the time.
func do(t *testing.T, addr, command string, within time.Duration) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, within)
	if err != nil {
		return ""
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(within))
	if _, err := c.Write([]byte(command + "\r\n")); err != nil {
		return ""
	}
	line, _ := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line)
}

const patience = 10 * time.Second

func TestTwoServersAreStrangers(t *testing.T) {
	a, b := redisserver.Start(t), redisserver.Start(t)
	if got := do(t, a.Addr(), "SET k 1", patience); got != "+OK" {
		t.Fatalf("SET on the first: %q", got)
	}
	if got := do(t, b.Addr(), "GET k", patience); got != "$-1" {
		t.Errorf("GET on the second: %q, want nothing there", got)
	}
	if want := "redis://" + a.Addr() + "/0"; a.URL() != want {
		t.Errorf("URL = %s, want %s", a.URL(), want)
	}
}

func TestPauseAndResume(t *testing.T) {
	s := redisserver.Start(t)
	s.Pause()
	if got := do(t, s.Addr(), "PING", 100*time.Millisecond); got != "" {
		t.Errorf("answered %q while paused", got)
	}
	s.Resume()
	if got := do(t, s.Addr(), "PING", patience); got != "+PONG" {
		t.Errorf("answered %q after Resume", got)
	}
	s.Pause() // and the end of the test must get rid of it all the same
}

func TestRestart(t *testing.T) {
	for _, tc := range []struct {
		name string
		opts []redisserver.Option
		want string
	}{
		{"empty", nil, "$-1"},
		{"with its data", []redisserver.Option{redisserver.KeepData()}, "$1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := redisserver.Start(t, tc.opts...)
			before := s.Addr()
			if got := do(t, s.Addr(), "SET k 1", patience); got != "+OK" {
				t.Fatalf("SET: %q", got)
			}
			s.Kill()
			if got := do(t, s.Addr(), "PING", patience); got != "" {
				t.Fatalf("answered %q when dead", got)
			}
			s.Restart()
			if s.Addr() != before {
				t.Errorf("came back on %s, was on %s", s.Addr(), before)
			}
			if got := do(t, s.Addr(), "GET k", patience); got != tc.want {
				t.Errorf("GET k = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestPassword(t *testing.T) {
	s := redisserver.Start(t, redisserver.Password("hunter22"))
	if got := do(t, s.Addr(), "GET k", patience); !strings.HasPrefix(got, "-NOAUTH") {
		t.Errorf("answered %q without the password", got)
	}
	if !strings.Contains(s.URL(), ":hunter22@") {
		t.Errorf("URL %s lacks the password", s.URL())
	}
}
