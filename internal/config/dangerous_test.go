package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

var signIn = []string{"OIDC_ISSUER=https://id.example.com", "AUTH_CLIENT_ID=keyway"}

// problemsOf is what is wrong with a configuration, a line each.
func problemsOf(t *testing.T, files map[string]string, env ...string) []string {
	t.Helper()
	in := make(map[string][]byte)
	for name, text := range files {
		in[name] = []byte(text)
	}
	_, err := LoadFiles("config", in, env)
	var inv *InvalidError
	if err != nil && !errors.As(err, &inv) {
		t.Fatal(err)
	}
	var lines []string
	if inv != nil {
		for _, p := range inv.Problems {
			lines = append(lines, p.Error())
		}
	}
	return lines
}

// The site's scheme and hosts, however they are said, and the cookie.
func TestCookieOverPlainHTTP(t *testing.T) {
	dynamic := func(hosts string) []string {
		return []string{"BFF_DYNAMIC_CALLBACK=true", "BFF_ALLOWED_REDIRECT_HOSTS=" + hosts}
	}
	for _, c := range []struct {
		name, problem, note string
		env                 []string
	}{
		{"https", "", "", append(dynamic("app.example.com"), "BFF_COOKIE_SECURE=true")},
		{"https, insecure cookie", "BFF_COOKIE_SECURE: cookie.secure: false", "", append(dynamic("localhost:8000,app.example.com"), "BFF_COOKIE_SECURE=false")},
		{"loopback", "", "", append(dynamic("localhost:8000,127.0.0.1:8000"), "BFF_COOKIE_SECURE=false", "BFF_DEFAULT_SCHEME=http")},
		{"http, secure cookie", "callback.allowed_redirect_hosts[0]: plain http", "", append(dynamic("app.example.com"), "BFF_DEFAULT_SCHEME=http")},
		{"http", "", "callback.allowed_redirect_hosts[0]", append(dynamic("app.example.com"), "BFF_DEFAULT_SCHEME=http", "BFF_COOKIE_SECURE=false")},
		{"static http", "", "callback.url", []string{"BFF_CALLBACK_URL=http://app.example.com/auth/callback", "BFF_COOKIE_SECURE=false"}},
		{"default host http, secure cookie", "BFF_DEFAULT_HOST: callback.default_host: plain http", "", []string{"BFF_DEFAULT_HOST=app.example.com", "BFF_DEFAULT_SCHEME=http"}},
		{"default host https, insecure cookie", "cookie.secure: false", "", []string{"BFF_DEFAULT_HOST=app.example.com", "BFF_COOKIE_SECURE=false"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := append(slices.Clone(signIn), c.env...)
			got := problemsOf(t, nil, env...)
			if c.problem != "" {
				if len(got) != 1 || !strings.Contains(got[0], c.problem) {
					t.Errorf("got %q, want %s", got, c.problem)
				}
				return
			}
			cfg, err := LoadFiles("config", nil, env)
			if err != nil {
				t.Fatal(err)
			}
			noted := slices.ContainsFunc(cfg.Notes, func(p Problem) bool { return p.Key == c.note })
			if c.note == "" && len(cfg.Notes) > 0 || c.note != "" && !noted {
				t.Errorf("notes: %v", cfg.Notes)
			}
		})
	}
}

func TestPublicSuffixes(t *testing.T) {
	for domain, want := range map[string]string{
		"example.com": "", "corp.internal": "", "a.example.co.uk": "", "co.uk": "problem", "CO.UK": "problem", "github.io": "note", "me.github.io": "",
	} {
		cfg, err := LoadFiles("config", nil, []string{"BFF_COOKIE_DOMAIN=" + domain})
		got := ""
		switch {
		case err != nil && strings.Contains(err.Error(), "public suffix"):
			got = "problem"
		case err != nil:
			got = err.Error()
		case len(cfg.Notes) > 0:
			got = "note"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", domain, got, want)
		}
	}
}

func TestPostLogoutPath(t *testing.T) {
	for _, ok := range []string{"/", "/signed-out", "/a/b?x=1&y=%20", "/auth/login"} {
		if got := problemsOf(t, nil, "BFF_POST_LOGOUT_PATH="+ok); len(got) > 0 {
			t.Errorf("%s: %q", ok, got)
		}
	}
	for _, bad := range []string{
		"signed-out", "https://evil.example.com", "//evil.example.com", "/\\evil.example.com", "/%5cevil.example.com", "/a/../b", "/%2e%2e/b", "/a#b", "/a b",
		"/é", "/a;b", "/auth/logout", "/auth/callback", "/" + strings.Repeat("a", 1024),
	} {
		if got := problemsOf(t, nil, "BFF_POST_LOGOUT_PATH="+bad); len(got) != 1 || !strings.Contains(got[0], "callback.post_logout_path: found") {
			t.Errorf("%s: %q", bad, got)
		}
	}
}

