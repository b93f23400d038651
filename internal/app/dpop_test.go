package app

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/testkit/boundapi"
	"keyway/internal/testkit/logbuffer"
	"keyway/internal/threat"
)

// boundWorld is an IdP that binds tokens, an API that wants proofs of them, and the
// environment of a gateway between the two.
func boundWorld(t *testing.T, o idp.Options) (provider *idptest.Server, api *boundapi.API, environ map[string]string, routes string) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	_, port, _ := net.SplitHostPort(at)
	free.Close()
	const clientSecret = "a-client-secret-of-the-test"
	o.Clients = []idp.Client{{
		ID: "gateway", Secrets: []string{clientSecret}, DPoPBound: true,
		GrantTypes:   []string{idp.GrantCode, idp.GrantRefresh, idp.GrantClientCredentials},
		RedirectURIs: []string{"http://" + at + "/auth/callback"},
	}}
	provider = idptest.Start(t, o)
	api = boundapi.Start(t, nil)
	environ = env(t, map[string]string{
		"PORT": port, "BFF_COOKIE_SECURE": "false", "MS_BFF_DPOP_ENABLED": "true", "MS_BFF_JARM_ENABLED": "true",
		"OIDC_ISSUER": provider.URL, "AUTH_CLIENT_ID": "gateway", "AUTH_CLIENT_SECRET": clientSecret,
		"MS_BFF_TOKEN_AUTH_METHOD": "client_secret_basic", "BFF_CALLBACK_URL": "http://" + at + "/auth/callback",
	})
	return provider, api, environ, "services: {api: {base_url: \"" + api.URL + "/v1\"}}\nroutes:\n" +
		"  - {id: mine, path: /mine, target_service: api, auth: session}\n" +
		"  - {id: service, path: /service, target_service: api, auth: session, token_policy: {mode: service_token, scopes: [profile]}}\n"
}

// A compromised key is taken out of use at once: what is bound to it is renewed before
// it is used again, and whoever is signed in stays so.
func TestBoundTokens(t *testing.T) {
	threat.Covers(t, 10, 64)
	provider, api, environ, routes := boundWorld(t, idp.Options{})
	gateway := start(t, options(t, environ, managed+"rotation: {guard: 1s, skew: 100ms}\n", routes))
	browser := idptest.NewBrowser(nil)
	page, err := browser.SignIn(t.Context(), gateway.Public+"/auth/login?return_to=/mine", "ada", "demo")
	if err != nil || page.Status != http.StatusOK {
		t.Fatalf("%v %+v", err, page)
	}
	get := func(path string) boundapi.Call {
		t.Helper()
		page, err := browser.Get(t.Context(), gateway.Public+path)
		if err != nil || page.Status != http.StatusOK {
			t.Fatalf("%s: %v %d %s", path, err, page.Status, page.Body)
		}
		calls := api.Calls()
		return calls[len(calls)-1]
	}
	first, service := get("/mine"), get("/service")
	if first.JKT == "" || service.JKT != first.JKT || service.Token == first.Token || first.Path != "/v1/mine" {
		t.Errorf("%+v\n%+v", first, service)
	}
	report := post(t, client(t), gateway.Admin, `{}`)
	proved := false
	for _, c := range report.Checks {
		proved = proved || c.ID == "issued.dpop-key" && c.OK && !c.Skipped
		if !c.OK && !c.Skipped && !strings.HasPrefix(c.ID, "jwks.") {
			t.Errorf("with tokens that are bound the check %s fails: %s", c.ID, c.Saw)
		}
	}
	if !proved {
		t.Errorf("the key of proofs is not checked: %+v", report.Checks)
	}
	turn := func(how string) {
		t.Helper()
		req, _ := http.NewRequest(http.MethodPost, gateway.Admin+"/admin/v1/rotations", strings.NewReader(`{"secrets":["dpop-key"],"compromised":`+how+`}`))
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil || res.StatusCode != http.StatusAccepted {
			t.Fatalf("%v %v", err, res)
		}
		res.Body.Close()
	}
	turn("true")
	deadline := time.Now().Add(patience)
	second := get("/mine")
	for ; second.JKT == first.JKT && time.Now().Before(deadline); second = get("/mine") {
		time.Sleep(50 * time.Millisecond)
	}
	if second.JKT == first.JKT || second.Token == first.Token {
		t.Errorf("a token that is bound to the compromised key is used: %+v", second)
	}
	refreshes := 0
	for _, s := range provider.Seen(idp.EndpointToken) {
		if s.Form.Get("grant_type") == idp.GrantRefresh {
			refreshes++
		}
	}
	if refreshes != 1 {
		t.Errorf("refreshed %d times", refreshes)
	}
}

// What is demanded and not offered is told at the start, and nobody signs in.
func TestBindingIsNotOffered(t *testing.T) {
	_, _, environ, routes := boundWorld(t, idp.Options{Hooks: &idp.Hooks{Discovery: func(doc map[string]any) {
		delete(doc, "dpop_signing_alg_values_supported")
	}}})
	var log logbuffer.Buffer
	o := options(t, environ, managed, routes)
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	gateway := start(t, o)
	if said := log.String(); !strings.Contains(said, "dpop_signing_alg_values_supported") || !strings.Contains(said, "does not offer what the configuration demands") {
		t.Errorf("at the start the log says:\n%s", said)
	}
	page, err := idptest.NewBrowser(nil).Get(t.Context(), gateway.Public+"/auth/login")
	if err != nil || page.Status != http.StatusBadGateway || !strings.Contains(string(page.Body), "idp_failed") {
		t.Errorf("sign-in: %v %+v", err, fmt.Sprint(page.Status, string(page.Body)))
	}
}
