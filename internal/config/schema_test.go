package config

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compileSchema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	text, err := Schema(name)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(name+".json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate checks YAML text against a schema, as an editor does.
func validate(t *testing.T, s *jsonschema.Schema, text []byte) error {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

func TestExamplesFitTheSchema(t *testing.T) {
	files, err := filepath.Glob("testdata/examples/*/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s := compileSchema(t, strings.TrimSuffix(filepath.Base(path), ".yaml"))
		if err := validate(t, s, text); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Schema and loader agree about shape: what one refuses, the other does too.
func TestSchemaRefusesWhatTheLoaderRefuses(t *testing.T) {
	for _, c := range []struct{ name, text string }{
		{"settings", "colour: blue"},
		{"settings", "server: {port: '80'}"},
		{"settings", "server: {port: 70000}"},
		{"settings", "server: 5"},
		{"settings", "cookie: {secure: yes please}"},
		{"settings", "oidc: {client_secret: hunter2}"},
		{"settings", "oidc: {client_secret: '${A:-b}'}"},
		{"settings", "oidc: {client_id: 5}"},
		{"settings", "oidc: {issuer: id.example.com}"},
		{"settings", "oidc: {par: maybe}"},
		{"settings", "session: {lifetime: soon}"},
		{"settings", "session: {bind_address_prefix: on}"},
		{"settings", "session: {bind_address_prefix: {ipv4: 40}}"},
		{"settings", "secrets: mine"},
		{"settings", "cors: {allow_origins: https://a.example.com}"},
		{"settings", "store: {redis_url: http://h}"},
		{"routes", "routes: {}"},
		{"routes", "routes: [{path: /x}]"},
		{"routes", "services: {a: {timeout: 5s}}"},
		{"routes", "services: {a: {base_url: ftp://h}}"},
		{"routes", "services: {a: {base_url: 'https://h'}}\nroutes: [{path: /x, target_service: a, auth: maybe}]"},
		{"routes", "services: {a: {base_url: 'https://h'}}\nroutes: [{path: /x, target_service: a, methods: [BREW]}]"},
		{"idps", "idps: [{name: a}]"},
		{"idps", "idps: [{name: a, issuer: 'https://h', claims_mapping: {roles: [{source: a, format: comma}]}}]"},
		{"pdp", "connection: {timeout: [1]}"},
		{"pdp", "endpoint_map: {/x: {GET: {resource: a}}}"},
		{"pdp", "retry: {max_attempts: 100}"},
	} {
		if err := validate(t, compileSchema(t, c.name), []byte(c.text)); err == nil {
			t.Errorf("the schema of %s accepts %s", c.name, c.text)
		}
		if _, err := LoadFiles("c", map[string][]byte{c.name + ".yaml": []byte(c.text)}, nil); err == nil {
			t.Errorf("the loader accepts %s in %s", c.text, c.name)
		}
	}
}

func TestSchemaAcceptsVariables(t *testing.T) {
	s := compileSchema(t, "settings")
	for _, text := range []string{
		"server: {port: '${P:-80}', trusted_proxies: '${NETS}'}", "cookie: {secure: '${S}', same_site: '${X}'}", "session: {lifetime: '${L}', bind_address_prefix: off}",
		"oidc: {issuer: '${I}', scopes: openid, par: true}", "cors: {allow_origins: '${ORIGINS}'}", "session: {lifetime: 1h30m}", "session: {lifetime: 60}",
	} {
		if err := validate(t, s, []byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// An editor shows a description for everything.
func TestSchemaDescribesEveryKey(t *testing.T) {
	for _, name := range SchemaNames() {
		text, err := Schema(name)
		if err != nil {
			t.Fatal(err)
		}
		var doc any
		if err := json.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		var walk func(at string, v any)
		walk = func(at string, v any) {
			switch v := v.(type) {
			case map[string]any:
				props, _ := v["properties"].(map[string]any)
				for key, p := range props {
					if d, _ := p.(map[string]any)["description"].(string); d == "" {
						t.Errorf("%s %s.%s has no description", name, at, key)
					}
				}
				for key, child := range v {
					walk(at+"/"+key, child)
				}
			case []any:
				for _, child := range v {
					walk(at, child)
				}
			}
		}
		walk("", doc)
	}
	if _, err := Schema("rotues"); err == nil {
		t.Error("an unknown name has a schema")
	}
}
