package fromrun_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyway/test/fromrun"
)

func TestPage(t *testing.T) {
	dir := t.TempDir()
	p := fromrun.Page{Stream: filepath.Join(dir, "run"), File: filepath.Join(dir, "page"), Target: "pages", Render: func(r io.Reader) ([]byte, error) {
		all, err := io.ReadAll(r)
		if bytes.Contains(all, []byte("odd")) {
			return nil, errors.New("no such case")
		}
		return append([]byte("# Page\n"), all...), err
	}}
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wants := func(what string, check bool, want string) {
		t.Helper()
		err := p.Make(check)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	wants("no run", false, "make unit")
	write(p.Stream, "one\ntwo\n")
	wants("no page", true, "first at line 1; run `make pages`")
	wants("to be written", false, "")
	wants("as written", true, "")
	write(p.Stream, "one\n2\n")
	wants("another run", true, "first at line 3;")
	if text, _ := os.ReadFile(p.File); string(text) != "# Page\none\ntwo\n" {
		t.Errorf("a check has written %q", text)
	}
	write(p.Stream, "odd")
	wants("not to be rendered", false, p.Stream+": no such case")
}
