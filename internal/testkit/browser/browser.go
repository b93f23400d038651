package browser

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"keyway/internal/testkit/child"
	"keyway/internal/testkit/parts"
)

// runWithin bounds one script, start of the browser included. It is long
// because a loaded machine of two cores is slow at starting Chromium.
const runWithin = 2 * time.Minute

// Result is what a script has left.
type Result struct {
	// Value is what the script returned, as JSON.
	Value json.RawMessage `json:"value"`
	// ConsoleErrors are what the pages reported: uncaught exceptions, refused
	// resources (also an expected 403 of a fetch), violations of the CSP.
	ConsoleErrors []string `json:"console_errors"`
	// Screenshots are the paths of the kept files.
	Screenshots []string `json:"screenshots"`
}

// Decode reads Value into v.
func (r Result) Decode(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(r.Value, v); err != nil {
		t.Fatalf("the script's result %s: %v", r.Value, err)
	}
}

// Run runs a script in a Chromium of its own, and fails the test if the script
// throws. The script is the body of an async JavaScript function with `page`,
// `open(contextOptions)`, `shot(name)` and `args` in sight; test/node/browser.mjs
// has the details. The test is left out where Node or Chromium is missing.
func Run(t testing.TB, script string, args map[string]any) Result {
	t.Helper()
	found := parts.Need(t, parts.Node, parts.Chromium)
	root := parts.Root(t)
	dir := filepath.Join(root, "test", "node")
	for _, f := range []string{"browser.mjs", "package-lock.json"} {
		os.ReadFile(filepath.Join(dir, f)) // so that go test's cache knows what the result rests on
	}
	if args == nil {
		args = map[string]any{}
	}
	in, err := json.Marshal(map[string]any{
		"name": nameOf(t), "chromium": found[1], "script": script, "args": args,
		"screenshots": filepath.Join(root, "out", "screenshots"),
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(found[0], "browser.mjs")
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(in)
	p := child.Start(t, cmd)
	line := p.WaitFor(t, regexp.MustCompile(`(?m)^result (.*)\n`), runWithin)[1]
	if _, err := p.ExitCode(runWithin); err != nil {
		t.Error(err)
	}
	var r Result
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatalf("result %q: %v", line, err)
	}
	return r
}

// nameOf makes the test's name fit for a file.
func nameOf(t testing.TB) string {
	return strings.Trim(regexp.MustCompile(`\W+`).ReplaceAllString(t.Name(), "-"), "-")
}
