package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The stories in testdata/script are written as a user would live them, in the
// language of testscript (github.com/rogpeppe/go-internal), of which this runs
// the part that they use:
//
//	keyway ARGS…       run a command in the story's folder
//	exit N             its exit code
//	[!] stdout REGEXP  what it printed; likewise stderr
//	cmp stdout FILE    … exactly
//	env NAME=VALUE     set a variable for the commands that follow
//
// Below the first -- name -- line are the story's files.
func TestStories(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no stories (%v)", err)
	}
	for i := range scripts {
		if scripts[i], err = filepath.Abs(scripts[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s := &story{t: t, dir: t.TempDir()}
			t.Chdir(s.dir)
			script := s.unpack(string(text))
			for i, line := range strings.Split(script, "\n") {
				if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
					s.step(fmt.Sprintf("%s:%d: %s", filepath.Base(path), i+1, line), line)
				}
			}
			if s.ran && !s.exitChecked {
				t.Error("the last command's exit code is not checked")
			}
		})
	}
}

type story struct {
	t                *testing.T
	dir              string
	environ          []string
	stdout, stderr   bytes.Buffer
	code             int
	ran, exitChecked bool
}

// unpack writes the files and returns the script above them.
func (s *story) unpack(text string) (script string) {
	s.t.Helper()
	var name string
	files := make(map[string]string)
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "-- "); ok && strings.HasSuffix(n, " --") {
			name = strings.TrimSuffix(n, " --")
			files[name] = ""
			continue
		}
		if name == "" {
			script += line
		} else {
			files[name] += line
		}
	}
	for name, data := range files {
		path := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	return script
}

func (s *story) step(where, line string) {
	s.t.Helper()
	words := splitWords(line)
	want := true
	if words[0] == "!" {
		want, words = false, words[1:]
	}
	switch words[0] {
	case "keyway":
		if s.ran && !s.exitChecked {
			s.t.Errorf("%s: the exit code of the command before is not checked", where)
		}
		s.stdout.Reset()
		s.stderr.Reset()
		s.code = Run(s.t.Context(), words[1:], s.environ, &s.stdout, &s.stderr)
		s.ran, s.exitChecked = true, false
	case "exit":
		s.exitChecked = true
		if n, _ := strconv.Atoi(words[1]); n != s.code {
			s.t.Fatalf("%s: exit code %d\nstdout:\n%s\nstderr:\n%s", where, s.code, &s.stdout, &s.stderr)
		}
	case "stdout", "stderr":
		out := &s.stdout
		if words[0] == "stderr" {
			out = &s.stderr
		}
		re, err := regexp.Compile("(?m)" + words[1])
		if err != nil {
			s.t.Fatalf("%s: %v", where, err)
		}
		if re.Match(out.Bytes()) != want {
			s.t.Errorf("%s: got\n%s", where, out)
		}
	case "cmp":
		data, err := os.ReadFile(filepath.Join(s.dir, words[2]))
		if err != nil {
			s.t.Fatalf("%s: %v", where, err)
		}
		if string(data) != s.stdout.String() {
			s.t.Errorf("%s: got\n%s\nwant\n%s", where, &s.stdout, data)
		}
	case "env":
		s.environ = append(s.environ, words[1])
	default:
		s.t.Fatalf("%s: no such step", where)
	}
}

// splitWords splits at spaces; single quotes keep them, and doubled inside are one.
func splitWords(line string) []string {
	var words []string
	var cur strings.Builder
	in, quoted := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\'' && quoted && i+1 < len(line) && line[i+1] == '\'':
			cur.WriteByte('\'')
			i++
		case c == '\'':
			quoted, in = !quoted, true
		case c == ' ' && !quoted:
			if in {
				words = append(words, cur.String())
				cur.Reset()
			}
			in = false
		default:
			cur.WriteByte(c)
			in = true
		}
	}
	if in {
		words = append(words, cur.String())
	}
	return words
}
