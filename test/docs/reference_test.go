package docs

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"keyway/internal/config"
	"keyway/internal/problem"
	"keyway/internal/testkit/parts"
	"keyway/internal/testkit/ports"
	"keyway/test/e2e"
)

// inSource is the groups that re finds in the Go sources of a package.
func inSource(t *testing.T, folder string, re *regexp.Regexp) [][]string {
	t.Helper()
	var found [][]string
	files, err := filepath.Glob(filepath.Join(parts.Root(t), folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range re.FindAllStringSubmatch(string(text), -1) {
			found = append(found, m[1:])
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s: nothing matches %s; the code has changed its form", folder, re)
	}
	return found
}

func column(rows [][]string, n int) []string {
	var values []string
	for _, row := range rows {
		values = append(values, row[n])
	}
	return values
}

// same compares what is documented with what there is, in any order.
func same(t *testing.T, what string, documented, actual []string) {
	t.Helper()
	for _, d := range documented {
		if !slices.Contains(actual, d) {
			t.Errorf("%s: %s is documented, and does not exist", what, d)
		}
	}
	for _, a := range actual {
		if !slices.Contains(documented, a) {
			t.Errorf("%s: %s exists, and is not documented", what, a)
		}
	}
}

func unquote(s string) string { return strings.Trim(s, "`") }

// codes are the constants of package problem, from its source.
func codes(t *testing.T) []problem.Code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(parts.Root(t), "internal/problem/problem.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all []problem.Code
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Code" {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, problem.Code(value))
		}
		return true
	})
	return all
}

func TestErrorsPage(t *testing.T) {
	var actual []string
	for _, code := range codes(t) {
		w := httptest.NewRecorder()
		problem.Write(w, "", problem.New(code, nil))
		retry := ""
		if after := w.Header().Get("Retry-After"); after != "" {
			retry = after + " s"
		}
		actual = append(actual, fmt.Sprintf("%s, status %d, retry after %q", code, w.Code, retry))
	}
	var documented []string
	for _, row := range read(t, "docs/reference/errors.md").rows() {
		documented = append(documented, fmt.Sprintf("%s, status %s, retry after %q", unquote(row[0]), row[1], row[2]))
	}
	same(t, "errors.md", documented, actual)
}

// Codes that other pages name exist, with the status that they give.
func TestCodesOfEndpoints(t *testing.T) {
	known := map[string]int{}
	for _, code := range codes(t) {
		known[string(code)] = code.Status()
	}
	row := regexp.MustCompile("(?m)^\\| (\\d{3}) \\| `([a-z_]+)`")
	for _, m := range row.FindAllStringSubmatch(read(t, "docs/reference/endpoints.md").text, -1) {
		if status, ok := known[m[2]]; !ok || strconv.Itoa(status) != m[1] {
			t.Errorf("endpoints.md: %s %s: the code's status is %d", m[1], m[2], status)
		}
	}
	inProse := regexp.MustCompile("\\b([45]\\d\\d) `([a-z_]+)`")
	for _, d := range documents(t) {
		for _, m := range inProse.FindAllStringSubmatch(d.prose(), -1) {
			if status, ok := known[m[2]]; !ok || strconv.Itoa(status) != m[1] {
				t.Errorf("%s: %s %s: the code's status is %d", d.path, m[1], m[2], status)
			}
		}
	}
}

// ownPaths are the paths that the gateway answers itself, from its source.
func ownPaths(t *testing.T) []string {
	t.Helper()
	paths := column(inSource(t, "internal/gateway", regexp.MustCompile(`(?m)^\s+"(/[a-z/.-]+)":\s`)), 0)
	prefixes := inSource(t, "internal/gateway", regexp.MustCompile(`for _, prefix := range \[\]string\{(.*)\}`))[0][0]
	suffixes := column(inSource(t, "internal/gateway", regexp.MustCompile(`own\[prefix\+"(/[a-z/]+)"\]`)), 0)
	for prefix := range strings.SplitSeq(prefixes, ", ") {
		for _, suffix := range suffixes {
			paths = append(paths, strings.Trim(prefix, `"`)+suffix)
		}
	}
	return paths
}

