package docs

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"

	"keyway/internal/config"
)

type object = map[string]any

// at walks into a parsed document; a number is an index.
func at(t *testing.T, v any, path ...any) any {
	t.Helper()
	for i, step := range path {
		switch s := step.(type) {
		case string:
			m, ok := v.(object)
			if !ok || m[s] == nil {
				t.Fatalf("expected %v, found none", path[:i+1])
			}
			v = m[s]
		case int:
			l, ok := v.([]any)
			if !ok || s >= len(l) {
				t.Fatalf("expected %v, found none", path[:i+1])
			}
			v = l[s]
		}
	}
	return v
}

// The configuration that the cluster would mount is valid with the environment
// that it would have.
func TestKubernetesExample(t *testing.T) {
	resources := map[string]object{}
	file, err := parser.ParseBytes([]byte(source(t, "deploy/kubernetes/keyway.yaml")), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range file.Docs {
		var r object
		if err := yaml.NodeToValue(doc.Body, &r); err != nil {
			t.Fatal(err)
		}
		resources[r["kind"].(string)] = r
	}
	pod := at(t, resources["Deployment"], "spec", "template", "spec")
	container := at(t, pod, "containers", 0)

	env := map[string]string{}
	for _, e := range at(t, container, "env").([]any) {
		name := at(t, e, "name").(string)
		if value, ok := e.(object)["value"].(string); ok {
			env[name] = value
		} else {
			at(t, e, "valueFrom", "secretKeyRef", "key")
			env[name] = "rediss://:made-up@redis.data.svc:6379/0"
		}
	}
	files := map[string][]byte{}
	for name, text := range at(t, resources["ConfigMap"], "data").(object) {
		files[name] = []byte(text.(string))
	}
	c := valid(t, files, env)
	grace := at(t, pod, "terminationGracePeriodSeconds")
	if g, _ := time.ParseDuration(fmt.Sprint(grace, "s")); g <= c.Server.DrainDelay+c.Server.ShutdownGrace {
		t.Errorf("the pod is killed after %v, before Keyway has stopped (%v + %v)", g, c.Server.DrainDelay, c.Server.ShutdownGrace)
	}
	mounts := map[string]bool{}
	for _, m := range at(t, container, "volumeMounts").([]any) {
		mounts[at(t, m, "mountPath").(string)] = true
	}
	// The image says where the configuration and the state are.
	for _, path := range []string{env["BFF_SECRETS_DIR"], "/etc/keyway", "/var/lib/keyway"} {
		if !mounts[path] {
			t.Errorf("nothing is mounted at %s", path)
		}
	}
	for _, probe := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
		path := at(t, container, probe, "httpGet", "path").(string)
		if !slices.Contains(ownPaths(t), path) {
			t.Errorf("%s asks %s, which the gateway does not have", probe, path)
		}
	}
	// The commands in the pod show the token that the gateway there asks for.
	token := env["BFF_ADMIN_TOKEN_FILE"]
	if token == "" || env["KEYWAY_ADMIN_TOKEN_FILE"] != token || path.Dir(token) != env["BFF_SECRETS_DIR"] {
		t.Errorf("expected one token of the admin API among the secrets, found %q and %q", token, env["KEYWAY_ADMIN_TOKEN_FILE"])
	}
	// The how-to makes every secret that has no other source.
	guide := read(t, "docs/how-to/run-in-kubernetes.md").text
	for _, name := range []string{"token-hash-salt", "ua-hash-salt", "csrf-secret-key", "state-token-key", "oidc-client-secret", path.Base(token)} {
		if !strings.Contains(guide, name) {
			t.Errorf("the how-to does not make the secret %s", name)
		}
	}
}

func TestComposeExample(t *testing.T) {
	var compose object
	if err := yaml.UnmarshalWithOptions([]byte(source(t, "deploy/compose/compose.yaml")), &compose, yaml.DisallowUnknownField()); err != nil {
		t.Fatal(err)
	}
	service := at(t, compose, "services", "keyway")
	made := map[string]string{
		"OIDC_ISSUER": "https://id.example.com", "AUTH_CLIENT_ID": "my-app", "BFF_CALLBACK_URL": "https://app.example.com/auth/callback",
	}
	env := map[string]string{}
	for name, value := range at(t, service, "environment").(object) {
		text := fmt.Sprint(value)
		if strings.HasPrefix(text, "${"+name) {
			text = made[name]
		}
		env[name] = text
	}
	valid(t, map[string][]byte{"routes.yaml": []byte(source(t, "deploy/compose/config/routes.yaml"))}, env)
	defined := at(t, compose, "secrets").(object)
	for _, name := range at(t, service, "secrets").([]any) {
		if defined[name.(string)] == nil {
			t.Errorf("the secret %s is not defined", name)
		}
		known := strings.ToUpper(strings.ReplaceAll(name.(string), "-", "_"))
		if known != "OIDC_CLIENT_SECRET" && !slices.Contains(variables(), known) {
			t.Errorf("no secret is called %s", known)
		}
	}
	if len(defined) != 5 {
		t.Errorf("expected the five secrets that have no other source, found %d", len(defined))
	}
}

// What the image sets exists.
func TestImageVariables(t *testing.T) {
	found := regexp.MustCompile(`\b(BFF_[A-Z_]+)=`).FindAllStringSubmatch(source(t, "deploy/Dockerfile"), -1)
	if len(found) == 0 {
		t.Error("expected BFF_CONFIG_DIR and others, found none")
	}
	for _, m := range found {
		if !slices.Contains(variables(), m[1]) {
			t.Errorf("there is no variable %s", m[1])
		}
	}
}

// valid loads a configuration of an example and refuses notes, too, but for what
// the examples do on purpose and explain: plain http by name, and metrics for the
// neighbours where the API wants a token.
func valid(t *testing.T, files map[string][]byte, env map[string]string) *config.Config {
	t.Helper()
	var list []string
	ofCommands := column(inSource(t, "internal/cli", regexp.MustCompile(`"(KEYWAY_[A-Z_]+)"`)), 0)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if slices.Contains(ofCommands, name) {
			continue
		}
		if !slices.Contains(variables(), name) {
			t.Errorf("%s: the configuration reference has no such variable", name)
		}
		list = append(list, name+"="+env[name])
	}
	c, err := config.LoadFiles("/etc/keyway", files, list)
	if err != nil {
		t.Fatal(err)
	}
	for _, note := range c.Notes {
		if !strings.Contains(note.Error(), "plain http") && !(c.Admin.TokenFile != "" && strings.Contains(note.Error(), "only operators reach it")) {
			t.Errorf("note: %v", note)
		}
	}
	return c
}
