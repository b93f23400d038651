package e2e

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"keyway/internal/testkit/boundapi"
	"keyway/internal/testkit/realidp"
	"keyway/internal/threat"
)

// All of FAPI 2.0 with Message Signing at once, at a provider that we did not write and
// that demands it: pushed and signed requests, signed responses, tokens bound to a key,
// nonces everywhere; and an API that reads each proof by the RFC. The key turns under a
// live session, and nobody notices.
func TestFAPI(t *testing.T) {
	threat.Covers(t, 10, 21, 64)
	t.Parallel()
	w := newWorld(t, setup{
		Method: "private_key_jwt",
		IdP:    realidp.Options{FAPI: true, PAR: realidp.PARRequired, RotateRefreshToken: true, AccessTokenTTL: 20 * time.Second},
		Extra: map[string]any{
			"dpop_bound_access_tokens": true, "require_signed_request_object": true,
			"authorization_signed_response_alg": "ES256", "id_token_signed_response_alg": "ES256",
		},
		Env: Env{"MS_BFF_DPOP_ENABLED": "true", "MS_BFF_JAR_ENABLED": "true", "MS_BFF_JARM_ENABLED": "true", "MS_BFF_PAR_ENABLED": "true"},
	})
	api := boundapi.Start(t, func(token string) string { return w.IdP.BoundTo(t, token) })
	api.Demand("the-api's-first-nonce", false)
	dir := folderWith(t, "routes.yaml", `
services: {api: {base_url: "`+api.URL+`/v1"}}
routes:
  - {id: notes, path: /api/notes, target_service: api, upstream_path: /notes, methods: [GET, POST], auth: session}
`)
	write(t, dir+"/settings.yaml", quick)
	w.Env["BFF_CONFIG_DIR"] = dir
	gateway := w.serve(t, nil)
	b := w.browser(gateway)

	callback := b.ToCallback(t, "ada", "/api/notes")
	if q := mustURL(t, callback).Query(); len(q) != 1 || strings.Count(q.Get("response"), ".") != 2 {
		t.Errorf("the provider answered with %v, want a signed response alone", q)
	}
	if a := b.Get(t, callback); a.StatusCode != 303 {
		t.Fatalf("callback: %s %s; the gateway said:\n%s\nthe provider said:\n%s", a.Status, a.Text, gateway.Output(), w.IdP.Output())
	}
	for _, r := range w.IdP.Requests(t, "/request") {
		if r.Body["request"] == "" || r.Body["redirect_uri"] != "" || r.Body["state"] != "" {
			t.Errorf("pushed %v, want a signed object and nothing beside it", r.Body)
		}
	}
	for _, r := range w.IdP.Requests(t, "/auth") {
		if len(r.Query) != 2 || r.Query["client_id"] != clientID || r.Query["request_uri"] == "" {
			t.Errorf("the browser carried %v", r.Query)
		}
	}
	first := statusOf(t, gateway, "dpop-key").Active
	call := func(method, key string) boundapi.Call {
		t.Helper()
		body := ""
		if method == "POST" {
			body = `{"note":1}`
		}
		a := b.Do(t, method, "/api/notes?page=2", body, "X-CSRF-Token", b.CSRF(t), "DPoP", "what.a.client-sends")
		if a.StatusCode != 200 {
			t.Fatalf("%s: %s %s; the gateway said:\n%s", method, a.Status, a.Text, gateway.Output())
		}
		calls := api.Calls()
		last := calls[len(calls)-1]
		for _, c := range calls {
			w.ledger.add("an access token", c.Token)
		}
		if last.JKT != key || last.Path != "/v1/notes" {
			t.Errorf("the API was called with %+v, want a proof by %s", last, key)
		}
		return last
	}
	token := call("GET", first).Token
	api.Demand("another-nonce", false)
	if got := call("POST", first); got.Token != token || got.Nonce != "another-nonce" {
		t.Errorf("%+v", got)
	}

	// The key turns by the command line. What is bound to the old one goes on.
	code, out := Run(t, nil, "rotate", "dpop-key", "--admin", gateway.AdminURL)
	if code != 0 {
		t.Fatalf("rotate: exit code %d: %s\nthe gateway said:\n%s", code, out, gateway.Output())
	}
	second := awaitActive(t, "dpop-key", first, gateway)
	if got := call("GET", first); got.Token != token {
		t.Errorf("renewed too early for what this test shows: %+v", got)
	}
	// Until it is renewed: that binds it to the new one.
	soon(t, "the token is renewed, and bound to the new key", func() bool {
		a := b.Get(t, "/api/notes")
		calls := api.Calls()
		if a.StatusCode != 200 || len(calls) == 0 {
			t.Fatalf("%s %s; the gateway said:\n%s", a.Status, a.Text, gateway.Output())
		}
		for _, c := range calls {
			w.ledger.add("an access token", c.Token)
		}
		return calls[len(calls)-1].JKT == second && calls[len(calls)-1].Token != token
	})
	if status := version(statusOf(t, gateway, "dpop-key"), first); status.State != "retiring" {
		t.Errorf("the old version is %q, want that it is kept for as long as a session lives", status.State)
	}
	// Somebody new is bound to the new one, and the restarted gateway still knows both.
	gateway.Terminate(t)
	gateway = w.keep(gateway.Again(t))
	call("GET", second)
	if a := b.SignOut(t); a.StatusCode/100 != 3 || b.SignedIn(t) {
		t.Errorf("sign-out: %s", a.Status)
	}

	ids := map[string]bool{}
	refused := map[string]int{}
	for _, path := range []string{"/request", "/token", "/me"} {
		for _, r := range w.IdP.Requests(t, path) {
			if id := proofID(t, r.Proof); id == "" || ids[id] {
				t.Errorf("%s: the proof's jti %q is missing, or was there before", path, id)
			} else {
				ids[id] = true
			}
			if r.Status >= 400 {
				refused[path]++
			}
		}
	}
	// oidc-provider is one server: the nonce of the first refusal is good at all endpoints.
	if refused["/request"] > 2 || refused["/token"]+refused["/me"] > 2 {
		t.Errorf("refusals, by endpoint: %v; want one for each nonce that was not known", refused)
	}
	if jwks := NewBrowser(gateway.URL).Get(t, "/.well-known/jwks.json").Text; strings.Contains(jwks, first) || strings.Contains(jwks, second) {
		t.Error("the keys of proofs are published")
	}
}

// proofID is the jti of a proof.
func proofID(t testing.TB, proof string) string {
	t.Helper()
	parts := strings.Split(proof, ".")
	if len(parts) != 3 {
		return ""
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		ID string `json:"jti"`
	}
	_ = json.Unmarshal(raw, &claims)
	return claims.ID
}
