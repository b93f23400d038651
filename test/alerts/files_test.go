package alerts

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"keyway/internal/testkit/parts"
)

const (
	rulesFile     = "deploy/prometheus/keyway.rules.yaml"
	dashboardFile = "deploy/grafana/keyway.json"
)

type rule struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

type ruleGroups struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

func source(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(parts.Root(t), path))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func rules(t *testing.T) []rule {
	t.Helper()
	var file ruleGroups
	if err := yaml.Unmarshal(source(t, rulesFile), &file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

func ruleExprs(t *testing.T) (all []string) {
	t.Helper()
	for _, r := range rules(t) {
		all = append(all, r.Expr)
	}
	return all
}

type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Panels        []struct {
		ID      int
		Type    string
		Title   string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ RefID, Expr string }
	}
	Annotations struct {
		List []struct{ Name, Expr string }
	}
	Templating struct {
		List []struct{ Name, Type string }
	}
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal(source(t, dashboardFile), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func dashboardExprs(t *testing.T) (all []string) {
	t.Helper()
	d := readDashboard(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			all = append(all, target.Expr)
		}
	}
	for _, a := range d.Annotations.List {
		all = append(all, a.Expr)
	}
	return all
}

func declares(t *testing.T, folder, function string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(parts.Root(t), folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && strings.Contains(string(text), "\nfunc "+function+"(") {
			return true
		}
	}
	return false
}

// Whoever is woken up reads what has happened, why, and what to do.
func TestEachAlertNamesCauseCureAndPage(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rules(t) {
		if !regexp.MustCompile(`^Keyway[A-Z][A-Za-z]+$`).MatchString(r.Alert) || seen[r.Alert] {
			t.Errorf("the name %q", r.Alert)
		}
		seen[r.Alert] = true
		for _, name := range []string{"summary", "cause", "cure", "runbook"} {
			if r.Annotations[name] == "" {
				t.Errorf("%s has no %s", r.Alert, name)
			}
		}
		switch r.Labels["severity"] {
		case "info", "warning", "critical":
		default:
			t.Errorf("%s: severity %q", r.Alert, r.Labels["severity"])
		}
		page := r.Annotations["runbook"]
		if _, err := os.Stat(filepath.Join(parts.Root(t), page)); err != nil || !strings.HasPrefix(page, "docs/how-to/") {
			t.Errorf("%s: the page %q: %v", r.Alert, page, err)
		}
		// Two deployments in one Prometheus must not be added up.
		if strings.Contains(r.Expr, " by (") && regexp.MustCompile(` by \((?:[^j]|j[^o])`).MatchString(r.Expr) {
			t.Errorf("%s: an aggregate does not keep the job: %s", r.Alert, r.Expr)
		}
	}
	how := string(source(t, "docs/how-to/watch-it.md"))
	for name := range seen {
		if !strings.Contains(how, "`"+name+"`") {
			t.Errorf("watch-it.md does not have %s", name)
		}
	}
}

func promtool(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(parts.Need(t, parts.Promtool)[0], args...).CombinedOutput()
	return string(out), err
}

// testFiles differ in how often Prometheus looks.
var testFiles = []string{"test/alerts/rules_test.yaml", "test/alerts/dates_test.yaml"}

func TestRulesPassPromtool(t *testing.T) {
	root := parts.Root(t)
	if out, err := promtool(t, "check", "rules", "--lint=all", "--lint-fatal", filepath.Join(root, rulesFile)); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, file := range testFiles {
		if out, err := promtool(t, "test", "rules", filepath.Join(root, file)); err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
}

// A rule that never fires would pass most tests of rules. So each is taken out in
// turn, and the tests have to miss it.
func TestEachRuleIsTested(t *testing.T) {
	for _, r := range rules(t) {
		t.Run(r.Alert, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var file any
			if err := yaml.Unmarshal(source(t, rulesFile), &file); err != nil {
				t.Fatal(err)
			}
			for _, one := range file.(map[string]any)["groups"].([]any)[0].(map[string]any)["rules"].([]any) {
				if one := one.(map[string]any); one["alert"] == r.Alert {
					one["expr"] = "vector(0) > 1"
				}
			}
			text, err := yaml.Marshal(file)
			if err != nil {
				t.Fatal(err)
			}
			write := func(name string, text []byte) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, text, 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			write("rules.yaml", text)
			for _, file := range testFiles {
				path := write("test.yaml", []byte(strings.Replace(string(source(t, file)), "../../"+rulesFile, "rules.yaml", 1)))
				if _, err := promtool(t, "test", "rules", path); err != nil {
					return
				}
			}
			t.Error("the tests pass without it")
		})
	}
}

func TestDashboardIsWhole(t *testing.T) {
	d := readDashboard(t)
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 36 {
		t.Errorf("uid %q, title %q, schema %d", d.UID, d.Title, d.SchemaVersion)
	}
	ids := map[int]bool{}
	taken := map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q: no title, or an id that another has", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%q shows nothing", p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x > 23 {
					t.Fatalf("%q lies over %q, or beside the grid", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	if len(d.Annotations.List) == 0 || !strings.Contains(d.Annotations.List[0].Expr, "bff_secret_version_info") {
		t.Error("rotations are not marked")
	}
	// Variables that expressions use exist.
	names := map[string]bool{"__rate_interval": true}
	for _, v := range d.Templating.List {
		names[v.Name] = true
	}
	for _, m := range regexp.MustCompile(`\$\{?([a-z_]+)`).FindAllStringSubmatch(strings.Join(dashboardExprs(t), "\n"), -1) {
		if !names[m[1]] {
			t.Errorf("there is no variable %s", m[1])
		}
	}
}

// Prometheus itself parses each expression of the dashboard.
func TestDashboardExpressionsParse(t *testing.T) {
	var b strings.Builder
	b.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	values := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*")
	for i, expr := range dashboardExprs(t) {
		text, err := json.Marshal(values.Replace(expr))
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("      - {record: 'panel:" + strings.Repeat("x", i+1) + "', expr: " + string(text) + "}\n")
	}
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := promtool(t, "check", "rules", path); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
