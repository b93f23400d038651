package child

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"keyway/internal/testkit/leakhunt"
)

// Process is a running child. All methods are safe for concurrent use.
type Process struct {
	cmd  *exec.Cmd
	out  output
	done chan struct{}
	err  error // set before done is closed
}

// Start runs cmd with its output captured. The child is killed at the end of
// the test, and its last output logged if the test has failed.
func Start(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{cmd: cmd, done: make(chan struct{})}
	p.out.changed = make(chan struct{})
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	// Grandchildren that hold the pipe open must not keep Wait from returning.
	cmd.WaitDelay = time.Second
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	// A group of its own, so that what the child has started ends with it.
	cmd.SysProcAttr.Setpgid = true

	started := make(chan error)
	go func() {
		// The kernel sends Pdeathsig when the *thread* that started the child
		// ends (prctl(2)), so that thread is held for as long as the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.endGroup()
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	t.Cleanup(func() {
		p.Kill()
		if strings.HasPrefix(filepath.Base(cmd.Path), "keyway") {
			leakhunt.Output(t, "log", []byte(p.Output()))
		}
		if t.Failed() {
			t.Logf("the last output of %s:\n%s", cmd.Args[0], tail(p.Output(), 60))
		}
	})
	return p
}

// endGroup waits for the child to end, and then ends what it left behind: jobs of
// a shell outlive it. Until the child is reaped its id can be nobody else's, so
// that the group that is killed is its own.
func (p *Process) endGroup() {
	for {
		err := unix.Waitid(unix.P_PID, p.PID(), nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = unix.Kill(-p.PID(), unix.SIGKILL)
}

// PID is the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output is everything the child has written so far, to stdout and stderr.
func (p *Process) Output() string { return p.out.String() }

// Done is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode waits for the child to end, at most for the given time. It answers
// -1 for a child that a signal ended, and an error for one that still runs.
func (p *Process) ExitCode(within time.Duration) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(within):
		return 0, fmt.Errorf("%s still runs after %v", p.cmd.Path, within)
	}
}

// Signal sends a signal to the child and to what it has started.
func (p *Process) Signal(sig syscall.Signal) {
	select {
	case <-p.done: // its id may belong to somebody else by now
	default:
		syscall.Kill(-p.PID(), sig)
	}
}

// Kill ends the child with SIGKILL and waits until it is gone. It may be called
// on a child that is stopped, or gone already.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// WaitFor waits until the child has written something that re matches, and
// answers with the match and its groups. It fails the test when the child ends
// first, or the time is up.
func (p *Process) WaitFor(t testing.TB, re *regexp.Regexp, within time.Duration) []string {
	t.Helper()
	deadline := time.After(within)
	for {
		text, changed := p.out.snapshot()
		if m := re.FindStringSubmatch(text); m != nil {
			return m
		}
		select {
		case <-changed:
		case <-p.done:
			if m := re.FindStringSubmatch(p.Output()); m != nil {
				return m
			}
			t.Fatalf("%s ended (%v) before it wrote %q; its output:\n%s", p.cmd.Path, p.err, re, tail(p.Output(), 60))
		case <-deadline:
			t.Fatalf("%s did not write %q within %v; its output:\n%s", p.cmd.Path, re, within, tail(p.Output(), 60))
		}
	}
}

// output is a buffer that tells when it grows.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{}
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.buf.Write(b)
}

func (o *output) String() string {
	s, _ := o.snapshot()
	return s
}

func (o *output) snapshot() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), o.changed
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
