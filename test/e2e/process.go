package e2e

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"keyway/internal/testkit/child"
	"keyway/internal/testkit/leakhunt"
	"keyway/internal/testkit/ports"
)

const (
	// readyWithin is generous: a loaded machine of two cores runs a race build.
	readyWithin = 30 * time.Second
	stopWithin  = 30 * time.Second
)

// Env is the environment of a process, by name.
type Env map[string]string

// With is a copy of e with more in it.
func (e Env) With(more Env) Env {
	all := maps.Clone(e)
	if all == nil {
		all = Env{}
	}
	maps.Copy(all, more)
	return all
}

// Process is a running keyway.
type Process struct {
	*child.Process
	// URL is the public side, AdminURL the admin side.
	URL, AdminURL string
	// Env is the whole environment it was started with, to start it again.
	Env  Env
	args []string
}

// Start runs `keyway args…` and waits until /health/ready answers 200. What of
// HOST, PORT, BFF_ADMIN_ADDR, BFF_DATA_DIR and BFF_KEYS_DIR is not in env is
// chosen: loopback, free ports, empty folders. Nothing of the test's own
// environment is passed on.
func Start(t testing.TB, env Env, args ...string) *Process {
	t.Helper()
	p := Launch(t, env, args...)
	p.WaitReady(t)
	if leakhunt.Enabled() {
		t.Cleanup(p.lastWords) // before it is killed
	}
	return p
}

// lastWords hands over what the admin side says at the end of a test, for the leak
// hunt. A process that has gone says nothing.
func (p *Process) lastWords() {
	client := http.Client{Timeout: 5 * time.Second}
	for path, where := range map[string]string{
		"/metrics": "metrics", "/admin/v1/status": "admin", "/admin/v1/rotations": "admin", "/admin/v1/audit": "audit", "/health": "admin",
	} {
		req, err := http.NewRequest(http.MethodGet, p.AdminURL+path, nil)
		if err != nil {
			continue
		}
		if token, err := os.ReadFile(p.Env["BFF_ADMIN_TOKEN_FILE"]); err == nil {
			leakhunt.Secret(nil, "admin token", strings.TrimSpace(string(token)))
			req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
		}
		if resp, err := client.Do(req); err == nil {
			text, _ := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
			resp.Body.Close()
			leakhunt.Written(where, text)
		}
	}
}

// Launch is Start without waiting for readiness.
func Launch(t testing.TB, env Env, args ...string) *Process {
	t.Helper()
	env = Complete(t, env)
	cmd := command(t, BuildKeyway(t), env, args)
	return &Process{
		Process:  child.Start(t, cmd),
		URL:      "http://" + net.JoinHostPort(env["HOST"], env["PORT"]),
		AdminURL: "http://" + env["BFF_ADMIN_ADDR"],
		Env:      env, args: args,
	}
}

// Again starts the same process anew: same ports, same folders. The old one
// must have ended.
func (p *Process) Again(t testing.TB) *Process {
	t.Helper()
	return Start(t, p.Env, p.args...)
}

// Run runs `keyway args…` to its end, and answers with its exit code and all
// it has printed.
func Run(t testing.TB, env Env, args ...string) (code int, output string) {
	t.Helper()
	p := child.Start(t, command(t, BuildKeyway(t), Complete(t, env), args))
	code, err := p.ExitCode(readyWithin)
	if err != nil {
		t.Errorf("keyway %s was expected to end: %v", strings.Join(args, " "), err)
	}
	return code, p.Output()
}

// Complete fills in what a process needs to run beside others.
func Complete(t testing.TB, env Env) Env {
	t.Helper()
	all := Env{"PATH": os.Getenv("PATH"), "HOST": "127.0.0.1"}.With(env)
	if all["PORT"] == "" || all["BFF_ADMIN_ADDR"] == "" {
		port := ports.Reserve(t, 2)
		if all["PORT"] == "" {
			all["PORT"] = fmt.Sprint(port)
		}
		if all["BFF_ADMIN_ADDR"] == "" {
			all["BFF_ADMIN_ADDR"] = fmt.Sprintf("127.0.0.1:%d", port+1)
		}
	}
	for _, name := range []string{"BFF_DATA_DIR", "BFF_KEYS_DIR"} {
		if all[name] == "" {
			all[name] = filepath.Join(t.TempDir(), strings.ToLower(name))
		}
	}
	return all
}

func command(t testing.TB, binary string, env Env, args []string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	// A folder of its own, so that no ./config, ./keys or ./data is found by chance.
	cmd.Dir = t.TempDir()
	for _, name := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, name+"="+env[name])
	}
	// A data race ends the process with a code of its own, so that the test
	// that caused it fails.
	cmd.Env = append(cmd.Env, "GORACE=halt_on_error=1 exitcode=66")
	return cmd
}

// WaitReady waits until the process says that it can serve.
func (p *Process) WaitReady(t testing.TB) {
	t.Helper()
	client := &http.Client{Timeout: time.Second}
	last := "no answer yet"
	for deadline := time.Now().Add(readyWithin); time.Now().Before(deadline); {
		resp, err := client.Get(p.URL + "/health/ready")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
			last = resp.Status
		} else {
			last = err.Error()
		}
		select {
		case <-p.Done():
			t.Fatalf("keyway ended before it was ready; it said:\n%s", p.Output())
		case <-time.After(20 * time.Millisecond):
		}
	}
	p.Signal(syscall.SIGQUIT) // where does it hang?
	_, _ = p.ExitCode(stopWithin)
	t.Fatalf("keyway is not ready after %v (%s); it said:\n%s", readyWithin, last, p.Output())
}

// Kill9 ends the process as the kernel would, and waits until it is gone.
func (p *Process) Kill9() { p.Kill() }

// Terminate asks the process to stop, as a supervisor would, and answers with
// its exit code.
func (p *Process) Terminate(t testing.TB) int {
	t.Helper()
	p.Signal(syscall.SIGTERM)
	code, err := p.ExitCode(stopWithin)
	if err != nil {
		t.Errorf("after SIGTERM: %v; it said:\n%s", err, p.Output())
		p.Kill()
	}
	return code
}
