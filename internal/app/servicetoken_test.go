package app

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
)

// A route with a service token gets one from the IdP, as the client that the
// gateway is, and the upstream sees it.
func TestServiceTokens(t *testing.T) {
	const clientSecret = "a-client-secret-of-the-test"
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	_, port, _ := net.SplitHostPort(at)
	free.Close()
	provider := idptest.Start(t, idp.Options{Clients: []idp.Client{{
		ID: "gateway", Secrets: []string{clientSecret},
		GrantTypes:   []string{idp.GrantCode, idp.GrantRefresh, idp.GrantClientCredentials},
		RedirectURIs: []string{"http://" + at + "/auth/callback"},
		Scopes:       []string{"openid", "profile", "email", "files:read"}, Audiences: []string{"files"},
	}}})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Authorization"))
	}))
	defer upstream.Close()

	environ := env(t, map[string]string{
		"PORT": port, "BFF_COOKIE_SECURE": "false",
		"OIDC_ISSUER": provider.URL, "AUTH_CLIENT_ID": "gateway", "AUTH_CLIENT_SECRET": clientSecret,
		"MS_BFF_TOKEN_AUTH_METHOD": "client_secret_basic", "BFF_CALLBACK_URL": "http://" + at + "/auth/callback",
	})
	gateway := start(t, options(t, environ, managed, "services: {files: {base_url: \""+upstream.URL+"\"}}\nroutes:\n"+
		"  - {id: files, path: /files, target_service: files, auth: session, token_policy: {mode: service_token, audience: files, scopes: [\"files:read\"]}}\n"+
		"  - {id: mine, path: /mine, target_service: files, auth: session}\n"))
	browser := idptest.NewBrowser(nil)
	page, err := browser.SignIn(t.Context(), gateway.Public+"/auth/login?return_to=/mine", "ada", "demo")
	if err != nil {
		t.Fatal(err)
	}
	users := string(page.Body)
	if !strings.HasPrefix(users, "Bearer ey") {
		t.Fatalf("with the session's token the upstream saw %q", users)
	}
	page, err = browser.Get(t.Context(), gateway.Public+"/files")
	if err != nil {
		t.Fatal(err)
	}
	if services := string(page.Body); page.Status != 200 || !strings.HasPrefix(services, "Bearer ey") || services == users {
		t.Errorf("the upstream saw %d %q, want a token, and not the user's", page.Status, services)
	}
}
