package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyway/internal/threat"
)

// whole is an environment with which a gateway starts.
func whole(t testing.TB) Env {
	return Complete(t, Env{
		"TOKEN_HASH_SALT": strings.Repeat("s4lt-", 10) + "for-tests",
		"UA_HASH_SALT":    strings.Repeat("u4-", 12) + "for-tests",
		"CSRF_SECRET_KEY": strings.Repeat("c5rf-", 8) + "for-tests",
		"STATE_TOKEN_KEY": strings.Repeat("5tate-", 8) + "for-tests",
	})
}

// A gateway that can't be safe does not start, and says why, what was expected,
// and what would be right.
func TestStartRefused(t *testing.T) {
	t.Parallel()
	anIssuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := "http://" + r.Host
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": "https://somebody-else.example", "authorization_endpoint": at + "/a", "token_endpoint": at + "/t",
			"jwks_uri": at + "/j", "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"ES256"},
		})
	}))
	t.Cleanup(anIssuer.Close)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	takenPort := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)

	const weak = "tooshort-aaaa"
	for _, tc := range []struct {
		name    string
		threats []int
		change  func(testing.TB, Env)
		says    []string
		not     string
	}{
		{"without TOKEN_HASH_SALT", nil, func(_ testing.TB, e Env) { delete(e, "TOKEN_HASH_SALT") },
			[]string{"TOKEN_HASH_SALT", "required", "openssl rand"}, ""},
		{"with an empty TOKEN_HASH_SALT", nil, func(_ testing.TB, e Env) { e["TOKEN_HASH_SALT"] = "" },
			[]string{"TOKEN_HASH_SALT"}, ""},
		{"a weak secret", nil, func(_ testing.TB, e Env) { e["CSRF_SECRET_KEY"] = weak },
			[]string{"CSRF_SECRET_KEY", "32"}, weak},
		{"all that is wrong at once", nil, func(_ testing.TB, e Env) {
			delete(e, "TOKEN_HASH_SALT")
			e["STATE_TOKEN_KEY"] = weak
			delete(e, "UA_HASH_SALT")
		},
			[]string{"TOKEN_HASH_SALT", "STATE_TOKEN_KEY", "UA_HASH_SALT"}, weak},
		{"a key folder that others can read", nil, func(t testing.TB, e Env) {
			must(t, os.MkdirAll(e["BFF_KEYS_DIR"], 0o750))
			must(t, os.Chmod(e["BFF_KEYS_DIR"], 0o750))
		}, []string{"bff_keys_dir", "0750", "0700"}, ""},
		{"a secret file that is not there", []int{62}, func(_ testing.TB, e Env) {
			delete(e, "TOKEN_HASH_SALT")
			e["TOKEN_HASH_SALT_FILE"] = "/nowhere/salt"
		}, []string{"/nowhere/salt"}, ""},
		{"a secret file that can't be read", []int{62}, func(t testing.TB, e Env) {
			// A folder: that no permission of the tests' user makes readable.
			e["AUTH_CLIENT_SECRET_FILE"] = t.TempDir()
			e["OIDC_ISSUER"], e["AUTH_CLIENT_ID"], e["BFF_CALLBACK_URL"] = "http://127.0.0.1:1", "x", "http://127.0.0.1/auth/callback"
			e["MS_BFF_TOKEN_AUTH_METHOD"] = "client_secret_basic"
		}, []string{"AUTH_CLIENT_SECRET"}, ""},
		{"an issuer that names another", []int{9}, func(_ testing.TB, e Env) {
			e["OIDC_ISSUER"], e["AUTH_CLIENT_ID"], e["BFF_CALLBACK_URL"] = anIssuer.URL, "x", "http://127.0.0.1/auth/callback"
		}, []string{"https://somebody-else.example", anIssuer.URL}, ""},
		{"a port in use", nil, func(_ testing.TB, e Env) { e["PORT"] = takenPort },
			[]string{takenPort, "in use", "PORT"}, ""},
		{"an admin port in use", nil, func(_ testing.TB, e Env) { e["BFF_ADMIN_ADDR"] = taken.Addr().String() },
			[]string{takenPort, "in use", "BFF_ADMIN_ADDR"}, ""},
		{"a key that is none", nil, func(_ testing.TB, e Env) {
			e["BFF_JWT_SIGNING_KEY"] = "-----BEGIN PRIVATE KEY-----\nhunter22\n-----END PRIVATE KEY-----\n"
		}, []string{"BFF_JWT_SIGNING_KEY"}, "hunter22"},
		{"routes that clash", nil, func(t testing.TB, e Env) {
			e["BFF_CONFIG_DIR"] = folderWith(t, "routes.yaml", "services: {s: {base_url: \"http://127.0.0.1:1\"}}\nroutes:\n"+
				"  - {id: a, path: \"/api/{x}\", target_service: s, auth: none}\n  - {id: b, path: /api/*, target_service: s, auth: none}\n")
		}, []string{"routes.yaml:3:", "routes.yaml:4:"}, ""},
		{"a Redis URL with another scheme", nil, func(_ testing.TB, e Env) { e["REDIS_URL"] = "http://:hunter22@127.0.0.1:1" },
			[]string{"REDIS_URL", "redis://"}, "hunter22"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			threat.Covers(t, tc.threats...)
			env := whole(t)
			tc.change(t, env)
			code, said := Run(t, env, "serve")
			if code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			for _, want := range tc.says {
				if !strings.Contains(strings.ToLower(said), strings.ToLower(want)) {
					t.Errorf("nothing about %q in:\n%s", want, said)
				}
			}
			if tc.not != "" && strings.Contains(said, tc.not) {
				t.Errorf("the secret was printed:\n%s", said)
			}
		})
	}
	t.Run("and without any of this it starts", func(t *testing.T) {
		if code := Start(t, whole(t), "serve").Terminate(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

// Ten broken configurations, each found without starting anything.
func TestConfigCheckFindsWhatIsBroken(t *testing.T) {
	t.Parallel()
	const service = "services: {s: {base_url: \"https://s.internal\"}}\n"
	for _, tc := range []struct{ name, file, content, says string }{
		{"unknown key", "settings.yaml", "sever: {port: 1}\n", "settings.yaml:1:1"},
		{"not YAML", "settings.yaml", "server:\n  port: 1\n bad: 2\n", "settings.yaml:3:"},
		{"wrong type", "settings.yaml", "server: {port: many}\n", "settings.yaml:1:16"},
		{"out of range", "settings.yaml", "server: {port: 70000}\n", "settings.yaml:1:16"},
		{"a secret written out", "settings.yaml", "oidc: {client_secret: hunter22}\n", "settings.yaml:1:23"},
		{"unknown service", "routes.yaml", service + "routes:\n  - {path: /a, target_service: t, auth: none}\n", "routes.yaml:3:"},
		{"clash", "routes.yaml", service + "routes:\n  - {path: \"/a/{b}\", target_service: s, auth: none}\n  - {path: \"/a/*\", target_service: s, auth: none}\n", "routes.yaml:4:"},
		{"our own path", "routes.yaml", service + "routes:\n  - {path: /auth/login, target_service: s, auth: none}\n", "routes.yaml:3:"},
		{"plain http", "routes.yaml", "services: {s: {base_url: \"http://s.internal\"}}\n", "routes.yaml:1:"},
		{"unset variable", "settings.yaml", "oidc: {issuer: \"${NOBODY_SET_THIS}\"}\n", "NOBODY_SET_THIS"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := folderWith(t, tc.file, tc.content)
			code, said := Run(t, nil, "config", "check", "--config", dir)
			if code != 1 || !strings.Contains(said, tc.says) || strings.Contains(said, "hunter22") {
				t.Errorf("exit code %d, want 1 and %q; it said:\n%s", code, tc.says, said)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
				t.Errorf("side effects: %v", left)
			}
			// serve says the same, and does not start.
			code, served := Run(t, Env{"BFF_CONFIG_DIR": dir}, "serve")
			if code != 1 || !strings.Contains(served, tc.says) {
				t.Errorf("serve: exit code %d; it said:\n%s", code, served)
			}
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
