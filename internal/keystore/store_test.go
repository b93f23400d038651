package keystore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

func mustOpen(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustStart(t testing.TB, dir string, o Options) (*Store, keyring.Ring) {
	t.Helper()
	s, ring, err := start(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s, ring
}

func content(t testing.TB, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFirstStartMakesAKey(t *testing.T) {
	for algorithm, alg := range map[string]string{"": "ES256", "ES256": "ES256", "EdDSA": "EdDSA", "PS256": "PS256"} {
		t.Run("algorithm "+algorithm, func(t *testing.T) {
			if algorithm == "PS256" && testing.Short() {
				t.Skip("making an RSA key of 3072 bits takes seconds under the race detector")
			}
			dir := filepath.Join(t.TempDir(), "deep", "keys")
			_, ring := mustStart(t, dir, Options{Algorithm: algorithm})
			active := ring.Active()
			key, err := jwks.ParseKey(active.Value)
			if err != nil || key.ID() != active.ID || key.Algorithm() != alg {
				t.Fatalf("got key %v for %v, %v", key, key.Algorithms(), err)
			}
			var set struct{ Keys []map[string]any }
			if err := json.Unmarshal(content(t, dir, "jwks.json"), &set); err != nil || len(set.Keys) != 1 ||
				set.Keys[0]["kid"] != active.ID || set.Keys[0]["alg"] != alg || set.Keys[0]["d"] != nil {
				t.Errorf("jwks.json: %v, %v", set, err)
			}
			// What other tools read is plain PKCS #8, without headers of ours.
			text := content(t, dir, "signing-"+active.ID+".pem")
			if !bytes.HasPrefix(text, []byte("-----BEGIN PRIVATE KEY-----\nMI")) && !bytes.HasPrefix(text, []byte("-----BEGIN PRIVATE KEY-----\nMC")) {
				t.Errorf("the PEM file begins %.60s", text)
			}
			for _, entry := range must(os.ReadDir(dir))(t) {
				info, _ := entry.Info()
				if info.Mode().Perm() != 0o600 {
					t.Errorf("%s has mode %v", entry.Name(), info.Mode())
				}
			}
			if info, _ := os.Stat(dir); info.Mode().Perm() != 0o700 {
				t.Errorf("the folder has mode %v", info.Mode())
			}
			_, again := mustStart(t, dir, Options{Algorithm: algorithm})
			if again.Active().ID != active.ID || !again.Active().Value.Equal(active.Value) || !again.Active().CreatedAt.Equal(active.CreatedAt) {
				t.Error("the second start has another key")
			}
		})
	}
	if _, _, err := start(t.TempDir()+"/k", Options{Algorithm: "HS256"}); err == nil || !strings.Contains(err.Error(), `found "HS256"`) {
		t.Errorf("HS256: %v", err)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestWhatOthersCanReadIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		mode fs.FileMode
		says []string
	}{
		"folder, readable":   {"", 0o755, []string{"expected mode 0700", "found 0755", "chmod 700 "}},
		"folder, writable":   {"", 0o730, []string{"found 0730", "chmod 700 "}},
		"key, readable":      {"pem", 0o644, []string{"expected mode 0600", "found 0644", "chmod 600 ", ".pem"}},
		"key, group":         {"pem", 0o640, []string{"found 0640"}},
		"manifest, writable": {signingManifest, 0o622, []string{"found 0622", signingManifest}},
		"root key":           {"root", 0o660, []string{"found 0660", "root-"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "keys")
			s, ring := mustStart(t, dir, Options{})
			roots := must(s.RootKeys())(t)
			path := filepath.Join(dir, c.file)
			switch c.file {
			case "pem":
				path = filepath.Join(dir, pemFile(ring.Active().ID))
			case "root":
				path = filepath.Join(dir, rootFile(roots[0].ID))
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			_, _, err := start(dir, Options{})
			if _, ok := errors.AsType[*PermissionError](err); !ok {
				t.Fatalf("got %v, want a *PermissionError", err)
			}
			for _, says := range append(c.says, path) {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("%q does not say %q", err, says)
				}
			}
			// The command that the error gives mends it.
			_, command, _ := strings.Cut(err.Error(), "mend it with: ")
			if out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v %s", command, err, out)
			}
			mustStart(t, dir, Options{})
		})
	}
}

func TestAdopt(t *testing.T) {
	made, ring := mustStart(t, filepath.Join(t.TempDir(), "a"), Options{})
	id := ring.Active().ID
	path := filepath.Join(made.Dir(), pemFile(id))
	text := string(content(t, path))
	for name, value := range map[string]string{
		"text":                 text,
		"path":                 path,
		"text on one line":     strings.ReplaceAll(text, "\n", `\n`),
		"text, spaces around":  "\n  " + text + "\n",
		"path, with a newline": path + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			s, ring := mustStart(t, filepath.Join(t.TempDir(), "b"), Options{Adopt: secret.NewValue([]byte(value))})
			if got := ring.Active().ID; got != id {
				t.Errorf("got key %s, want %s", got, id)
			}
			again, _ := mustStart(t, s.Dir(), Options{Adopt: secret.NewValue([]byte(value))})
			if len(again.Notices()) != 0 {
				t.Errorf("the same key at the next start is worth no notice: %v", again.Notices())
			}
		})
	}
	for name, value := range map[string]string{
		"a secret that is no PEM": "c3VwZXJzZWNyZXQtc3VwZXJzZWNyZXQ=",
		"key without armour":      strings.Join(strings.Split(strings.TrimSpace(text), "\n")[1:3], ""),
		"missing file":            "/nonexistent/key.pem",
		"a folder":                "/tmp",
		"certificate":             "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "b")
			_, _, err := start(dir, Options{Adopt: secret.NewValue([]byte(value))})
			if err == nil || !strings.Contains(err.Error(), "BFF_JWT_SIGNING_KEY") {
				t.Fatalf("got %v", err)
			}
			if !strings.HasPrefix(value, "/") && strings.Contains(err.Error(), value[:20]) {
				t.Errorf("the error shows the value: %v", err)
			}
			if _, err := os.Stat(filepath.Join(dir, signingManifest)); err == nil {
				t.Error("something else was used instead")
			}
		})
	}
	t.Run("into a folder that has keys", func(t *testing.T) {
		s, ring := mustStart(t, filepath.Join(t.TempDir(), "c"), Options{})
		other, found := mustStart(t, s.Dir(), Options{Adopt: secret.NewValue([]byte(text))})
		if found.Active().ID != ring.Active().ID || len(other.Notices()) != 1 {
			t.Errorf("got %v, notices %v", found.Active().ID, other.Notices())
		}
	})
	t.Run("algorithm that does not fit", func(t *testing.T) {
		_, _, err := start(filepath.Join(t.TempDir(), "d"), Options{Adopt: secret.NewValue([]byte(text)), Algorithm: "PS256"})
		if err == nil || !strings.Contains(err.Error(), "can't sign with PS256") {
			t.Errorf("got %v", err)
		}
	})
}

