package config

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// FuzzRoutesYAML: whatever routes.yaml holds, the answer is a table or a list
// of problems, each with a place in that file.
func FuzzRoutesYAML(f *testing.F) {
	for _, path := range []string{"testdata/examples/complete/routes.yaml", "testdata/examples/kubernetes/routes.yaml"} {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, s := range []string{
		"", "routes:\n- path: /a\n  path: /b\n", "routes: [{path: &a /x, target_service: *a}]", "services: {a: {base_url: \"${X:-http://x}\"}}",
		"? [a]\n: b", "- - - -", "{{{", "\x00", "a: |\n  b", "routes: [null, [], {}]", "services: {<<: {a: 1}}", "routes:\n  - path: \"/{a}/*\"\n    upstream_path: /{path}",
		"%YAML 1.2\n---\nroutes: []", "!!map {}", "routes: !!seq [!!map {path: !!str /x}]",
	} {
		f.Add([]byte(s))
	}
	env := []string{"OIDC_ISSUER=https://id.example.com", "AUTH_CLIENT_ID=x", "BFF_DEFAULT_HOST=a.example.com", "X=y"}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := LoadFiles("config", map[string][]byte{RoutesFile: data}, env)
		if err == nil {
			if cfg.Routes == nil {
				t.Fatal("no table and no problem")
			}
			for _, r := range cfg.Routes.Routes() {
				if _, ok := cfg.Services[r.Service]; !ok {
					t.Fatalf("route %s has no service", r)
				}
			}
			return
		}
		var inv *InvalidError
		if !errors.As(err, &inv) || len(inv.Problems) == 0 {
			t.Fatalf("not a list of problems: %v", err)
		}
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 2
		for _, p := range inv.Problems {
			if p.File != "config/routes.yaml" || p.Line < 0 || p.Line > lines || p.Found == "" {
				t.Fatalf("a problem without a place: %+v", p)
			}
		}
	})
}