// A public route that is another way to what a route guards is told.
func TestBackDoors(t *testing.T) {
	const services = `services:
  a: {base_url: "http://127.0.0.1:9000/v1"}
  b: {base_url: "http://localhost:9000"}
  c: {base_url: "http://127.0.0.1:9001"}
routes:
  - {id: guarded, path: "/admin/*", target_service: a, upstream_path: "/admin/{path}"}
`
	env := append(slices.Clone(signIn), "BFF_DEFAULT_HOST=app.example.com")
	for entry, want := range map[string]string{
		`path: "/pub/*", target_service: a, upstream_path: "/{path}"`:                 "note",
		`path: "/pub/*", target_service: a, upstream_path: "/{path}", methods: [GET]`: "note",
		`path: "/pub/{x}/{y}", target_service: a, upstream_path: "/{x}/{y}"`:          "note", // each has what the other lacks
		`path: "/pub/*", target_service: a, upstream_path: "/admin/{path}"`:           "note", // the same
		`path: "/pub/*", target_service: a, upstream_path: "/ADMIN/{path}"`:           "note", // to a server that ignores case
		`path: "/v1/*", target_service: b`:                                            "note",
		`path: "/pub/*", target_service: a, upstream_path: "/admin/help/{path}"`:      "note",
		`path: "/v1/admin/{x}", target_service: b`:                                    "note",
		`path: "/pub/{x}", target_service: a, upstream_path: "/{x}/{x}"`:              "maybe",
		`path: "/v1/admin/x", target_service: b, preserve_path: true`:                 "",
		`path: "/v1/*", target_service: c`:                                            "",
		`path: "/admi/*", target_service: a`:                                          "",
		`path: "/pub/*", target_service: a, upstream_path: "/public/{path}"`:          "",
		`path: "/pub/{x}", target_service: a, upstream_path: "/{x}"`:                  "",
		`path: "/pub/*", target_service: b, upstream_path: "/{path}", auth: session`:  "",
	} {
		if !strings.Contains(entry, "auth:") {
			entry += ", auth: none"
		}
		cfg, err := LoadFiles("config", map[string][]byte{RoutesFile: []byte(services + "  - {id: public, " + entry + "}\n")}, env)
		var found []Problem
		got := ""
		switch inv, _ := errors.AsType[*InvalidError](err); {
		case inv != nil:
			got, found = "problem", inv.Problems
		case len(cfg.Notes) > 0 && strings.HasPrefix(cfg.Notes[0].Found, "it may be that "):
			got, found = "maybe", cfg.Notes
		case len(cfg.Notes) > 0:
			got, found = "note", cfg.Notes
		}
		if got != want || len(found) > 1 {
			t.Errorf("%s: %q, want %q: %v", entry, got, want, found)
		}
		for _, p := range found {
			if p.Line != 7 || !strings.Contains(p.Found, "guarded (config/routes.yaml:6:5)") || !strings.Contains(p.Found, "public (config/routes.yaml:7:5)") {
				t.Errorf("%s: want both lines: %v", entry, p)
			}
		}
	}
}

func TestOwnListenersAsServices(t *testing.T) {
	for base, bad := range map[string]bool{
		"http://localhost:8000": true, "http://127.0.0.9:8000/x": true, "https://[::1]:8000": true, "http://localhost:8001": true, "http://0.0.0.0:8000": true,
		"http://localhost:8002": false, "https://app.example.com:8000": false, "http://localhost": false,
	} {
		routes := map[string]string{RoutesFile: "services: {a: {base_url: \"" + base + "\", allow_insecure_http: true}}\n"}
		if got := problemsOf(t, routes); (len(got) > 0) != bad {
			t.Errorf("%s: %q", base, got)
		}
		if got := problemsOf(t, routes, "PORT=0", "BFF_ADMIN_ADDR=127.0.0.1:0"); len(got) > 0 {
			t.Errorf("%s, beside ports that are not known yet: %q", base, got)
		}
	}
	if got := problemsOf(t, map[string]string{RoutesFile: "services: {a: {base_url: \"http://127.0.0.1:8000\"}}\n"}, "HOST=192.0.2.1"); len(got) > 0 {
		t.Errorf("another address of this machine: %q", got)
	}
}

func TestRedisURLParameters(t *testing.T) {
	for query, ok := range map[string]bool{
		"": true, "master_set=m&addr=h:1&addr=i:1": true, "db=3": true, "client_name=k": true, "skip_verify": true, "max_retries=0": true,
		"max_retries=3": false, "dial_timeout=1s": false, "write_timeout=1s": false, "protocol=2": false, "client_cache=0": false, "timeout=1": false,
	} {
		if got := problemsOf(t, nil, "REDIS_URL=rediss://h:6379?"+query); (len(got) == 0) != ok {
			t.Errorf("%s: %q", query, got)
		}
	}
}

// A route without an id is logged, and spoken of, by its path.
func TestRouteWithoutAnID(t *testing.T) {
	cfg := mustLoad(t, map[string]string{RoutesFile: "services: {a: {base_url: \"https://a.internal\"}}\nroutes: [{path: /x, target_service: a, auth: none}]\n"})
	if id := cfg.Routes.Routes()[0].ID; id != "/x" {
		t.Errorf("its id is %q", id)
	}
}

// Without a file to point at, what is missing is reported at its variable.
func TestNothingToPointAt(t *testing.T) {
	got := problemsOf(t, nil, signIn...)
	if len(got) != 1 || !strings.HasPrefix(got[0], "environment: BFF_CALLBACK_URL: callback.url: no callback") {
		t.Errorf("got %q", got)
	}
	got = problemsOf(t, map[string]string{SettingsFile: "log: {level: info}\n"}, signIn...)
	if len(got) != 1 || !strings.HasPrefix(got[0], "config/settings.yaml: callback.url") {
		t.Errorf("got %q", got)
	}
}
