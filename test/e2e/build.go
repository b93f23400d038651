package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"keyway/internal/testkit/parts"
)

// built is the one build of this test process: linking with the race detector
// takes seconds, and every test wants the same binary.
var built struct {
	once sync.Once
	path string
	err  error
}

// BuildKeyway answers with the path of a keyway binary with the race detector,
// made from the sources as they are now. It is built once in a test process.
func BuildKeyway(t testing.TB) string {
	t.Helper()
	parts.NotCached() // go test does not see the sources of the binary
	root := parts.Root(t)
	built.once.Do(func() {
		// Another test process may be running an older binary of this name:
		// the new one takes its place by rename, and disturbs nobody.
		path := filepath.Join(root, "out", "keyway-race")
		next := fmt.Sprintf("%s.%d", path, os.Getpid())
		cmd := exec.Command("go", "build", "-race", "-o", next, "./cmd/keyway")
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build keyway: %v\n%s", err, out)
			return
		}
		built.path, built.err = path, os.Rename(next, path)
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}
