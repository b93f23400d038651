package parts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The two helpers below are run again, in a process of their own, by the tests:
// what Need does to a test can only be seen from outside.
const helperEnv = "KEYWAY_PARTS_TEST_HELPER"

func TestHelperNeedsNoSuchPart(t *testing.T) {
	if os.Getenv(helperEnv) == "" {
		return // run by TestNeed
	}
	Need(t, Part{"no-such-part", "nothing", program("no-such-part")})
}

func TestNeed(t *testing.T) {
	run := func(require string) (string, error) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestHelperNeedsNoSuchPart$", "-test.v")
		cmd.Env = append(os.Environ(), helperEnv+"=1", RequireEnv+"="+require)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	t.Run("a missing part is a skip that says what installs it", func(t *testing.T) {
		out, err := run("")
		if err != nil || !strings.Contains(out, "--- SKIP") {
			t.Fatalf("want a skip, got %v:\n%s", err, out)
		}
		for _, want := range []string{"no-such-part", "make test"} {
			if !strings.Contains(out, want) {
				t.Errorf("the skip does not mention %q:\n%s", want, out)
			}
		}
	})
	t.Run("where parts are required it is a failure", func(t *testing.T) {
		out, err := run("1")
		if err == nil || !strings.Contains(out, "--- FAIL") {
			t.Fatalf("want a failure, got %v:\n%s", err, out)
		}
	})
}

func TestRootHoldsTheModule(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(Root(t), "go.mod"))
	if err != nil || !strings.HasPrefix(string(b), "module keyway\n") {
		t.Fatalf("Root = %s, go.mod there: %q, %v", Root(t), b, err)
	}
}

func TestEveryPartSaysWhatIsLeftOut(t *testing.T) {
	for _, p := range All() {
		if p.Name == "" || p.Without == "" {
			t.Errorf("%+v needs a name and what is left out without it", p)
		}
	}
}
