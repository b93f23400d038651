package interop

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"keyway/internal/testkit/opa"
	"keyway/internal/testkit/parts"
)

var fileBlock = regexp.MustCompile("(?ms)^```[a-z]+ file=(\\S+)\n(.*?)^```")

// The how-to's files, as they are there, with OPA and a gateway between people who
// have signed in and an API.
func TestHowTo(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(parts.Root(t), "docs", "how-to", "use-opa.md"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, m := range fileBlock.FindAllStringSubmatch(string(text), -1) {
		files[m[1]] = m[2]
	}
	data := regexp.MustCompile("(?ms)^```json parse\n(.*?)^```").FindStringSubmatch(string(text))
	if len(files) != 5 || data == nil {
		t.Fatalf("the how-to has %d files, want 5, and data: %q", len(files), data)
	}
	token := rand.Text()
	t.Setenv("KEYWAY_TOKEN", token)
	pdp := opa.Start(t, map[string]string{
		"notes.rego": files["policies/notes.rego"], "who.rego": files["policies/who.rego"], "data.json": data[1],
	}, "--authentication=token", "--authorization=basic")
	tokenFile := filepath.Join(t.TempDir(), "pdp-token")
	if err := os.WriteFile(tokenFile, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := start(t, func(application, issuer string) map[string]string {
		there := strings.NewReplacer(
			"http://127.0.0.1:8181", pdp.URL(), "/run/secrets/pdp-token", tokenFile, "timeout: 500ms", "timeout: 20s",
			"http://127.0.0.1:9000", application, "https://id.example.com", issuer)
		return map[string]string{
			"pdp.yaml": there.Replace(files["config/pdp.yaml"]), "routes.yaml": there.Replace(files["config/routes.yaml"]), "idps.yaml": there.Replace(files["config/idps.yaml"]),
		}
	})
	const body = `{"shelf":"7"}`
	for _, who := range people {
		viewer, editor := who.roles[0] == "viewer", who.roles[0] == "editor"
		for _, c := range []struct {
			call
			upstream string
			want     bool
		}{
			{call{method: "GET", path: "/api/notes"}, "/notes", viewer || editor},
			{call{method: "GET", path: "/api/notes/7"}, "/notes/7", viewer || editor},
			{call{method: "POST", path: "/api/notes", body: body}, "/notes", editor},
			{call{method: "PUT", path: "/api/notes/7", body: body}, "/notes/7", editor},
		} {
			if got := w.makeAt(t, who, c.call, c.upstream); got != c.want {
				t.Errorf("%s, %s %s: %v, want %v", who.login, c.method, c.path, got, c.want)
			}
		}
	}
}
