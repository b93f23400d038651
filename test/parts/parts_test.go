package parts

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"keyway/internal/testkit/parts"
)

// TestMain says once per run what is left out. `go test ./...` shows nothing of
// what a passing package prints, so the lines go to the error output of the `go`
// command itself, the parent of this process. Where that cannot be reached,
// it stays silent: the skips still say it all under `go test -v`.
func TestMain(m *testing.M) {
	if text := report(); text != "" {
		tellGo(text)
	}
	os.Exit(m.Run())
}

func report() string {
	var b strings.Builder
	for _, p := range parts.All() {
		if _, err := p.Find(); err != nil {
			fmt.Fprintf(&b, "left out: %s (no %s: %v)\n", p.Without, p.Name, err)
		}
	}
	if b.Len() > 0 {
		b.WriteString("`make test` installs what is missing and runs everything.\n")
	}
	return b.String()
}

// tellGo writes to the parent's file descriptor 2 itself, not to a newly opened
// copy of the file behind it: a copy would have an offset of its own, and write
// over the beginning of a log file.
func tellGo(text string) {
	ppid := os.Getppid()
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", ppid))
	if err != nil || strings.TrimSpace(string(name)) != "go" {
		return
	}
	if pidfd, err := unix.PidfdOpen(ppid, 0); err == nil {
		defer unix.Close(pidfd)
		if fd, err := unix.PidfdGetfd(pidfd, 2, 0); err == nil {
			defer unix.Close(fd)
			unix.Write(fd, []byte(text))
			return
		}
	}
	// Not allowed to borrow it: opening it anew is as good for a terminal or a
	// pipe, which have no offset.
	path := fmt.Sprintf("/proc/%d/fd/2", ppid)
	if info, err := os.Stat(path); err != nil || info.Mode().IsRegular() {
		return
	}
	if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
		defer f.Close()
		f.WriteString(text)
	}
}

func TestReportNamesWhatIsMissing(t *testing.T) {
	parts.NotCached() // or the next run would not tell
	t.Setenv("PATH", t.TempDir())
	if text := report(); !strings.Contains(text, "no node") || !strings.Contains(text, "make test") {
		t.Errorf("with an empty PATH the report is:\n%s", text)
	}
}
