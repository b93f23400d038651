package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files and the reference")

// Each file of testdata/broken is a configuration, its environment, and what is
// reported about it, in order.
func TestBrokenConfigurations(t *testing.T) {
	paths, err := filepath.Glob("testdata/broken/*.txtar")
	if err != nil || len(paths) < 10 {
		t.Fatalf("%d broken configurations (%v), want at least ten", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			comment, all := parseArchive(string(text))
			files, environ, want := make(map[string][]byte), []string(nil), ""
			kept := all[:0]
			for _, f := range all {
				switch f.name {
				case "environ":
					environ = strings.Split(strings.TrimSpace(f.data), "\n")
				case "want":
					want = f.data
					continue
				default:
					files[f.name] = []byte(f.data)
				}
				kept = append(kept, f)
			}
			_, err = LoadFiles("config", files, environ)
			var inv *InvalidError
			if !errors.As(err, &inv) {
				t.Fatalf("got %v, want an InvalidError", err)
			}
			var b strings.Builder
			for _, p := range inv.Problems {
				b.WriteString(p.Error() + "\n")
			}
			if strings.Contains(b.String(), "hunter2") {
				t.Errorf("a secret is printed:\n%s", b.String())
			}
			if *update {
				text := formatArchive(comment, append(kept, archiveFile{"want", b.String()}))
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(want, b.String()); d != "" {
				t.Errorf("(rewrite with -update)\n%s", d)
			}
		})
	}
}

func TestReferenceIsCurrent(t *testing.T) {
	const path = "../../docs/reference/configuration.md"
	want := Reference()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(got), want); d != "" {
		t.Errorf("%s is stale; rewrite it with: go test ./internal/config -update\n%s", path, d)
	}
}
