package docs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"keyway/internal/config"
	"keyway/internal/testkit/parts"
)

var kinds = map[string][]string{
	"sh":    {"run", "background", "env", "syntax"},
	"text":  {"", "output"},
	"json":  {"output", "parse"},
	"yaml":  {"file", "check", "from"},
	"go":    {"file"},
	"html":  {"file"},
	"js":    {"file", "syntax"},
	"nginx": {"syntax"},
	"rego":  {"file"},
}

// Every block says how it is checked.
func TestEveryExampleHasAMarker(t *testing.T) {
	for _, d := range documents(t) {
		if slices.Contains(othersExamples, d.path) {
			continue
		}
		for _, b := range d.blocks {
			if !slices.Contains(kinds[b.lang], b.kind) {
				t.Errorf("%s:%d: a block of %q with the marker %q: expected one that test/docs/doc.go lists", d.path, b.line, b.lang, b.kind)
			}
			if b.kind == "background" && b.args["until"] == "" {
				t.Errorf("%s:%d: a background block needs until=", d.path, b.line)
			}
		}
	}
}

// What is not run is at least what it claims to be.
func TestExamplesThatAreNotRun(t *testing.T) {
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			check := map[string]func(*testing.T, block){
				"sh syntax": bashParses, "json parse": jsonParses, "sh env": envIsAConfiguration, "yaml check": fileLoads,
				"yaml from": isExcerpt, "js syntax": scriptParses, "nginx syntax": nginxAccepts,
			}[b.lang+" "+b.kind]
			if check != nil {
				t.Run(fmt.Sprintf("%s:%d", d.path, b.line), func(t *testing.T) { check(t, b) })
			}
		}
	}
}

func bashParses(t *testing.T, b block) { feed(t, b.text, "bash", "-n") }

func scriptParses(t *testing.T, b block) {
	node, err := exec.LookPath("node")
	if err != nil {
		parts.Need(t, parts.Node)
	}
	feed(t, b.text, node, "--input-type=module", "--check")
}

func feed(t *testing.T, text, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func jsonParses(t *testing.T, b block) {
	if !json.Valid([]byte(b.text)) {
		t.Error("not JSON")
	}
}

var assignment = regexp.MustCompile(`^(?:export )?([A-Z][A-Z0-9_]*)='?([^']*?)'?$`)

// environ reads lines of NAME=value.
func environ(t *testing.T, text string) []string {
	t.Helper()
	var env []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(strings.TrimRight(line, "\n"), " #")
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		m := assignment.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("expected NAME=value, found %q", line)
			continue
		}
		env = append(env, m[1]+"="+m[2])
	}
	return env
}

func envIsAConfiguration(t *testing.T, b block) {
	c, err := config.LoadFiles("config", nil, environ(t, b.text))
	if err != nil {
		t.Fatal(err)
	}
	for _, note := range c.Notes {
		// That the admin listener is open is meant, where a token is given.
		if c.Admin.TokenFile == "" || !strings.Contains(note.Error(), "only operators reach it") {
			t.Errorf("note: %v", note)
		}
	}
}

// An example of one file is loaded with the variables and services that it names
// made up.
func fileLoads(t *testing.T, b block) {
	// Session routes need somebody to sign in at.
	env := []string{"OIDC_ISSUER=https://id.example.com", "AUTH_CLIENT_ID=my-app", "BFF_CALLBACK_URL=https://app.example.com/auth/callback"}
	for _, m := range regexp.MustCompile(`\$\{([A-Z_]+)\}`).FindAllStringSubmatch(b.text, -1) {
		env = append(env, m[1]+"=made-up")
	}
	if _, err := config.LoadFiles("config", map[string][]byte{b.args["check"]: []byte(b.text)}, env); err != nil {
		t.Error(err)
	}
}

