package cedar

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"keyway/internal/authz"
)

// Whoever writes a file empties it first. What forbids must not be gone for that long,
// and what is half there must not be taken for all.
func TestAFolderThatIsBeingWrittenIsNotTaken(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const forbids, permits = `forbid(principal, action, resource);`, `permit(principal, action, resource);`
	write("permits.cedar", permits)
	write("forbids.cedar", forbids)
	p, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	question := authz.Question{Subject: authz.Entity{Type: "user", ID: "ada"}, Action: authz.Action{Name: "read"}, Resource: authz.Entity{Type: "note", ID: "1"}}
	write("forbids.cedar", "")
	p.settle = func() { write("forbids.cedar", forbids+forbids) }
	changed, err := p.Reload()
	if err != nil || changed {
		t.Errorf("changed %v, %v", changed, err)
	}
	if d, err := p.Evaluate(context.Background(), question); err != nil || d.Allow {
		t.Errorf("while it was being written: %+v, %v", d, err)
	}
	p.settle = func() {}
	if changed, err := p.Reload(); err != nil || !changed || p.Policies() != 3 {
		t.Errorf("when it was written: changed %v, %v, %d policies", changed, err, p.Policies())
	}
}

// Whoever may write there decides who may do what.
func TestAFolderThatOthersCanWriteToIsTold(t *testing.T) {
	dir := t.TempDir()
	mode := func(path string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "a.cedar")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, filepath.Join(dir, "b.cedar")); err != nil {
		t.Fatal(err)
	}
	mode(dir, 0o755)
	mode(file, 0o644)
	if found := WritableByOthers(dir); len(found) != 0 {
		t.Errorf("found %v", found)
	}
	mode(file, 0o666)
	mode(dir, 0o777)
	if found, want := WritableByOthers(dir), []string{dir, file, filepath.Join(dir, "b.cedar")}; !slices.Equal(found, want) {
		t.Errorf("found %v, want %v", found, want)
	}
	// Kubernetes mounts a folder of links that anybody may write to, were it not
	// read-only; what is in it is its own.
	mode(file, 0o644)
	if err := os.Mkdir(filepath.Join(dir, "..data"), 0o755); err != nil {
		t.Fatal(err)
	}
	if found := WritableByOthers(dir); len(found) != 0 {
		t.Errorf("in a mounted ConfigMap: found %v", found)
	}
}
