package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"keyway/test/e2e"
)

var placeholder = regexp.MustCompile(`<[^>]+>`)

// What a gateway keeps in its folders, and under which keys in Redis, is what the
// page lists.
func TestStatePage(t *testing.T) {
	page := read(t, "docs/reference/state.md")
	var names []*regexp.Regexp
	for _, row := range page.rows() {
		for _, name := range codeSpans(row[0]) {
			parts := placeholder.Split(name, -1)
			for i := range parts {
				parts[i] = regexp.QuoteMeta(parts[i])
			}
			names = append(names, regexp.MustCompile(`^`+strings.Join(parts, `.+`)+`$`))
		}
	}
	listed := func(name string) bool {
		return slices.ContainsFunc(names, func(re *regexp.Regexp) bool { return re.MatchString(name) })
	}

	t.Run("folders", func(t *testing.T) {
		config, keys, data := t.TempDir(), filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "data")
		if err := os.WriteFile(filepath.Join(config, "settings.yaml"), []byte("secrets: managed\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p := e2e.Start(t, e2e.Env{"BFF_CONFIG_DIR": config, "BFF_KEYS_DIR": keys, "BFF_DATA_DIR": data}, "serve")
		// A rotation, so that the record of one is there.
		e2e.NewBrowser(p.URL).Do(t, "POST", p.AdminURL+"/admin/v1/rotations", `{"secrets":["signing-key"]}`, "Content-Type", "application/json")
		found := 0
		for _, root := range []string{keys, data} {
			err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
				name, _ := filepath.Rel(root, path)
				// A file that is being written goes by a name of its own for a moment.
				if err == nil && entry.Type().IsRegular() && !regexp.MustCompile(`^\.?[^/]*\d{6,}$`).MatchString(filepath.Base(name)) {
					found++
					if !listed(filepath.ToSlash(name)) {
						t.Errorf("state.md: %s is there, and not documented", name)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if found < 8 {
			t.Errorf("expected the files that the page lists, found %d", found)
		}
	})
	t.Run("Redis", func(t *testing.T) {
		for _, m := range inSource(t, "internal/session/redis", regexp.MustCompile(`prefix \+ "([a-z]+:)[^"]*"`)) {
			if !strings.Contains(page.text, "`keyway:"+m[0]) {
				t.Errorf("state.md: keys that begin with keyway:%s are not documented", m[0])
			}
		}
	})
}