// isExcerpt holds a block's lines against a file: each must be there, in order.
func isExcerpt(t *testing.T, b block) {
	var any any
	if err := yaml.Unmarshal([]byte(b.text), &any); err != nil {
		t.Error(err)
	}
	rest := strings.Split(source(t, b.args["from"]), "\n")
	for line := range strings.Lines(b.text) {
		line = strings.TrimSpace(line)
		i := slices.IndexFunc(rest, func(l string) bool { return strings.TrimSpace(l) == line })
		if i < 0 {
			t.Fatalf("%s does not have, at this point: %s", b.args["from"], line)
		}
		rest = rest[i+1:]
	}
}

func nginxAccepts(t *testing.T, b block) {
	nginx := parts.Need(t, parts.Nginx)[0]
	dir := t.TempDir()
	if out, err := exec.Command(nginx, "-t", "-q", "-c", nginxConf(t, dir, b.text, 8443), "-p", dir).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// nginxConf writes a configuration around the servers of an example, which
// listens on a port of loopback instead of 443. Certificates are files that a
// reader has and we don't: their lines go.
func nginxConf(t *testing.T, dir, servers string, port int) string {
	t.Helper()
	servers = regexp.MustCompile(`(?m)^\s*ssl_.*;$`).ReplaceAllString(servers, "")
	servers = strings.ReplaceAll(servers, "listen 443 ssl", fmt.Sprint("listen 127.0.0.1:", port))
	var conf strings.Builder
	fmt.Fprintf(&conf, "pid %s/pid;\nerror_log stderr;\ndaemon off;\nevents {}\nhttp {\naccess_log off;\n", dir)
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&conf, "%s_temp_path %s/%[1]s;\n", name, dir)
	}
	fmt.Fprintf(&conf, "%s}\n", servers)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// matchText holds an output against what a text block shows.
func matchText(want, got string) error {
	var re strings.Builder
	re.WriteString(`\A`)
	for line := range strings.Lines(strings.TrimSpace(want) + "\n") {
		if line == "…\n" {
			re.WriteString(`(?:.*\n)*?`)
			continue
		}
		re.WriteString(wildcard(strings.TrimRight(line, " \n")) + ` *\n`)
	}
	re.WriteString(`\z`)
	if !regexp.MustCompile(re.String()).MatchString(strings.TrimSpace(got) + "\n") {
		return fmt.Errorf("expected\n%s\nfound\n%s", want, got)
	}
	return nil
}

func wildcard(s string) string { return strings.ReplaceAll(regexp.QuoteMeta(s), "…", ".*") }

// matchJSON holds an output against what a JSON block shows: the same keys, the
// same strings (… is a wildcard) and booleans, numbers in the same places.
func matchJSON(want, got string) error {
	var w, g any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		return fmt.Errorf("the example is not JSON: %w", err)
	}
	if err := json.NewDecoder(bytes.NewBufferString(got)).Decode(&g); err != nil {
		return fmt.Errorf("the output is not JSON: %w\n%s", err, got)
	}
	return sameShape("$", w, g)
}

func sameShape(at string, want, got any) error {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%s: expected an object, found %v", at, got)
		}
		for name := range g {
			if _, ok := w[name]; !ok {
				return fmt.Errorf("%s.%s: is there, and not in the example", at, name)
			}
		}
		for name, value := range w {
			if err := sameShape(at+"."+name, value, g[name]); err != nil {
				return err
			}
		}
		return nil
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return fmt.Errorf("%s: expected %v, found %v", at, want, got)
		}
		for i := range w {
			if err := sameShape(fmt.Sprintf("%s[%d]", at, i), w[i], g[i]); err != nil {
				return err
			}
		}
		return nil
	case string:
		if g, ok := got.(string); ok && regexp.MustCompile(`\A`+wildcard(w)+`\z`).MatchString(g) {
			return nil
		}
	case float64:
		if _, ok := got.(float64); ok {
			return nil
		}
	default:
		if want == got {
			return nil
		}
	}
	return fmt.Errorf("%s: expected %v, found %v", at, want, got)
}
