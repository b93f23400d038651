package app

import (
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/testkit/logbuffer"
	"keyway/internal/verify"
)

// logTo is a log of everything, for Options.
func logTo(b *logbuffer.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// A client secret that was forgotten shows in the first lines, and is what a check of
// the refused credential says first.
func TestHowWeAuthenticateIsTold(t *testing.T) {
	const clientSecret = "a-client-secret-of-the-test"
	provider := idptest.Start(t, idp.Options{Clients: []idp.Client{{
		ID: "gateway", Secrets: []string{clientSecret}, GrantTypes: []string{idp.GrantCode}, RedirectURIs: []string{"http://127.0.0.1:1/auth/callback"},
	}}})
	for name, c := range map[string]struct {
		changes map[string]string
		want    string // in the line
		cause   string // in the check; empty: it is good
	}{
		"forgotten": {nil, "private_key_jwt, because no client secret is handed in (AUTH_CLIENT_SECRET)",
			"we authenticate by private_key_jwt, because no client secret is handed in (AUTH_CLIENT_SECRET); nobody has fetched our JWKS"},
		"there": {map[string]string{"AUTH_CLIENT_SECRET": clientSecret}, "client_secret_basic, because a client secret is handed in (AUTH_CLIENT_SECRET)", ""},
		"wrong": {map[string]string{"AUTH_CLIENT_SECRET": "another-secret-of-the-test"}, "client_secret_basic, because a client secret is handed in (AUTH_CLIENT_SECRET)",
			"we authenticate by client_secret_basic, because a client secret is handed in (AUTH_CLIENT_SECRET); the client secret of"},
		"set": {map[string]string{"MS_BFF_TOKEN_AUTH_METHOD": "private_key_jwt"}, "private_key_jwt, as configured (oidc.token_auth_method)", "nobody has fetched our JWKS"},
	} {
		t.Run(name, func(t *testing.T) {
			var log logbuffer.Buffer
			changes := map[string]string{
				"OIDC_ISSUER": provider.URL, "AUTH_CLIENT_ID": "gateway", "BFF_CALLBACK_URL": "http://127.0.0.1:1/auth/callback", "BFF_COOKIE_SECURE": "false",
			}
			maps.Copy(changes, c.changes)
			o := options(t, env(t, changes), managed, "")
			o.Log = logTo(&log)
			gateway := start(t, o)
			if said := log.String(); strings.Count(said, "how we authenticate") != 1 || !strings.Contains(said, "level=INFO msg=\"how we authenticate at the identity provider\"") || !strings.Contains(said, c.want) {
				t.Errorf("want %s in:\n%s", c.want, said)
			}
			if strings.Contains(log.String(), clientSecret) {
				t.Error("the secret is in the log")
			}
			check := checkOf(t, gateway, "credentials.sign-in")
			if check.OK != (c.cause == "") || !strings.HasPrefix(check.Cause, c.cause) {
				t.Errorf("got %+v", check)
			}
		})
	}
}

// checkOf goes through the checklist, and returns what one check came to.
func checkOf(t *testing.T, gateway *running, id string) verify.Check {
	t.Helper()
	request, err := http.NewRequest("POST", gateway.Admin+"/admin/v1/verify", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client(t).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var report verify.Report
	if err := json.NewDecoder(response.Body).Decode(&report); err != nil {
		t.Fatal(err)
	}
	for _, check := range report.Checks {
		if check.ID == id {
			return check
		}
	}
	t.Fatalf("no check %s: %d %+v", id, response.StatusCode, report)
	return verify.Check{}
}

// A mistyped issuer, at whose address somebody answers, is not an absent provider.
func TestAWrongIssuerIsNotAnAbsentProvider(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	var log logbuffer.Buffer
	o := options(t, env(t, map[string]string{
		"OIDC_ISSUER": server.URL + "/realms/x", "AUTH_CLIENT_ID": "me", "BFF_CALLBACK_URL": "http://127.0.0.1:1/auth/callback",
	}), managed, "")
	o.Log = logTo(&log)
	start(t, o)
	said := log.String()
	for _, word := range []string{"level=WARN", "answers, but has no metadata at " + server.URL + "/realms/x/.well-known/openid-configuration", "404", "is OIDC_ISSUER (oidc.issuer) exactly its issuer?"} {
		if !strings.Contains(said, word) {
			t.Errorf("not said: %s\n%s", word, said)
		}
	}
	if strings.Contains(said, "can't be reached") {
		t.Errorf("it was reached:\n%s", said)
	}
}

// A provider that dies while the gateway serves is told of in the health, which it
// does not decide.
func TestAProviderThatDiedIsToldOf(t *testing.T) {
	var died atomic.Bool
	hooks := &idp.Hooks{Before: func(w http.ResponseWriter, _ *http.Request) bool {
		if died.Load() {
			w.WriteHeader(http.StatusBadGateway) // as the proxy in front of it says
		}
		return died.Load()
	}}
	provider := idptest.Start(t, idp.Options{Hooks: hooks, Clients: []idp.Client{{
		ID: "gateway", Secrets: []string{"a-client-secret-of-the-test"}, GrantTypes: []string{idp.GrantCode}, RedirectURIs: []string{"http://127.0.0.1:1/auth/callback"},
	}}})
	gateway, c := start(t, options(t, env(t, map[string]string{
		"OIDC_ISSUER": provider.URL, "AUTH_CLIENT_ID": "gateway", "AUTH_CLIENT_SECRET": "a-client-secret-of-the-test", "BFF_COOKIE_SECURE": "false",
		"BFF_CALLBACK_URL": "http://127.0.0.1:1/auth/callback",
	}), managed, "")), client(t)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	signIn := func(want int) {
		t.Helper()
		if status, body := get(c, gateway.Public+"/auth/login"); status != want {
			t.Errorf("sign-in: %d %s", status, body)
		}
	}
	ready := func(want string) {
		t.Helper()
		if status, body := get(c, gateway.Public+"/health/ready"); status != 200 || !strings.Contains(body, `"sign_in":"`+want+`"`) {
			t.Errorf("want %s: %d %s", want, status, body)
		}
	}
	signIn(303)
	ready("ok")
	died.Store(true)
	signIn(503)
	ready("ok") // one is a hiccup
	signIn(503)
	ready("unavailable")
	died.Store(false)
	until(t, "it is found to be back, though nobody signs in", func() bool {
		_, body := get(c, gateway.Public+"/health/ready")
		return strings.Contains(body, `"sign_in":"ok"`)
	})
}
