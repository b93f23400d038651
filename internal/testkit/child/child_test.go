package child_test

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"keyway/internal/testkit/child"
)

const (
	helperEnv = "KEYWAY_CHILD_TEST_HELPER"
	patience  = 10 * time.Second
)

func sh(script string) *exec.Cmd { return exec.Command("/bin/sh", "-c", script) }

func TestOutputAndExitCode(t *testing.T) {
	p := child.Start(t, sh("echo to stdout; echo port=4711 >&2; exit 3"))
	m := p.WaitFor(t, regexp.MustCompile(`port=(\d+)`), patience)
	if m[1] != "4711" {
		t.Errorf("group 1 = %q", m[1])
	}
	code, err := p.ExitCode(patience)
	if err != nil || code != 3 {
		t.Errorf("exit code %d, %v; want 3", code, err)
	}
	if !strings.Contains(p.Output(), "to stdout\n") {
		t.Errorf("output %q lacks stdout", p.Output())
	}
	p.Kill() // gone already: must not block, nor hit a stranger
}

func TestKillReachesAStoppedChildAndItsChildren(t *testing.T) {
	p := child.Start(t, sh("sleep 1000 & echo grandchild=$!; wait"))
	m := p.WaitFor(t, regexp.MustCompile(`grandchild=(\d+)\n`), patience)
	p.Signal(syscall.SIGSTOP)
	p.Kill()
	waitGone(t, m[1])
}

func TestHelperThatDies(t *testing.T) {
	if os.Getenv(helperEnv) == "" {
		return // run by TestNobodyOutlivesACrash
	}
	p := child.Start(t, exec.Command("sleep", "1000"))
	os.Stdout.WriteString("sleeper=" + strconv.Itoa(p.PID()) + "\n")
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

func TestNobodyOutlivesACrash(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperThatDies$")
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	p := child.Start(t, cmd)
	m := p.WaitFor(t, regexp.MustCompile(`sleeper=(\d+)\n`), patience)
	waitGone(t, m[1])
}

// waitGone waits until a process is no more, or a zombie that only its new
// parent has yet to collect.
func waitGone(t *testing.T, pid string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	t.Fatalf("process %s still lives", pid)
}

// What a shell started in the background ends with it, though the shell ended
// first and of its own accord.
func TestNothingIsLeftBehind(t *testing.T) {
	p := child.Start(t, exec.Command("sh", "-c", "sleep 1000 & echo sleeper=$!"))
	m := p.WaitFor(t, regexp.MustCompile(`sleeper=(\d+)\n`), patience)
	if code, err := p.ExitCode(patience); code != 0 || err != nil {
		t.Errorf("the shell ended with %d, %v", code, err)
	}
	waitGone(t, m[1])
}
