package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/testkit/browser"
	"keyway/internal/testkit/child"
	"keyway/internal/testkit/parts"
	"keyway/internal/testkit/ports"
)

// portNumbers are those that the documentation uses; each is replaced by a free one.
var portNumbers = regexp.MustCompile(`\b(800[0-3]|801[01]|802[01]|6379)\b`)

// defaults are commands that use such a port without naming it; keyway serve takes
// them from the environment.
var defaults = strings.NewReplacer(
	"keyway demo\n", "keyway demo --port 8000\n",
	"./idp\n", "./idp --port 8002 --app http://localhost:8000\n",
)

// scriptWithin is for a loaded machine that compiles what it runs.
const scriptWithin = 4 * time.Minute

// TestExamplesRun runs the examples of each document, as a reader would.
func TestExamplesRun(t *testing.T) {
	for _, d := range documents(t) {
		isStep := func(b block) bool { return slices.Contains([]string{"run", "background", "file"}, b.kind) }
		if slices.Contains(othersExamples, d.path) || !slices.ContainsFunc(d.blocks, isStep) {
			continue
		}
		t.Run(d.path, func(t *testing.T) { runDocument(t, d) })
	}
}

func runDocument(t *testing.T, d document) {
	needs(t, d)
	replace := freePorts(t)
	out := t.TempDir()
	home := filepath.Join(t.TempDir(), "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(out, "script.sh")
	if err := os.WriteFile(script, []byte(replace(defaults.Replace(bashScript(d, out)))), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "--norc", "--noprofile", script)
	cmd.Dir = parts.Root(t)
	cmd.Env = []string{
		"HOME=" + home, "PATH=" + filepath.Dir(keyway(t)) + ":" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir(), "LC_ALL=C.UTF-8",
	}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOROOT", "GOTOOLCHAIN", "GOPROXY", "GOFLAGS"} {
		value, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, name+"="+strings.TrimSpace(string(value)))
	}
	p := child.Start(t, cmd)
	defer func() {
		if !t.Failed() {
			return
		}
		logs, _ := filepath.Glob(filepath.Join(out, "*.out"))
		for _, log := range logs {
			text, _ := os.ReadFile(log)
			t.Logf("%s:%s\n%s", d.path, strings.TrimSuffix(filepath.Base(log), ".out"), text)
		}
	}()
	p.WaitFor(t, regexp.MustCompile(`(?m)^`+allRan+`$`), scriptWithin)
	compareOutputs(t, d, out, replace)
	if more := whileItRuns[d.path]; more != nil {
		more(t, replace)
	}
	if err := os.WriteFile(filepath.Join(out, "done"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, err := p.ExitCode(scriptWithin); err != nil || code != 0 {
		t.Errorf("the examples end with code %d (%v), after:\n%s", code, err, p.Output())
	}
}

// allRan is what a script prints when its last block has ended.
const allRan = "all examples ran"

// whileItRuns is what is tested beside a document's own examples, on what they
// have started.
var whileItRuns = map[string]func(t *testing.T, replace func(string) string){
	"docs/tutorial/first-app.md": theTutorialsPage,
}

// The page that the tutorial has people write does what it says, in a browser.
func theTutorialsPage(t *testing.T, replace func(string) string) {
	t.Run("in a browser", func(t *testing.T) {
		r := browser.Run(t, `
			await page.goto(args.url)
			await page.getByRole('link', { name: 'Sign in' }).click()
			await page.getByLabel('Username').fill('grace')
			await page.getByLabel('Password').fill('demo')
			await page.getByRole('button', { name: 'Sign in' }).click()
			await page.getByText('Hello, Grace Hopper').waitFor()
			await page.locator('#text').fill('debug the Mark II')
			await page.getByRole('button', { name: 'Keep' }).click()
			await page.getByText('debug the Mark II').waitFor()
			await page.reload()
			await page.getByText('debug the Mark II').waitFor()
			const notes = await page.locator('li').allTextContents()
			await page.getByRole('button', { name: 'Sign out' }).click()
			await page.getByText('Nobody is signed in.').waitFor()
			return { notes, at: page.url() }`, map[string]any{"url": replace("http://localhost:8000/")})
		var got struct {
			Notes []string
			At    string
		}
		r.Decode(t, &got)
		if !slices.Equal(got.Notes, []string{"debug the Mark II"}) || got.At != replace("http://localhost:8000/") {
			t.Errorf("grace has the notes %q, and ends at %s", got.Notes, got.At)
		}
		for _, message := range r.ConsoleErrors {
			if !strings.Contains(message, "favicon") {
				t.Errorf("the page's console: %s", message)
			}
		}
	})
}

// needs leaves the test out where a program is missing that a reader has.
func needs(t *testing.T, d document) {
	all := ""
	for _, b := range d.blocks {
		all += b.text
	}
	if strings.Contains(all, "redis-server") {
		parts.Need(t, parts.Redis)
	}
	for _, program := range []string{"bash", "curl", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv(parts.RequireEnv) == "1" {
				t.Fatalf("the examples of %s need %s", d.path, program)
			}
			t.Skipf("left out, no %s here", program)
		}
	}
}

