package app

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/verify"
)

// Whoever reaches the admin listener, and whatever page a browser on this machine
// shows, can ask to be refused as often as he likes. The record must not grow by it.
func TestWhoIsRefusedDoesNotFillTheRecord(t *testing.T) {
	provider := idptest.Start(t, idp.Options{Clients: []idp.Client{{
		ID: "gateway", Secrets: []string{"a-client-secret-of-the-test"}, GrantTypes: []string{idp.GrantCode}, Scopes: []string{"openid"},
		RedirectURIs: []string{"http://127.0.0.1:1/auth/callback"}, AuthMethods: []string{idp.AuthSecretBasic},
	}}})
	gateway, c := start(t, options(t, env(t, map[string]string{
		"OIDC_ISSUER": provider.URL, "AUTH_CLIENT_ID": "gateway", "AUTH_CLIENT_SECRET": "a-client-secret-of-the-test", "BFF_COOKIE_SECURE": "false",
		"MS_BFF_TOKEN_AUTH_METHOD": "client_secret_basic", "BFF_CALLBACK_URL": "http://127.0.0.1:1/auth/callback",
		"BFF_ADMIN_ROLE": "admin", "BFF_ADMIN_TOKEN_FILE": newTokenFile(t),
	}), managed, "")), client(t)
	for i := range 10 * refusalsAtOnce {
		if status, _ := get(c, fmt.Sprintf("%s/console/callback?code=x&state=%d", gateway.Admin, i)); status != http.StatusBadRequest {
			t.Fatalf("found %d", status)
		}
	}
	refused := func() int {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, gateway.Admin+"/admin/v1/audit?most=500", nil)
		r.Header.Set("Authorization", "Bearer correct-horse-battery-staple-0123456789")
		answer, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		page, _ := io.ReadAll(answer.Body)
		return strings.Count(string(page), `\"type\":\"admin.refused\"`)
	}
	until(t, "those that are recorded are there", func() bool { return refused() >= refusalsAtOnce })
	if n := refused(); n != refusalsAtOnce {
		t.Errorf("%d are in the record, expected %d", n, refusalsAtOnce)
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	var r refusals
	now := time.Now()
	passed, before := 0, 0
	for range 100 {
		if ok, n := r.pass(now); ok {
			passed, before = passed+1, before+n
		}
	}
	if passed != refusalsAtOnce || before != 0 {
		t.Errorf("%d passed, %d before", passed, before)
	}
	if ok, n := r.pass(now.Add(refusalEvery)); !ok || n != 100-refusalsAtOnce {
		t.Errorf("later: %v, and %d before", ok, n)
	}
	if ok, n := r.pass(now.Add(2 * refusalEvery)); !ok || n != 0 {
		t.Errorf("later still: %v, and %d before", ok, n)
	}
}

// What stays refused is not asked for as if the answer would change: to a provider we
// look like somebody who guesses.
func TestWhatStaysRefusedIsAskedSeldom(t *testing.T) {
	w := &turned{active: "k2", fails: map[string]int{}}
	refused := verify.Report{Checks: []verify.Check{{ID: "credentials.x", Definite: true, Blames: "k2"}}}
	for i, soon := range []bool{true, false, false} {
		if got := w.count(refused); got != soon {
			t.Errorf("after %d: soon %v", i+1, got)
		}
	}
}