// Metric names and labels, from the source: a metric that nothing has used yet
// does not show.
func TestMetricsPage(t *testing.T) {
	var actual []string
	list := func(labels string) string {
		var names []string
		for _, m := range regexp.MustCompile(`"([a-z_]+)"`).FindAllStringSubmatch(labels, -1) {
			names = append(names, "`"+m[1]+"`")
		}
		return strings.Join(names, ", ")
	}
	for _, m := range inSource(t, "internal/telemetry", regexp.MustCompile(`(counter|histogram)\("([a-z_]+)", "[^"]*"(?:, (?:fast|slow|quick))?((?:, "[a-z_]+")*)\)`)) {
		actual = append(actual, fmt.Sprintf("%s %s {%s}", m[1], m[0], list(m[2])))
	}
	kinds := map[string]string{} // by the variable of the description
	for _, m := range inSource(t, "internal/telemetry", regexp.MustCompile(`ConstMetric\((\w+), prometheus\.(\w+)Value`)) {
		kinds[m[0]] = strings.ToLower(m[1])
	}
	for _, m := range inSource(t, "internal/telemetry", regexp.MustCompile(`(\w+)\s*= prometheus\.NewDesc\("([a-z_]+)", "[^"]*", (nil|\[\]string\{[^}]*\})`)) {
		actual = append(actual, fmt.Sprintf("%s %s {%s}", m[1], kinds[m[0]], list(m[2])))
	}
	for _, m := range inSource(t, "internal/telemetry", regexp.MustCompile(`GaugeOpts\{\s*Name: "([a-z_]+)",(?:\s*Help: "[^"]*",\s*\}, (\[\]string\{[^}]*\}))?`)) {
		actual = append(actual, fmt.Sprintf("%s gauge {%s}", m[0], list(m[1])))
	}
	var documented []string
	for _, row := range read(t, "docs/reference/metrics.md").rows() {
		documented = append(documented, fmt.Sprintf("%s %s {%s}", unquote(row[0]), row[1], row[2]))
	}
	same(t, "metrics.md", documented, actual)
}

func TestLogsPage(t *testing.T) {
	page := read(t, "docs/reference/logs.md").text
	for _, m := range inSource(t, "internal/telemetry", regexp.MustCompile(`slog\.[A-Z][a-z0-9A-Z]+\("([a-z_]+)"`)) {
		if !strings.Contains(page, "`"+m[0]+"`") {
			t.Errorf("logs.md: the key %s is not documented", m[0])
		}
	}
}

