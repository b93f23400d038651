package app

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	testports "keyway/internal/testkit/ports"
)

func TestHasRole(t *testing.T) {
	var claims map[string]any
	if err := json.Unmarshal([]byte(`{"roles":["editor","admin"],"scope":"a keyway b","realm_access":{"roles":["deep"]},"https://x.example/roles":["named"],"one":"keyway-admin","n":7,"mixed":[1,null,"m"],"o":{"p":"q"}}`), &claims); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		claim, role string
		want        bool
	}{
		{"roles", "admin", true}, {"roles", "adm", false}, {"roles", "", false}, {"roles", "Admin", false},
		{"scope", "keyway", true}, {"scope", "keyway b", false}, {"one", "keyway-admin", true}, {"one", "admin", false},
		{"realm_access.roles", "deep", true}, {"realm_access", "deep", false}, {"realm_access.roles.more", "deep", false},
		{"https://x.example/roles", "named", true}, {"missing", "x", false}, {"missing.x", "x", false}, {"n", "7", false}, {"mixed", "m", true}, {"o.p", "q", true},
	} {
		if got := hasRole(claims, c.claim, c.role); got != c.want {
			t.Errorf("%s, %s: %v", c.claim, c.role, got)
		}
	}
	if hasRole(nil, "roles", "admin") {
		t.Error("no claims, and a role")
	}
}

// Who has the role at the provider comes in to the console, and is named in the
// record; who has not is told so.
func TestSignInToTheConsoleThroughTheProvider(t *testing.T) {
	const clientSecret = "a-client-secret-of-the-test"
	port := testports.Reserve(t, 1)
	console := fmt.Sprintf("http://127.0.0.1:%d", port)
	provider := idptest.Start(t, idp.Options{Clients: []idp.Client{{
		ID: "gateway", Secrets: []string{clientSecret}, GrantTypes: []string{idp.GrantCode}, Scopes: []string{"openid", "profile", "email"},
		RedirectURIs: []string{"http://127.0.0.1:1/auth/callback", console + "/console/callback"}, AuthMethods: []string{idp.AuthSecretBasic},
	}}})
	token := newTokenFile(t)
	gateway := start(t, options(t, env(t, map[string]string{
		"OIDC_ISSUER": provider.URL, "AUTH_CLIENT_ID": "gateway", "AUTH_CLIENT_SECRET": clientSecret, "BFF_COOKIE_SECURE": "false",
		"MS_BFF_TOKEN_AUTH_METHOD": "client_secret_basic", "BFF_CALLBACK_URL": "http://127.0.0.1:1/auth/callback",
		"BFF_ADMIN_ADDR": strings.TrimPrefix(console, "http://"), "BFF_ADMIN_ROLE": "admin", "BFF_ADMIN_TOKEN_FILE": token,
	}), managed, ""))

	t.Run("ada, who has it", func(t *testing.T) {
		b := idptest.NewBrowser(&http.Transport{})
		// By another name of this machine: the cookie has to be where the callback is.
		page, err := b.SignIn(t.Context(), strings.Replace(console, "127.0.0.1", "localhost", 1)+"/console/begin", "ada", "demo")
		if err != nil {
			t.Fatal(err)
		}
		if page.Status != 200 || !strings.Contains(string(page.Body), "You are signed in") {
			t.Fatalf("%d %s", page.Status, page.Body)
		}
		at, _ := url.Parse(console)
		var names []string // those of the provider, which is on this host too, are its own
		for _, c := range b.Client.Jar.Cookies(at) {
			names = append(names, c.Name)
		}
		if all := strings.Join(names, " "); !strings.Contains(all, "keyway_console") || strings.Contains(all, "bff_") {
			t.Errorf("cookies: %s", all)
		}
		if page, err = b.Get(t.Context(), console+"/"); err != nil || !strings.Contains(string(page.Body), "Sign out") {
			t.Errorf("%v, %s", err, page.Body)
		}
		r, _ := http.NewRequestWithContext(t.Context(), "POST", console+"/admin/v1/rotations", strings.NewReader(`{"secrets":["csrf-key"]}`))
		r.Header.Set("Content-Type", "application/json")
		answer, err := b.Client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if body, _ := io.ReadAll(answer.Body); answer.StatusCode != 202 || !strings.Contains(string(body), `"asked_by":"console, ada`) {
			t.Errorf("%d %s", answer.StatusCode, body)
		}
	})
	t.Run("grace, who has not", func(t *testing.T) {
		b := idptest.NewBrowser(&http.Transport{})
		page, err := b.SignIn(t.Context(), console+"/console/begin", "grace", "demo")
		if err != nil {
			t.Fatal(err)
		}
		if page.Status != 403 || !strings.Contains(string(page.Body), "lack the role admin") {
			t.Errorf("%d %s", page.Status, page.Body)
		}
		if page, _ = b.Get(t.Context(), console+"/admin/v1/status"); page.Status != 401 {
			t.Errorf("found %d", page.Status)
		}
	})
	t.Run("a sign-in that was begun at the site", func(t *testing.T) {
		b := idptest.NewBrowser(&http.Transport{})
		b.StopAt("http://127.0.0.1:1/")
		page, err := b.SignIn(t.Context(), gateway.Public+"/auth/login?return_to=/console/", "ada", "demo")
		if err != nil || page.Next == nil {
			t.Fatalf("%v %+v", err, page)
		}
		page, err = b.Get(t.Context(), console+"/console/callback?"+page.Next.RawQuery)
		if err != nil || page.Status != 400 || !strings.Contains(string(page.Body), "not begun at the console") {
			t.Errorf("%v %d %s", err, page.Status, page.Body)
		}
		if page, _ = b.Get(t.Context(), console+"/admin/v1/status"); page.Status != 401 {
			t.Errorf("found %d", page.Status)
		}
	})
	t.Run("an answer that nobody asked for", func(t *testing.T) {
		b := idptest.NewBrowser(&http.Transport{})
		page, err := b.Get(t.Context(), console+"/console/callback?code=x&state=y")
		if err != nil || page.Status != 400 || !strings.Contains(string(page.Body), "Sign in again") {
			t.Errorf("%v %d %s", err, page.Status, page.Body)
		}
	})
}

func newTokenFile(t *testing.T) string {
	t.Helper()
	path := t.TempDir() + "/token"
	if err := os.WriteFile(path, []byte("correct-horse-battery-staple-0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
