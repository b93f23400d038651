package docs

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"keyway/internal/testkit/parts"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+?)\s*$`)
)

// Every relative link leads to a file, and to a heading if it names one.
func TestLinks(t *testing.T) {
	all := documents(t)
	for _, d := range all {
		for _, m := range link.FindAllStringSubmatch(d.prose(), -1) {
			target, fragment, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			to := d.path
			if target != "" {
				to = path.Join(path.Dir(d.path), target)
			}
			if _, err := os.Stat(filepath.Join(parts.Root(t), to)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", d.path, m[1])
				continue
			}
			if fragment == "" {
				continue
			}
			i := slices.IndexFunc(all, func(d document) bool { return d.path == to })
			if i < 0 || !slices.Contains(anchors(all[i]), fragment) {
				t.Errorf("%s: %s has no heading for #%s", d.path, to, fragment)
			}
		}
	}
}

// anchors are the names that a forge gives to headings.
func anchors(d document) []string {
	var names []string
	for _, m := range heading.FindAllStringSubmatch(d.prose(), -1) {
		var b strings.Builder
		for _, r := range strings.ToLower(m[1]) {
			switch {
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				b.WriteRune(r)
			case r == ' ':
				b.WriteRune('-')
			}
		}
		names = append(names, b.String())
	}
	return names
}

// Every document can be reached from the README.
func TestEveryDocumentIsLinked(t *testing.T) {
	all := documents(t)
	reached := map[string]bool{}
	queue := []string{"README.md"}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		i := slices.IndexFunc(all, func(d document) bool { return d.path == at })
		if i < 0 || reached[at] {
			continue
		}
		reached[at] = true
		for _, m := range link.FindAllStringSubmatch(all[i].prose(), -1) {
			target, _, _ := strings.Cut(m[1], "#")
			queue = append(queue, path.Join(path.Dir(at), target))
		}
	}
	for _, d := range all {
		if !reached[d.path] && !slices.Contains(othersExamples, d.path) {
			t.Errorf("%s: no link leads to it", d.path)
		}
	}
}

var (
	variable = regexp.MustCompile(`^(?:BFF|OIDC|AUTH|MS_BFF|SESSION|LOG|CORS_|REDIS|TOKEN|UA|CSRF|STATE|KEYS|AUTO|KEYWAY)_[A-Z0-9_]+$`)
	ourTest  = regexp.MustCompile(`^((?:internal|test|cmd|tools)/[a-z0-9/]+)\.((?:Test|Fuzz)\w+)(?:/.*)?$`)
	ours     = regexp.MustCompile(`^(?:cmd|internal|test|docs|scripts|deploy|tools)/[A-Za-z0-9_./-]*$`)
)

// hasTest reports whether a folder has a test of that name.
func hasTest(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(parts.Root(t), folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err == nil && bytes.Contains(text, []byte("\nfunc "+name+"("))
	})
}

// What code spans name exists: variables, and files and tests of this repository.
func TestNamesInCodeSpans(t *testing.T) {
	known := append(variables(), column(inSource(t, "internal/cli", regexp.MustCompile(`"(KEYWAY_[A-Z_]+)"`)), 0)...)
	for _, d := range documents(t) {
		for _, span := range codeSpans(d.prose()) {
			name, _, _ := strings.Cut(span, "=")
			if variable.MatchString(name) && !slices.Contains(known, name) {
				t.Errorf("%s: there is no variable %s", d.path, name)
			}
			if m := ourTest.FindStringSubmatch(span); m != nil {
				if !hasTest(t, m[1], m[2]) {
					t.Errorf("%s: there is no test %s in %s", d.path, m[2], m[1])
				}
			} else if ours.MatchString(span) {
				if _, err := os.Stat(filepath.Join(parts.Root(t), span)); err != nil {
					t.Errorf("%s: there is no %s", d.path, span)
				}
			}
		}
	}
}

// notYet are commands that documents may name as not there.
var notYet []string

// Every command that a document names is one that the program has.
func TestCommands(t *testing.T) {
	help, err := exec.Command(keyway(t), "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, help)
	}
	has := func(name string) bool {
		return regexp.MustCompile(`(?m)^  ` + regexp.QuoteMeta(name) + `\s`).Match(help)
	}
	command := regexp.MustCompile(`^keyway ([a-z-]+)`)
	for _, d := range documents(t) {
		for _, span := range codeSpans(d.prose()) {
			m := command.FindStringSubmatch(span)
			if m == nil || has(m[1]) {
				continue
			}
			if !slices.Contains(notYet, m[1]) {
				t.Errorf("%s: there is no command %q", d.path, span)
			}
		}
	}
	for _, name := range notYet {
		if has(name) {
			t.Errorf("keyway %s is there: say so in README.md, and take it from this list", name)
		}
	}
}

// A picture is well-formed, says in words what it shows, and has colours for light
// and for dark pages. Every picture is shown somewhere.
func TestPictures(t *testing.T) {
	pictures, err := filepath.Glob(filepath.Join(parts.Root(t), "docs", "*.svg"))
	if err != nil || len(pictures) == 0 {
		t.Fatalf("expected pictures in docs, found none (%v)", err)
	}
	shown := ""
	for _, d := range documents(t) {
		shown += d.text
	}
	for _, picture := range pictures {
		name := filepath.Base(picture)
		t.Run(name, func(t *testing.T) {
			text := source(t, "docs/"+name)
			for _, has := range []string{"<title", "<desc", "prefers-color-scheme: dark", `class="page"`} {
				if !strings.Contains(text, has) {
					t.Errorf("expected %s, found none", has)
				}
			}
			if !regexp.MustCompile(`!\[[^]]+\]\([^)]*` + regexp.QuoteMeta(name) + `\)`).MatchString(shown) {
				t.Error("no document shows it")
			}
			decoder := xml.NewDecoder(strings.NewReader(text))
			for {
				if _, err := decoder.Token(); errors.Is(err, io.EOF) {
					return
				} else if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
