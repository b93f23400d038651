package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/route"

	"github.com/google/go-cmp/cmp"
)

func mustLoad(t *testing.T, files map[string]string, environ ...string) *Config {
	t.Helper()
	cfg, err := LoadFiles("config", bytesOf(files), environ)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func bytesOf(files map[string]string) map[string][]byte {
	out := make(map[string][]byte)
	for name, text := range files {
		out[name] = []byte(text)
	}
	return out
}

// example reads a directory of testdata/examples and its environment.
func example(t *testing.T, name string) *Config {
	t.Helper()
	dir := filepath.Join("testdata/examples", name)
	env, err := os.ReadFile(filepath.Join(dir, "environ"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(Options{Dir: dir, Environ: strings.Split(strings.TrimSpace(string(env)), "\n")})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestDefaults(t *testing.T) {
	cfg := mustLoad(t, nil)
	if cfg.Server.Host != "0.0.0.0" || cfg.Server.Port != 8000 || cfg.Admin.Addr != "127.0.0.1:8001" {
		t.Errorf("listeners: %+v, %+v", cfg.Server, cfg.Admin)
	}
	if cfg.Session.Lifetime != time.Hour || cfg.Session.IdleTimeout != 30*time.Minute || cfg.Session.BindAddressPrefix.Enabled() {
		t.Errorf("session: %+v", cfg.Session)
	}
	if cfg.Cookie.SessionName() != "__Host-bff_session" || cfg.Cookie.SameSite != SameSiteLax || !cfg.Cookie.Secure {
		t.Errorf("cookie: %+v", cfg.Cookie)
	}
	if !slices.Equal(cfg.OIDC.Scopes, []string{"openid", "profile", "email"}) || cfg.OIDC.PAR != SwitchAuto {
		t.Errorf("oidc: %+v", cfg.OIDC)
	}
	want := SecretRef{Kind: SecretEnv, Name: "TOKEN_HASH_SALT", Default: true}
	if cfg.SecretSources.TokenHashSalt != want || cfg.Secrets != SecretsProvided {
		t.Errorf("secrets: %+v", cfg.SecretSources)
	}
	if _, outcome := cfg.Routes.Match("GET", "/api/x"); outcome != route.NotFound {
		t.Errorf("an empty table answers %v", outcome)
	}
	if !cfg.Authz.Enabled || cfg.PDP.Configured() {
		t.Errorf("authz: %+v %+v", cfg.Authz, cfg.PDP)
	}
}

func TestEnvironmentAlone(t *testing.T) {
	cfg := example(t, "environment")
	if cfg.OIDC.Issuer != "https://id.example.com" || cfg.OIDC.ClientID != "keyway" {
		t.Errorf("oidc: %+v", cfg.OIDC)
	}
	if want := (SecretRef{Kind: SecretEnv, Name: "AUTH_CLIENT_SECRET"}); cfg.OIDC.ClientSecret != want {
		t.Errorf("client secret: %+v", cfg.OIDC.ClientSecret)
	}
	if cfg.Callback.Static().String() != "https://app.example.com/auth/callback" {
		t.Errorf("callback: %v", cfg.Callback.Static())
	}
	var proxies []string
	for _, p := range cfg.Server.TrustedProxies {
		proxies = append(proxies, p.String())
	}
	if d := cmp.Diff([]string{"10.0.0.0/8", "192.0.2.7/32"}, proxies); d != "" {
		t.Error(d)
	}
	if cfg.Cookie.SameSite != SameSiteStrict || cfg.Log.Level != "info" || cfg.CORS.AllowOrigins[0] != "https://other.example.com" {
		t.Errorf("%+v %+v %+v", cfg.Cookie, cfg.Log, cfg.CORS)
	}
	// The idle timeout's default gives way to a shorter lifetime.
	if cfg.Session.Lifetime != 10*time.Minute || cfg.Session.IdleTimeout != 10*time.Minute {
		t.Errorf("session: %+v", cfg.Session)
	}
	if cfg.Store.RedisURL.Reveal() != "rediss://:made-up-for-this-test-and-never-printed@redis.internal:6379/0" {
		t.Error("the Redis URL is not what was given")
	}
}

func TestCompleteExample(t *testing.T) {
	cfg := example(t, "complete")
	if cfg.Server.Port != 8443 || cfg.Server.IdleTimeout != 90*time.Second {
		t.Errorf("server: %+v", cfg.Server)
	}
	if cfg.SigningKey.Dir != "/var/lib/keyway/keys" || cfg.SigningKey.Adopt.String() != "${SIGNING_KEY_PEM}" {
		t.Errorf("signing key: %+v", cfg.SigningKey)
	}
	if cfg.Session.BindAddressPrefix != (AddressBinding{24, 56}) {
		t.Errorf("binding: %+v", cfg.Session.BindAddressPrefix)
	}
	if cfg.SecretSources.CSRFSecretKey != (SecretRef{Kind: SecretFile, Name: "./local/csrf"}) || cfg.Secrets != SecretsManaged {
		t.Errorf("secrets: %+v", cfg.SecretSources)
	}
	m, outcome := cfg.Routes.Match("GET", "/access/v1/files/ada/a/b")
	if outcome != route.Found || m.UpstreamPath() != "/tree/ada/a/b" {
		t.Fatalf("%v %s", outcome, m.UpstreamPath())
	}
	want := route.TokenPolicy{Mode: route.TokenService, Audience: "https://notes.internal", Scopes: []string{"files:read", "files:list"}}
	if d := cmp.Diff(want, m.Route.TokenPolicy); d != "" {
		t.Error(d)
	}
	if m.Route.Auth != route.AuthSession || !strings.HasSuffix(m.Route.Source, "routes.yaml:35:5") {
		t.Errorf("%+v", m.Route)
	}
	if cfg.Callback.PostLogoutPath != "/signed-out?from=keyway" {
		t.Errorf("callback: %+v", cfg.Callback)
	}
	if len(cfg.IdPs) != 2 || cfg.IdPs[1].Provider != "partner" || cfg.IdPs[0].ClaimsMapping.Permissions[0].Format != "space_delimited" || len(cfg.IdPs[0].Audience) != 2 {
		t.Errorf("idps: %+v", cfg.IdPs)
	}
	if cfg.PDP.Cache.TTLAllow != time.Minute || cfg.PDP.EndpointMap["/api/notes/{id}"]["DELETE"].Action != "delete" {
		t.Errorf("pdp: %+v", cfg.PDP)
	}
}

func TestInAClusterWithPlainHTTPByName(t *testing.T) {
	cfg := example(t, "kubernetes")
	if cfg.Cookie.Domain != "example.com" || cfg.Cookie.SessionName() != "bff_session" {
		t.Errorf("cookie: %+v", cfg.Cookie)
	}
	if !cfg.Store.RedisURL.IsZero() {
		t.Error("an empty variable counts as set")
	}
	if cfg.Services["notes"].Timeout != 15*time.Second {
		t.Errorf("service: %+v", cfg.Services["notes"])
	}
	var notes []string
	for _, n := range cfg.Notes {
		notes = append(notes, n.Key)
	}
	for _, key := range []string{"oidc.allow_insecure_http", "services.notes.allow_insecure_http"} {
		if !slices.Contains(notes, key) {
			t.Errorf("no note about %s: %v", key, notes)
		}
	}
}

func TestOrderOfSources(t *testing.T) {
	file := map[string]string{SettingsFile: "server: {port: 9000}\nlog: {level: \"${LEVEL:-warn}\"}\n"}
	if cfg := mustLoad(t, file); cfg.Server.Port != 9000 || cfg.Log.Level != "warn" {
		t.Errorf("YAML: %+v %+v", cfg.Server, cfg.Log)
	}
	if cfg := mustLoad(t, file, "LEVEL=debug"); cfg.Log.Level != "debug" {
		t.Errorf("expansion: %+v", cfg.Log)
	}
	if cfg := mustLoad(t, file, "LEVEL=debug", "LOG_LEVEL=error", "PORT=9001"); cfg.Log.Level != "error" || cfg.Server.Port != 9001 {
		t.Errorf("environment: %+v %+v", cfg.Server, cfg.Log)
	}
	if cfg := mustLoad(t, nil, "KEYS_DIR=/old", "BFF_KEYS_DIR=/new"); cfg.SigningKey.Dir != "/new" {
		t.Errorf("the first name wins: %+v", cfg.SigningKey)
	}
	secret := map[string]string{SettingsFile: "oidc: {client_secret: file:/a}\n"}
	if cfg := mustLoad(t, secret); cfg.OIDC.ClientSecret.String() != "file:/a" {
		t.Errorf("secret from YAML: %v", cfg.OIDC.ClientSecret)
	}
	if cfg := mustLoad(t, secret, "AUTH_CLIENT_SECRET_FILE=/b"); cfg.OIDC.ClientSecret.String() != "${AUTH_CLIENT_SECRET}" {
		t.Errorf("secret from the environment: %v", cfg.OIDC.ClientSecret)
	}
}

func TestWhereTheDirectoryIs(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, SettingsFile), []byte("server: {port: 9000}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{Dir: dir}, {Environ: []string{"BFF_CONFIG_DIR=" + dir}}, {Dir: dir, Environ: []string{"BFF_CONFIG_DIR=/nowhere"}}} {
		if cfg, err := Load(o); err != nil || cfg.Server.Port != 9000 {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := Load(Options{Dir: filepath.Join(dir, "no")}); !errors.Is(err, ErrNoDir) {
		t.Errorf("a missing directory: %v", err)
	}
	t.Chdir(t.TempDir())
	if _, err := Load(Options{}); err != nil {
		t.Errorf("the default directory may be missing: %v", err)
	}
}

func TestStrayFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"idp.yaml", "routes.yml", "setting.yaml", "kustomization.yaml", "README.md"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Load(Options{Dir: dir})
	var inv *InvalidError
	if !errors.As(err, &inv) || len(inv.Problems) != 3 {
		t.Fatalf("got %v, want three problems", err)
	}
	for i, want := range []string{"rename it to idps.yaml or pdp.yaml", "rename it to routes.yaml", "rename it to settings.yaml"} {
		if inv.Problems[i].Want != want {
			t.Errorf("%v", inv.Problems[i])
		}
	}
}

func TestMisspeltVariablesAreNoted(t *testing.T) {
	cfg := mustLoad(t, nil, "BFF_COOKIE_DOMIAN=x", "BFF_PORT=tcp://10.0.0.1:80", "TOKEN_HASH_SALT_FILE=/x", "OIDC_ISUER=x", "PATH=/bin", "OIDC_ISSUER_FILE=/x")
	var got []string
	for _, n := range cfg.Notes {
		got = append(got, n.Environment+" "+n.Want)
	}
	if d := cmp.Diff([]string{"BFF_COOKIE_DOMIAN did you mean BFF_COOKIE_DOMAIN?", "OIDC_ISSUER_FILE set OIDC_ISSUER", "OIDC_ISUER did you mean OIDC_ISSUER?"}, got); d != "" {
		t.Error(d)
	}
}

// A variable of which words are missing at the end is as silent as one that is misspelt.
// One word is anybody's, and so is what others' programs read.
func TestVariablesCutShortAreNoted(t *testing.T) {
	for name, want := range map[string]string{
		"SESSION_IDLE": "did you mean SESSION_IDLE_TIMEOUT?", "SESSION_IDLE_FILE": "did you mean SESSION_IDLE_TIMEOUT?",
		"AUTH_CLIENT": "did you mean AUTH_CLIENT_ID, AUTH_CLIENT_SECRET or AUTH_CLIENT_SECRET_EXPIRES_AT?", "TOKEN_HASH": "did you mean TOKEN_HASH_SALT?",
		"MS_BFF_DPOP": "did you mean MS_BFF_DPOP_ENABLED?",
		"SESSION":     "", "REDIS": "", "LOG": "", "BFF": "", "AUTH": "", "OIDC": "", "CORS": "", "CORS_": "", "OTEL": "", "KAFKA": "", "KEYS": "", "STATE": "", "TOKEN": "", "KEYWAY": "",
		"HOME": "", "PATH": "", "USER": "", "PWD": "", "LANG": "", "LC_ALL": "", "SHELL": "", "TERM": "", "HOSTNAME": "", "SESSION_MANAGER": "", "XDG_SESSION_ID": "", "DBUS_SESSION_BUS_ADDRESS": "",
		"KUBERNETES_SERVICE_HOST": "", "KUBERNETES_PORT": "", "BFF_SERVICE_PORT": "", "BFF_PORT_8000_TCP": "", "MS_BFF_PORT": "", "REDIS_PORT": "", "REDIS_HOST": "", "HTTP_PROXY": "", "NO_PROXY": "",
		"OTEL_SERVICE_NAME": "", "OTEL_EXPORTER_OTLP_HEADERS": "", "OTEL_TRACES_EXPORTER": "", "LOG_DIR": "", "SESSION_ID": "", "AWS_SESSION_TOKEN": "", "GOMAXPROCS": "", "SSL_CERT_FILE": "",
	} {
		got := ""
		for _, n := range mustLoad(t, nil, name+"=9h").Notes {
			got += n.Want
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestFileTooLarge(t *testing.T) {
	_, err := LoadFiles("config", map[string][]byte{PDPFile: []byte(strings.Repeat("#", maxFileBytes+1))}, nil)
	if err == nil || !strings.Contains(err.Error(), "at most 1048576") {
		t.Errorf("got %v", err)
	}
}

func TestNestedTooDeeply(t *testing.T) {
	for _, text := range []string{strings.Repeat("[", maxFileBytes), strings.Repeat("{a: ", 1000), strings.Repeat("- ", 2000)} {
		if _, err := LoadFiles("config", map[string][]byte{PDPFile: []byte(text)}, nil); err == nil {
			t.Errorf("%.20s… was accepted", text)
		}
	}
}

// Every key can be given, and every group says what it is.
func TestEveryKeyIsDescribed(t *testing.T) {
	for _, r := range roots {
		walkFields(r.typ, "", func(path string, f field) {
			if f.key == "" || f.doc == "" || !strings.HasSuffix(f.doc, ".") {
				t.Errorf("%s %s: a key needs a name and a sentence", r.name, path)
			}
			if f.url == "" && (f.typ == typeURL) {
				t.Errorf("%s: which kind of URL?", path)
			}
		})
		setDefaults(reflect.New(r.typ).Elem()) // panics on a default that does not parse
	}
}

// The variables of the reference are all read, and each by one key.
func TestVariables(t *testing.T) {
	seen := make(map[string]string)
	walkFields(reflect.TypeFor[Settings](), "", func(path string, f field) {
		for _, name := range f.envs {
			if other, dup := seen[name]; dup {
				t.Errorf("%s is read by %s and %s", name, other, path)
			}
			seen[name] = path
		}
	})
	for _, name := range strings.Fields(`HOST PORT BFF_ADMIN_ADDR OIDC_ISSUER OIDC_AUTHORIZATION_URL OIDC_TOKEN_URL AUTH_CLIENT_ID
		AUTH_CLIENT_SECRET MS_BFF_TOKEN_AUTH_METHOD OIDC_SCOPES BFF_JWT_SIGNING_KEY BFF_KEYS_DIR KEYS_DIR AUTO_KEY_ROTATION
		TOKEN_HASH_SALT UA_HASH_SALT CSRF_SECRET_KEY STATE_TOKEN_KEY REDIS_URL BFF_DATA_DIR BFF_COOKIE_DOMAIN BFF_COOKIE_SECURE
		BFF_COOKIE_SAMESITE SESSION_LIFETIME BFF_DYNAMIC_CALLBACK BFF_CALLBACK_URL BFF_DEFAULT_HOST BFF_DEFAULT_SCHEME
		BFF_ALLOWED_REDIRECT_HOSTS BFF_TRUSTED_PROXIES CORS__ALLOW_ORIGINS MS_BFF_PAR_ENABLED MS_BFF_DPOP_ENABLED MS_BFF_JAR_ENABLED
		MS_BFF_JARM_ENABLED MS_BFF_AUTHZ_ENABLED LOG_LEVEL LOG_FORMAT OTEL_EXPORTER_OTLP_ENDPOINT KAFKA_BOOTSTRAP_SERVERS
		BFF_SECRETS_DIR SESSION_IDLE_TIMEOUT SESSION_KEY BFF_ADMIN_TOKEN_FILE`) {
		if seen[name] == "" {
			t.Errorf("%s is not read", name)
		}
	}
}

func TestProviderAlias(t *testing.T) {
	env := []string{"OIDC_ISSUER=https://id.example.com", "AUTH_CLIENT_ID=x", "BFF_DEFAULT_HOST=a.example.com"}
	if cfg := mustLoad(t, nil, env...); cfg.OIDC.Provider != "oidc" {
		t.Errorf("alone: %s", cfg.OIDC.Provider)
	}
	idps := map[string]string{IdPsFile: "idps: [{name: main, issuer: https://id.example.com}]\n"}
	if cfg := mustLoad(t, idps, env...); cfg.OIDC.Provider != "main" {
		t.Errorf("with idps.yaml: %s", cfg.OIDC.Provider)
	}
}

func TestOwnPath(t *testing.T) {
	for path, want := range map[string]bool{
		"/auth/login": true, "/auth": true, "/health": true, "/health/live": true, "/.well-known/jwks.json": true,
		"/api/auth/session": true, "/api/v1/health": true, "/api/notes": false, "/healthy": false, "/Auth/login": false, "/": false,
	} {
		if got := OwnPath(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// A bearer route needs somebody whose tokens it accepts, and a token that is for
// us.
func TestBearerRoutes(t *testing.T) {
	routes := "services: {s: {base_url: 'https://s.internal'}}\nroutes: [{path: /m2m, target_service: s, auth: bearer}]\n"
	const main = "idps:\n  - {name: main, issuer: https://id.example.com, audience: keyway-api}\n"
	for name, idps := range map[string]string{"no idps.yaml": "", "no audience": "idps: [{name: main, issuer: https://id.example.com}]\n"} {
		files := map[string][]byte{RoutesFile: []byte(routes)}
		if idps != "" {
			files[IdPsFile] = []byte(idps)
		}
		if _, err := LoadFiles("config", files, nil); err == nil || !strings.Contains(err.Error(), "routes[0].auth: a bearer route, and no provider whose tokens are accepted") {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg := mustLoad(t, map[string]string{RoutesFile: routes, IdPsFile: main})
	if len(cfg.Notes) != 0 {
		t.Errorf("notes: %v", cfg.Notes)
	}
	cfg = mustLoad(t, map[string]string{RoutesFile: routes, IdPsFile: main + "  - {name: other, issuer: https://other.example.com}\n"})
	if len(cfg.Notes) != 1 || !strings.Contains(cfg.Notes[0].Error(), `idps.yaml:3:5: idps[1].audience: missing: bearer routes accept no tokens of "other"`) {
		t.Errorf("notes: %v", cfg.Notes)
	}
}