// crash is what a test's step fails with where a process would have died.
var errCrash = errors.New("crash")

func TestCrashAtEachWrite(t *testing.T) {
	threat.Covers(t, 58)
	// One start, to learn the steps.
	var steps []string
	dir := filepath.Join(t.TempDir(), "keys")
	s, _ := mustStart(t, dir, Options{step: func(step string) error { steps = append(steps, step); return nil }})
	must(s.RootKeys())(t)
	if len(steps) != 3*4 { // PEM, jwks.json, manifest, root key
		t.Fatalf("steps: %v", steps)
	}
	for at := range steps {
		t.Run(fmt.Sprintf("step %d", at), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "keys")
			n := 0
			crashing := func(string) error {
				if n++; n > at {
					return errCrash
				}
				return nil
			}
			s, _, err := start(dir, Options{step: crashing})
			if err == nil {
				_, err = s.RootKeys()
			}
			if !errors.Is(err, errCrash) {
				t.Fatalf("step %d: got %v", at, err)
			}
			// What a killed process leaves beside whole files.
			leftover := filepath.Join(dir, ".signing-x.pem12345")
			if err := os.WriteFile(leftover, []byte("half a k"), 0o600); err != nil {
				t.Fatal(err)
			}
			written := must(filepath.Glob(filepath.Join(dir, "signing-*.pem")))(t)

			s, ring := mustStart(t, dir, Options{})
			roots := must(s.RootKeys())(t)
			if len(written) == 1 && !strings.Contains(written[0], ring.Active().ID) {
				t.Errorf("the key that was written (%s) is not the one in use (%s)", written[0], ring.Active().ID)
			}
			if pems := must(filepath.Glob(filepath.Join(dir, "signing-*.pem")))(t); len(pems) != 1 {
				t.Errorf("key files: %v", pems)
			}
			if _, err := os.Stat(leftover); !errors.Is(err, fs.ErrNotExist) {
				t.Error("what the crash left is still there")
			}
			after := must(mustOpen(t, dir, Options{}).RootKeys())(t)
			if len(after) != 1 || after[0].ID != roots[0].ID {
				t.Error("the root key changed from one start to the next")
			}
		})
	}
}

func TestProcessesThatStartTogetherMakeOneKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	var mu sync.Mutex
	var said []string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, strings.TrimSpace(s))
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), childVariable+"=open "+dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
			note(string(out))
		})
		wg.Go(func() {
			s, ring, err := start(dir, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			roots, err := s.RootKeys()
			if err != nil {
				t.Error(err)
				return
			}
			note(ring.Active().ID + " " + roots[0].ID)
		})
	}
	wg.Wait()
	slices.Sort(said)
	if distinct := slices.Compact(slices.Clone(said)); len(said) != 6 || len(distinct) != 1 {
		t.Errorf("keys: %v", said)
	}
}

func TestOrphans(t *testing.T) {
	s, ring := mustStart(t, filepath.Join(t.TempDir(), "keys"), Options{})
	id := ring.Active().ID
	if err := os.Remove(filepath.Join(s.Dir(), signingManifest)); err != nil {
		t.Fatal(err)
	}
	// A newer file that is no key must not stop the start.
	if err := os.WriteFile(filepath.Join(s.Dir(), "signing-junk.pem"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, ring := mustStart(t, s.Dir(), Options{})
	if ring.Active().ID != id {
		t.Error("the orphan was not adopted")
	}
	if len(again.Notices()) == 0 {
		t.Error("no notice of it")
	}
	if len(slices.Collect(ring.All())) != 1 || ring.Active().State != keyring.Active {
		t.Errorf("ring: %v", ring)
	}
}

func TestBrokenFoldersSayWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		break_ func(t *testing.T, dir, id string)
		says   string
	}{
		"manifest cut short": {func(t *testing.T, dir, _ string) { write(t, dir, signingManifest, `{"format":1,"vers`) }, signingManifest},
		"manifest empty":     {func(t *testing.T, dir, _ string) { write(t, dir, signingManifest, ``) }, "expected an object"},
		"newer format":       {func(t *testing.T, dir, _ string) { write(t, dir, signingManifest, `{"format":2,"versions":[]}`) }, "newer release"},
		"no active version":  {func(t *testing.T, dir, _ string) { write(t, dir, signingManifest, `{"format":1,"versions":[]}`) }, "no version is active"},
		"id leaves the folder": {func(t *testing.T, dir, _ string) {
			write(t, dir, signingManifest, `{"format":1,"versions":[{"id":"../../etc/passwd","state":"active"}]}`)
		}, "versions[0]"},
		"key file missing": {func(t *testing.T, dir, id string) { _ = os.Remove(filepath.Join(dir, pemFile(id))) }, "missing"},
		"key file empty":   {func(t *testing.T, dir, id string) { write(t, dir, pemFile(id), ``) }, "no whole PEM block"},
		"key file swapped": {func(t *testing.T, dir, id string) {
			other, others := mustStart(t, filepath.Join(t.TempDir(), "o"), Options{})
			write(t, dir, pemFile(id), string(content(t, other.Dir(), pemFile(others.Active().ID))))
		}, "expected the key"},
	} {
		t.Run(name, func(t *testing.T) {
			s, ring := mustStart(t, filepath.Join(t.TempDir(), "keys"), Options{})
			c.break_(t, s.Dir(), ring.Active().ID)
			_, _, err := start(s.Dir(), Options{})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an error that says %q", err, c.says)
			}
		})
	}
}

func write(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
