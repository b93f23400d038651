package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A link that leads nowhere is no optional file that was left out: a gateway
// without its routes would start, and say nothing.
func TestALinkToNothingIsNotAnAbsentFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, RoutesFile)
	if err := os.Symlink(filepath.Join(dir, "gone"), path); err != nil {
		t.Fatal(err)
	}
	_, err := Load(Options{Dir: dir})
	inv, ok := errors.AsType[*InvalidError](err)
	if !ok || len(inv.Problems) != 1 || inv.Problems[0].File != path {
		t.Fatalf("got %v, want one problem with %s", err, path)
	}
	if err := os.WriteFile(filepath.Join(dir, "gone"), []byte("routes: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg, err := Load(Options{Dir: dir}); err != nil || len(cfg.Files) != 1 {
		t.Errorf("a link to a file: %v", err)
	}
}

func TestAByteOrderMarkIsNoPartOfAKey(t *testing.T) {
	cfg := mustLoad(t, map[string]string{SettingsFile: "\ufeffserver:\r\n  port: 9000\r\n"})
	if cfg.Server.Port != 9000 {
		t.Errorf("port %d", cfg.Server.Port)
	}
}

func TestAQueryInARoutesPathIsNoted(t *testing.T) {
	const services = "services: {a: {base_url: \"https://a.internal\"}}\nroutes:\n"
	for path, noted := range map[string]bool{"/a?x=1": true, "/a#b": true, "/a/{b}": false} {
		cfg := mustLoad(t, map[string]string{RoutesFile: services + "  - {path: \"" + path + "\", target_service: a, auth: none}\n"})
		if got := len(cfg.Notes) == 1 && cfg.Notes[0].Key == "routes[0].path" && cfg.Notes[0].Line == 3; got != noted {
			t.Errorf("%s: notes %v", path, cfg.Notes)
		}
	}
}

// Strict cookies arrive after a sign-in, too, so there is nothing to be told of them.
func TestStrictCookiesAreNotNoted(t *testing.T) {
	environ := []string{"OIDC_ISSUER=https://id.example.com", "AUTH_CLIENT_ID=x", "BFF_CALLBACK_URL=https://app.example.com/auth/callback"}
	for _, sameSite := range []string{"Lax", "Strict"} {
		if cfg := mustLoad(t, nil, append(environ, "BFF_COOKIE_SAMESITE="+sameSite)...); len(cfg.Notes) != 0 {
			t.Errorf("%s: %v", sameSite, cfg.Notes)
		}
	}
}
