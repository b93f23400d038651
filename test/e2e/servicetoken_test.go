package e2e

import (
	"sync"
	"testing"

	"keyway/internal/testkit/realidp"
)

// An API that is called in the gateway's own name gets a token for itself, by
// client credentials, which is used again and never the user's.
func TestServiceToken(t *testing.T) {
	w := newWorld(t, setup{
		Method: "private_key_jwt",
		Grants: []string{"authorization_code", "refresh_token", "client_credentials"},
		IdP:    realidp.Options{JWTAudience: "urn:api", JWTScope: "notes:read"},
	})
	w.Env["BFF_CONFIG_DIR"] = folderWith(t, "routes.yaml", `
services:
  api: {base_url: "`+w.API.URL+`"}
routes:
  - {id: notes, path: /api/notes, target_service: api, upstream_path: /notes, methods: [GET], auth: session}
  - id: service
    path: /api/service
    target_service: api
    upstream_path: /echo
    methods: [GET]
    auth: session
    token_policy: {mode: service_token, audience: "urn:api", scopes: ["notes:read"]}
  - id: other
    path: /api/other
    target_service: api
    upstream_path: /echo
    methods: [GET]
    auth: session
    token_policy: {mode: service_token, audience: "urn:other"}
`)
	b := w.signedIn(t, w.serve(t, nil))
	wantStatus(t, b.Get(t, "/api/notes"), 200)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if a, err := b.Try("GET", "/api/service", ""); err != nil || a.StatusCode != 200 {
				t.Errorf("%v %s", err, a.Text)
			}
		})
	}
	all.Wait()
	tokens := w.API.distinctTokens()
	if len(tokens) != 2 || !aJWT.MatchString(tokens[1]) {
		t.Errorf("%d different tokens arrived, want the user's and the gateway's", len(tokens))
	}
	if got := w.API.lastHeader().Get("X-User-Id"); got != "ada" {
		t.Errorf("X-User-ID: %q", got)
	}
	asked := 0
	for _, r := range w.IdP.Requests(t, "/token") {
		if r.Body["grant_type"] == "client_credentials" {
			asked++
		}
	}
	if asked != 1 {
		t.Errorf("the provider was asked %d times", asked)
	}
	// None to be had: the API is not called without.
	w.API.forget()
	w.IdP.Behave(t, "/token", 0, 500)
	wantProblem(t, b.Get(t, "/api/other"), 502, "upstream_auth_failed")
	if got := w.API.lastArrival(); got.Method != "" {
		t.Errorf("the API saw %+v", got)
	}
}