// bashScript is the document's blocks as one script. The output of the block at
// line N goes to N.out.
func bashScript(d document, out string) string {
	var s strings.Builder
	s.WriteString(`set -eu
root=$PWD
export PORT=8000 BFF_ADMIN_ADDR=127.0.0.1:8001 KEYWAY_ADMIN=http://127.0.0.1:8001
answers() {
  case $1 in
  tcp:*) (exec 3<>/dev/tcp/127.0.0.1/${1#tcp:}) 2>/dev/null ;;
  *) curl -fsS -o /dev/null --max-time 2 "$1" 2>/dev/null ;;
  esac
}
await() {
  for _ in $(seq 600); do
    if answers "$1"; then return 0; fi
    if ! kill -0 $! 2>/dev/null; then echo "ended before $1 answered"; return 1; fi
    sleep 0.1
  done
  echo "$1 did not answer within a minute"; return 1
}
`)
	for _, b := range d.blocks {
		output := fmt.Sprintf("%s/%d.out", out, b.line)
		switch b.kind {
		case "run", "background", "file":
			fmt.Fprintf(&s, "\necho '%s:%d'\n", d.path, b.line)
		}
		switch {
		case b.kind == "background":
			fmt.Fprintf(&s, "{\n%s} >%s 2>&1 &\nawait %s\n", b.text, output, b.args["until"])
		case b.kind == "run" && b.args["exit"] != "":
			fmt.Fprintf(&s, "code=0; ( %s\n) >%s 2>&1 || code=$?\n[ $code = %s ]\n", strings.TrimSpace(b.text), output, b.args["exit"])
		case b.kind == "run":
			fmt.Fprintf(&s, "{\n%s} >%s 2>&1\n", b.text, output)
		case b.kind == "file":
			// Never into the repository.
			fmt.Fprintf(&s, "[ \"$PWD\" != \"$root\" ]\nmkdir -p \"$(dirname %s)\"\ncat >%[1]s <<'END OF FILE'\n%sEND OF FILE\n", b.args["file"], b.text)
			if slices.Contains([]string{"settings.yaml", "routes.yaml", "idps.yaml", "pdp.yaml"}, filepath.Base(b.args["file"])) {
				// Loaded at the end, when all of it is there.
				fmt.Fprintf(&s, "trap 'code=$?; [ $code = 0 ] && keyway config check --config \"%s\"; exit' EXIT\n", "$PWD/"+filepath.Dir(b.args["file"]))
			}
		}
	}
	fmt.Fprintf(&s, "\necho '%s'\nuntil [ -e %s/done ]; do sleep 0.1; done\nkill $(jobs -p) 2>/dev/null || true\n", allRan, out)
	return s.String()
}

func compareOutputs(t *testing.T, d document, out string, replace func(string) string) {
	last := 0
	for _, b := range d.blocks {
		if b.kind == "run" {
			last = b.line
		}
		if b.kind != "output" {
			continue
		}
		got, err := os.ReadFile(fmt.Sprintf("%s/%d.out", out, last))
		if err != nil {
			t.Errorf("%s:%d: there is no run block before it", d.path, b.line)
			continue
		}
		match := matchText
		if b.lang == "json" {
			match = matchJSON
		}
		if err := match(replace(b.text), string(got)); err != nil {
			t.Errorf("%s:%d: %v", d.path, b.line, err)
		}
	}
}

// keyway is a build of the program as it is now.
func keyway(t *testing.T) string {
	t.Helper()
	parts.NotCached()
	root := parts.Root(t)
	path := filepath.Join(root, "out", "docs", "keyway")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/keyway")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// freePorts replaces each port of the documentation by one that is free now.
func freePorts(t *testing.T) func(string) string {
	t.Helper()
	free := map[string]string{}
	// Demo takes four in a row, so those that belong together stay together.
	for _, row := range [][]string{{"8000", "8001", "8002", "8003"}, {"8010", "8011"}, {"8020", "8021"}, {"6379"}} {
		first := ports.Reserve(t, len(row))
		for i, port := range row {
			free[port] = fmt.Sprint(first + i)
		}
	}
	return func(text string) string {
		return portNumbers.ReplaceAllStringFunc(text, func(port string) string { return free[port] })
	}
}
