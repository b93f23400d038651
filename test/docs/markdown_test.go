package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"keyway/internal/testkit/parts"
)

// document is one Markdown file.
type document struct {
	path   string // from the root of the repository, with slashes
	text   string
	blocks []block
}

// block is one fenced block.
type block struct {
	line int // of its content's first line
	lang string
	kind string            // the marker's first word, or file, check, from
	args map[string]string // the marker's key=value pairs
	text string
}

// othersExamples are documents whose examples are tested where they are made.
var othersExamples = []string{
	"docs/reference/cli.md", "docs/reference/configuration.md", "docs/reference/threats.md", "docs/reference/performance.md",
}

// documents are all Markdown files of the repository that are written for people.
func documents(t testing.TB) []document {
	t.Helper()
	root := parts.Root(t)
	paths, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"docs", "deploy"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, _ os.DirEntry, err error) error {
			if strings.HasSuffix(path, ".md") {
				paths = append(paths, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var all []document
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, _ := filepath.Rel(root, path)
		d := document{path: filepath.ToSlash(name), text: string(text)}
		d.blocks = fenced(d.text)
		all = append(all, d)
	}
	return all
}

// read is the document at a path.
func read(t testing.TB, path string) document {
	t.Helper()
	all := documents(t)
	i := slices.IndexFunc(all, func(d document) bool { return d.path == path })
	if i < 0 {
		t.Fatalf("there is no %s", path)
	}
	return all[i]
}

// source is a file of the repository.
func source(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(parts.Root(t), path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var fence = regexp.MustCompile("^(```+)\\s*(.*)$")

// fenced finds the fenced blocks of a text. Ours begin at the start of a line.
func fenced(text string) []block {
	var blocks []block
	var open *block
	var mark string
	for i, line := range strings.Split(text, "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case open == nil && m != nil:
			mark, open = m[1], &block{line: i + 2, args: map[string]string{}}
			words := strings.Fields(m[2])
			if len(words) > 0 {
				open.lang, words = words[0], words[1:]
			}
			for _, w := range words {
				name, value, pair := strings.Cut(w, "=")
				if pair {
					open.args[name] = value
				}
				if open.kind == "" {
					open.kind = name
				}
			}
		case open != nil && m != nil && m[1] == mark && m[2] == "":
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	if open != nil {
		blocks = append(blocks, *open)
	}
	return blocks
}

// prose is the text without its fenced blocks.
func (d document) prose() string {
	var b strings.Builder
	inside := ""
	for line := range strings.Lines(d.text) {
		if m := fence.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil && (inside == "" || m[1] == inside) {
			if inside == "" {
				inside = m[1]
			} else {
				inside = ""
			}
			continue
		}
		if inside == "" {
			b.WriteString(line)
		}
	}
	return b.String()
}

var codeSpan = regexp.MustCompile("`([^`\n]+)`")

// codeSpans are the contents of the inline code in a text.
func codeSpans(text string) []string {
	var spans []string
	for _, m := range codeSpan.FindAllStringSubmatch(text, -1) {
		spans = append(spans, m[1])
	}
	return spans
}

// rows are the cells of all table rows of a document whose first cell is code.
func (d document) rows() [][]string {
	var rows [][]string
	for line := range strings.Lines(d.prose()) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		rows = append(rows, cells)
	}
	return rows
}
