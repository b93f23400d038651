package opa

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"keyway/internal/testkit/child"
	"keyway/internal/testkit/parts"
	"keyway/internal/testkit/ports"
)

// Paths of the endpoints that a policy of the package authzen has.
const (
	Evaluation  = "/v0/data/authzen/evaluation"
	Evaluations = "/v0/data/authzen/evaluations"
)

const startWithin = 30 * time.Second

// Server is a running OPA. Its methods are for the test's goroutine.
type Server struct {
	t       testing.TB
	program string
	port    int
	dir     string
	args    []string
	proc    *child.Process
}

// Start runs OPA until the end of the test, with policies by file name: Rego (.rego)
// and data (.json, .yaml). More arguments are for `opa run`. The test is left out
// where OPA is not built.
func Start(t testing.TB, policies map[string]string, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, program: parts.Need(t, parts.OPA)[0], dir: t.TempDir(), args: args}
	for name, text := range policies {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	for range 5 { // somebody else may take the port in between
		s.port = ports.Reserve(t, 1)
		if err = s.run(); err == nil {
			return s
		}
	}
	t.Fatalf("OPA does not start: %v", err)
	return nil
}

// Addr is host:port, URL the base of its endpoints.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }
func (s *Server) URL() string  { return "http://" + s.Addr() }

// Pause makes it hang: connections are taken and never answered. Resume ends that.
func (s *Server) Pause()  { s.proc.Signal(syscall.SIGSTOP) }
func (s *Server) Resume() { s.proc.Signal(syscall.SIGCONT) }

// Kill ends it at once, as a crash would.
func (s *Server) Kill() { s.proc.Kill() }

// Restart kills it if it runs, and starts it again on the same port.
func (s *Server) Restart() {
	s.t.Helper()
	s.proc.Kill()
	if err := s.run(); err != nil {
		s.t.Fatalf("OPA does not come back: %v", err)
	}
}

// Inputs are the questions that it has decided since it was last started, in order, by
// its own log of decisions, which it writes after it has answered: this waits until
// there are n.
func (s *Server) Inputs(t testing.TB, n int) []map[string]any {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		all := inputs(s.proc.Output())
		if len(all) >= n {
			return all
		}
		if time.Now().After(deadline) {
			t.Fatalf("OPA was asked %d questions, want %d", len(all), n)
		}
	}
}

func inputs(output string) (all []map[string]any) {
	for line := range strings.Lines(output) {
		var entry struct {
			Type  string         `json:"type"`
			Input map[string]any `json:"input"`
		}
		if json.Unmarshal([]byte(line), &entry) == nil && strings.HasSuffix(entry.Type, "decision_logs") && entry.Input != nil {
			all = append(all, entry.Input)
		}
	}
	return all
}

func (s *Server) run() error {
	args := []string{
		"run", "--server", "--addr", s.Addr(), "--skip-version-check", "--log-level", "error",
		"--set", "decision_logs.console=true",
	}
	s.proc = child.Start(s.t, exec.Command(s.program, append(append(args, s.args...), s.dir)...))
	client := &http.Client{Timeout: time.Second}
	for deadline := time.Now().Add(startWithin); time.Now().Before(deadline); {
		resp, err := client.Get(s.URL() + "/health")
		if err == nil {
			resp.Body.Close()
			// With authentication its health is for those who show a token, but it is there.
			if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusUnauthorized {
				return nil
			}
		}
		select {
		case <-s.proc.Done():
			return fmt.Errorf("it ended: %s", strings.TrimSpace(s.proc.Output()))
		case <-time.After(10 * time.Millisecond):
		}
	}
	s.proc.Kill()
	return errors.New("it does not answer")
}
