package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"keyway/internal/threat"
)

const canary = "s3cr3t-canary-Zq9"

// Whatever is written where a secret belongs, no message repeats it.
func TestNoMessageRepeatsASecret(t *testing.T) {
	threat.Covers(t, 23)
	seen := 0
	for file, root := range map[string]reflect.Type{
		SettingsFile: reflect.TypeFor[Settings](), RoutesFile: reflect.TypeFor[routesFile](),
		IdPsFile: reflect.TypeFor[idpsFile](), PDPFile: reflect.TypeFor[PDP](),
	} {
		walkFields(root, "", func(path string, f field) {
			if f.typ != typeSecretRef && f.typ != typeRedisURL {
				return
			}
			seen++
			for _, value := range []string{
				canary, `"` + canary + `"`, `"` + canary, "[" + canary + "]", "{" + canary + ": 1}", "{a: " + canary + "}", "|\n" + strings.Repeat(" ", 40) + canary,
				"!!str " + canary, "&" + canary + " x", "*" + canary, "file:" + canary, "x${" + canary + "}", "${A:-" + canary + "}", "${" + canary,
				"redis://:" + canary + "@h", "redis://u:" + canary + "@h:x", "http://" + canary, "redis://h?password=" + canary,
				"-----BEGIN PRIVATE KEY-----" + canary, "'" + canary + "\n", canary + ": " + canary, "{{" + canary + "}}", "@" + canary, "\"\\q" + canary + "\"",
			} {
				doc := nest(path, value)
				_, err := LoadFiles("config", map[string][]byte{file: []byte(doc)}, nil)
				if err == nil {
					t.Errorf("%s accepts %q", path, value)
				} else if strings.Contains(err.Error(), canary) {
					t.Errorf("%s: %q is repeated: %v", path, value, err)
				}
			}
		})
	}
	if seen < 12 {
		t.Errorf("only %d secret keys found", seen)
	}
}

// nest writes a value at a key path.
func nest(path, value string) string {
	var b strings.Builder
	indent := ""
	parts := strings.Split(strings.NewReplacer("[]", ".[]").Replace(path), ".")
	for i, p := range parts {
		switch {
		case p == "[]":
			indent += "  "
			b.WriteString(strings.Repeat(" ", len(indent)-2) + "-\n")
			indent += "  "
			continue
		case strings.HasPrefix(p, "<"):
			p = "x"
		}
		b.WriteString(indent + p + ":")
		if i == len(parts)-1 {
			b.WriteString(" " + value + "\n")
		} else {
			b.WriteString("\n")
		}
		indent += "  "
	}
	return b.String()
}

func TestVariablesNamedLikeSecretsAreNotShown(t *testing.T) {
	threat.Covers(t, 23)
	for _, key := range []string{"server: {port: \"${DB_PASSWORD}\"}", "cookie: {same_site: \"${API_TOKEN}\"}", "oidc: {issuer: \"${PRIVATE_KEY}\"}", "cors: {allow_origins: \"${SALT}\"}"} {
		_, err := LoadFiles("config", map[string][]byte{SettingsFile: []byte(key)}, []string{"DB_PASSWORD=" + canary, "API_TOKEN=" + canary, "PRIVATE_KEY=" + canary, "SALT=" + canary})
		if err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", key, err)
		}
	}
	_, err := LoadFiles("config", nil, []string{"REDIS_URL=redis:" + canary, "OIDC_ISSUER=https://u:" + canary + "@h", "BFF_CALLBACK_URL=" + canary + "@x"})
	if err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("environment: %v", err)
	}
}

func TestConfigPrintsNoSecret(t *testing.T) {
	threat.Covers(t, 23)
	for _, u := range []string{"redis://:" + canary + "@h:1/0", "rediss://u:" + canary + "@a:1?client_name=" + canary} {
		cfg := mustLoad(t, nil, "REDIS_URL="+u, "AUTH_CLIENT_SECRET="+canary)
		asJSON, err := json.Marshal(cfg.Store)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{
			fmt.Sprint(cfg.Store), fmt.Sprintf("%+v", cfg.Store), fmt.Sprintf("%#v", cfg.Store), fmt.Sprintf("%q", cfg.Store.RedisURL),
			fmt.Sprintf("%+v", cfg.Settings), string(asJSON), cfg.Store.RedisURL.String(),
		} {
			if strings.Contains(text, canary) {
				t.Errorf("printed: %s", text)
			}
		}
		if cfg.Store.RedisURL.Reveal() != u {
			t.Error("Reveal is not what was given")
		}
	}
}

func TestRedisURLForms(t *testing.T) {
	for text, ok := range map[string]bool{
		"redis://localhost:6379/0": true, "rediss://h": true, "redis://a:1?addr=b:2&addr=c:3": true, "redis://:p@a:1?master_set=main&addr=b:2": true,
		"redis://[::1]:6379": true, "unix:///run/redis.sock": true, "redis://": false, "http://h": false, "redis:h": false, "redis://a:x": false,
		"redis://h/x": false, "redis://h?protocol=2": false, "redis://h?client_cache=0": false, "redis://h?pasword=x": false, "redis://:p#q@h": false,
	} {
		if _, err := parseRedisURL(text); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
	for text, literal := range map[string]bool{
		"redis://:${P}@h": false, "redis://u@h": false, "${URL}": false, "redis://u:${P:-}@h": false,
		"redis://:p@h": true, "${URL:-redis://:p@h}": true, "redis://u:x${P}@h": true,
	} {
		_, err := LoadFiles("c", map[string][]byte{SettingsFile: []byte("store: {redis_url: \"" + text + "\"}")}, []string{"P=p", "URL=redis://:p@h"})
		if (err != nil) != literal {
			t.Errorf("%s: %v, want refused: %v", text, err, literal)
		}
	}
}
