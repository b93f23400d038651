package parts

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// RequireEnv, set to 1, turns a missing part from a skip into a failure.
const RequireEnv = "KEYWAY_REQUIRE_PARTS"

// Part is one thing outside Go that some tests run against.
type Part struct {
	Name string
	// Without says what is left out where the part is missing.
	Without string
	find    func() (string, error)
}

// Find answers with the path of the part's program, or with an error that says
// what was looked for and where.
func (p Part) Find() (string, error) { return p.find() }

// The parts. They are values, not pointers, so no test can change another's.
var (
	Redis = Part{"redis-server", "sessions on Redis, and several replicas on one store",
		program("redis-server")}
	Node = Part{"node with the packages of test/node", "sign-in at oidc-provider, an OpenID Provider that we did not write",
		nodeWithPackages}
	Chromium = Part{"chromium", "the pages, in a browser", program("chromium")}
	Nginx    = Part{"nginx", "nginx in front of the gateway", program("nginx")}
	Caddy    = Part{"caddy", "caddy that asks the gateway who may", program("caddy")}
	HAProxy  = Part{"haproxy", "haproxy that asks the gateway who may", program("haproxy")}
	Strace   = Part{"strace", "disks that fail at each write, as the kernel would have it", program("strace")}
	Promtool = Part{"promtool", "the alert rules, as Prometheus evaluates them", program("promtool")}
	OPA      = Part{"opa", "the Open Policy Agent, a decision point that we did not write", builtOPA}
)

// All lists every part, in the order in which they are reported.
func All() []Part { return []Part{Redis, Node, Chromium, Nginx, Caddy, HAProxy, Strace, Promtool, OPA} }

// Need leaves the calling test out if one of the parts is missing, or fails it
// if the environment requires them all. It returns the paths of their programs
// in the order asked.
func Need(t testing.TB, needed ...Part) []string {
	t.Helper()
	paths := make([]string, 0, len(needed))
	for _, p := range needed {
		path, err := p.find()
		if err == nil {
			paths = append(paths, path)
			continue
		}
		if os.Getenv(RequireEnv) == "1" {
			t.Fatalf("this test needs %s: %v; `make test` installs it", p.Name, err)
		}
		NotCached()
		t.Skipf("left out, no %s here: %v; `make test` installs it", p.Name, err)
	}
	return paths
}

// NotCached keeps `go test` from remembering the running test binary's result.
// It is for tests and what they call; in TestMain it is too early.
//
// go test takes a result from its cache when every file of the module that the
// tests opened is unchanged. It cannot see that a program has been installed, or
// that sources have changed from which a test builds a binary of its own. But it
// never trusts a file that was written a moment ago, so this opens one that
// will always look like that.
func NotCached() {
	root, err := findRoot()
	if err != nil {
		return
	}
	f := filepath.Join(root, "out", "not-cached")
	if os.MkdirAll(filepath.Dir(f), 0o755) != nil || os.WriteFile(f, nil, 0o644) != nil {
		return
	}
	future := time.Now().Add(24 * time.Hour)
	os.Chtimes(f, future, future)
	os.ReadFile(f) // being opened for reading is what go test notes
}

// Root is the folder of the module that the running test belongs to.
func Root(t testing.TB) string {
	t.Helper()
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// findRoot looks upwards from the working directory, which `go test` makes the
// folder of the package under test.
func findRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no go.mod in %s or above it", start)
		}
		dir = up
	}
}

func program(name string) func() (string, error) {
	return func() (string, error) {
		path, err := exec.LookPath(name)
		if err == nil {
			return path, nil
		}
		// Debian keeps servers where only root's PATH reaches.
		for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path, nil
			}
		}
		return "", fmt.Errorf("no program %s in PATH", name)
	}
}

// builtOPA is what scripts/install-test-parts.sh builds of the version in tools/opa:
// one of another version in PATH would decide as that version does.
func builtOPA() (string, error) {
	root, err := findRoot()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "out", "opa")
	built, err := os.Stat(path)
	if err != nil {
		return "", errors.New("it is not built as out/opa")
	}
	wanted, err := os.Stat(filepath.Join(root, "tools", "opa", "go.mod"))
	if err != nil {
		return "", err
	}
	if built.ModTime().Before(wanted.ModTime()) {
		return "", errors.New("out/opa is older than tools/opa/go.mod")
	}
	return path, nil
}

func nodeWithPackages() (string, error) {
	path, err := program("node")()
	if err != nil {
		return "", err
	}
	root, err := findRoot()
	if err != nil {
		return "", err
	}
	// npm writes this file last, so a half-done install does not count.
	if _, err := os.Stat(filepath.Join(root, "test", "node", "node_modules", ".package-lock.json")); errors.Is(err, os.ErrNotExist) {
		return "", errors.New("its packages are not installed (npm ci in test/node)")
	} else if err != nil {
		return "", err
	}
	return path, nil
}
