package durabletest

import (
	"bufio"
	"os"
	"os/exec"
	"testing"
	"time"
)

// Kill runs the test's own program with a variable, "NAME=value", in its environment,
// by which its TestMain knows what to do for ever, and kills it that long after it
// has said its first line, which is returned.
func Kill(t testing.TB, variable string, after time.Duration) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), variable)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	begun := lines.Scan()
	if begun {
		<-time.After(after)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if !begun {
		t.Fatal("the process has not begun")
	}
	return lines.Text()
}