// The cause has one name in every line, by which people filter.
func TestLogsNameTheCauseError(t *testing.T) {
	other := regexp.MustCompile(`"err",`)
	err := filepath.WalkDir(filepath.Join(parts.Root(t), "internal"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil && other.Match(text) {
			t.Errorf(`%s: expected the key "error", which logs.md has; found "err"`, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Lines about secrets: their keys are listed, and each text that the page has is one
// that the code writes, at that level.
func TestLogsAboutSecrets(t *testing.T) {
	_, page, _ := strings.Cut(read(t, "docs/reference/logs.md").text, "## Lines about secrets")
	line := regexp.MustCompile(`(?i)\blog\.(Info|Warn|Error)\("([^"]+)",?(?s:(.*?))\)\n`)
	levels := map[string]string{}
	for _, folder := range []string{"internal/app", "internal/rotation", "internal/admin", "internal/secret/source"} {
		for _, m := range inSource(t, folder, line) {
			levels[m[1]] = strings.ToUpper(m[0])
			if !strings.Contains(m[2], `"secret"`) && !strings.Contains(m[2], `"version"`) {
				continue
			}
			for _, key := range regexp.MustCompile(`"([a-z_]+)", `).FindAllStringSubmatch(m[2]+" ", -1) {
				if key[1] != "error" && !strings.Contains(page, "`"+key[1]+"`") {
					t.Errorf("logs.md: %q has the key %s, which is not documented", m[1], key[1])
				}
			}
		}
	}
	// Said through a variable, as a secret's file is well or ill.
	for _, m := range inSource(t, "internal/secret/source", regexp.MustCompile(`slog\.Level(Info|Warn|Error), "([^"]+)"`)) {
		levels[m[1]] = strings.ToUpper(m[0])
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (INFO|WARN|ERROR) \\|").FindAllStringSubmatch(page, -1) {
		if levels[m[1]] != m[2] {
			t.Errorf("logs.md: %q at %s is documented, the code has it at %q", m[1], m[2], levels[m[1]])
		}
	}
}

// What a running demo says about itself is what the pages say.
func TestPagesAgainstTheDemo(t *testing.T) {
	port := ports.Reserve(t, 4)
	// Launch waits for nothing; the demo takes its ports from the flag.
	p := e2e.Start(t, e2e.Env{"PORT": fmt.Sprint(port), "HOST": "localhost", "BFF_ADMIN_ADDR": fmt.Sprint("127.0.0.1:", port+1)},
		"demo", "--verbose", "--port", fmt.Sprint(port))

	t.Run("endpoints and methods", func(t *testing.T) {
		b := e2e.NewBrowser(p.URL)
		text := read(t, "docs/reference/endpoints.md").text
		public, admin, _ := strings.Cut(text, "## Admin listener")
		documented := pathsAndMethods(public)
		var paths []string
		for path, methods := range documented {
			paths = append(paths, path)
			if allow := b.Do(t, "PATCH", path, "").Header.Get("Allow"); allow != methods {
				t.Errorf("endpoints.md: %s: documented %s, allowed %s", path, methods, allow)
			}
		}
		same(t, "endpoints.md", paths, ownPaths(t))
		for path, methods := range pathsAndMethods(admin) {
			if allow := b.Do(t, "PATCH", p.AdminURL+path, "").Header.Get("Allow"); allow != methods {
				t.Errorf("endpoints.md: admin %s: documented %s, allowed %s", path, methods, allow)
			}
		}
	})

	b := e2e.NewBrowser(p.URL)
	b.SignIn(t, "ada", "/")
	t.Run("cookies", func(t *testing.T) {
		page := read(t, "docs/reference/cookies.md").text
		for _, name := range b.Jar.Names() {
			if strings.HasPrefix(name, "bff_") && !strings.Contains(page, name) {
				t.Errorf("cookies.md: %s is set, and not documented", name)
			}
		}
	})
	t.Run("session", func(t *testing.T) {
		page := read(t, "docs/reference/endpoints.md").text
		for field := range b.Session(t) {
			if !strings.Contains(page, `"`+field+`"`) {
				t.Errorf("endpoints.md: /auth/session answers with %s, which is not documented", field)
			}
		}
	})
	t.Run("headers", func(t *testing.T) {
		seen, _ := b.Get(t, "/api/echo").JSON(t)["headers"].(map[string]any)
		page := strings.ToLower(read(t, "docs/reference/headers.md").text)
		for name := range seen {
			if name != "User-Agent" && name != "Accept-Encoding" && !strings.Contains(page, strings.ToLower(name)) {
				t.Errorf("headers.md: the upstream saw %s, which is not documented", name)
			}
		}
	})
	t.Run("metrics", func(t *testing.T) {
		page := read(t, "docs/reference/metrics.md").text
		for _, m := range regexp.MustCompile(`(?m)^# TYPE ((?:bff|http)_[a-z_]+) (\w+)$`).FindAllStringSubmatch(b.Get(t, p.AdminURL+"/metrics").Text, -1) {
			if !strings.Contains(page, "| `"+m[1]+"` | "+m[2]+" |") {
				t.Errorf("metrics.md: %s (%s) is not documented", m[1], m[2])
			}
		}
	})
}

// pathsAndMethods are the rows of the endpoint tables.
func pathsAndMethods(text string) map[string]string {
	found := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(/[^`]+)` \\| ([A-Z, ]+) \\|").FindAllStringSubmatch(text, -1) {
		found[m[1]] = m[2]
	}
	return found
}

// The example of a log line has keys that a log line has.
func TestLogExample(t *testing.T) {
	d := read(t, "docs/reference/logs.md")
	i := slices.IndexFunc(d.blocks, func(b block) bool { return b.lang == "json" })
	var line map[string]any
	if err := json.Unmarshal([]byte(d.blocks[i].text), &line); err != nil {
		t.Fatal(err)
	}
	for key := range line {
		if !strings.Contains(d.prose(), "`"+key+"`") {
			t.Errorf("logs.md: the example has %s, the table does not", key)
		}
	}
}

// variables are the environment variables of the configuration reference, each
// secret with its other forms.
func variables() []string {
	names := []string{"BFF_CONFIG_DIR"}
	for line := range strings.Lines(config.Reference()) {
		cells := strings.Split(line, " | ")
		if len(cells) < 3 {
			continue
		}
		for _, name := range codeSpans(cells[1]) {
			names = append(names, name)
			if cells[2] == "secret" {
				names = append(names, name+"_FILE", name+"_PREVIOUS", name+"_PREVIOUS_FILE")
			}
		}
	}
	return names
}
