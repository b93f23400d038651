package docs

import (
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/testkit/child"
	"keyway/internal/testkit/parts"
	"keyway/internal/testkit/ports"
	"keyway/test/e2e"
)

// Behind the nginx of the how-to, with nginx trusted as it says, somebody signs
// in and out. The gateway assumes https, so that it is nginx's word that counts.
func TestBehindTheNginxOfTheHowTo(t *testing.T) {
	nginx := parts.Need(t, parts.Nginx)[0]
	port := ports.Reserve(t, 1)
	host := fmt.Sprint("127.0.0.1:", port)
	provider := idptest.Start(t, idp.Options{Clients: []idp.Client{{
		ID: "my-app", Secrets: []string{"made-up-for-this-test"}, RedirectURIs: []string{"http://" + host + "/auth/callback"},
	}}})
	gateway := e2e.Start(t, e2e.Env{
		"OIDC_ISSUER": provider.URL, "AUTH_CLIENT_ID": "my-app", "AUTH_CLIENT_SECRET": "made-up-for-this-test",
		"BFF_DYNAMIC_CALLBACK": "true", "BFF_ALLOWED_REDIRECT_HOSTS": host, "BFF_DEFAULT_SCHEME": "https",
		"BFF_TRUSTED_PROXIES": "127.0.0.1", "BFF_COOKIE_SECURE": "false",
		"TOKEN_HASH_SALT": salt("a"), "UA_HASH_SALT": salt("b"), "CSRF_SECRET_KEY": salt("c"), "STATE_TOKEN_KEY": salt("d"),
	}, "serve")

	d := read(t, "docs/how-to/behind-a-proxy.md")
	i := slices.IndexFunc(d.blocks, func(b block) bool { return b.lang == "nginx" })
	servers := strings.ReplaceAll(d.blocks[i].text, "http://127.0.0.1:8000", gateway.URL)
	dir := t.TempDir()
	front := e2e.Process{Process: child.Start(t, exec.Command(nginx, "-c", nginxConf(t, dir, servers, port), "-p", dir)), URL: "http://" + host}
	front.WaitReady(t)

	b := e2e.NewBrowser(front.URL)
	b.SignIn(t, "ada", "/auth/session")
	if !b.SignedIn(t) {
		t.Fatal("not signed in through nginx")
	}
	csrf := b.CSRF(t)
	if a := b.Do(t, "POST", "/auth/logout", "", "X-CSRF-Token", csrf, "Origin", "https://"+host); a.StatusCode != http.StatusForbidden {
		t.Errorf("another scheme is another origin: %s", a.Status)
	}
	if a := b.Do(t, "POST", "/auth/logout", "", "X-CSRF-Token", csrf, "Origin", front.URL); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the page's own origin is refused: %s %s", a.Status, a.Text)
	}
	if b.SignedIn(t) {
		t.Error("still signed in")
	}
}

// salt is a value that passes for random.
func salt(first string) string { return first + "0123456789-abcdefghijklmnopqrstuvwxyz" }
