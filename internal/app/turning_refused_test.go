package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/testkit/leakhunt"
	"keyway/internal/testkit/logbuffer"
)

// A new client secret that the provider refuses is told of once, without its value; and
// when somebody gives it up, the record says who that was.
func TestARefusedClientSecretIsToldOfOnce(t *testing.T) {
	const clientSecret, wrong = "a-client-secret-of-the-test", "one-that-nobody-has-registered"
	leakhunt.Secret(t, "a client secret", clientSecret)
	leakhunt.Secret(t, "a client secret", wrong)
	provider := idptest.Start(t, idp.Options{Clients: []idp.Client{{
		ID: "gateway", Secrets: []string{clientSecret}, GrantTypes: []string{idp.GrantCode}, RedirectURIs: []string{"http://127.0.0.1:1/auth/callback"},
	}}})
	file := filepath.Join(t.TempDir(), "secret")
	write := func(value string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(clientSecret)
	var log logbuffer.Buffer
	o := options(t, env(t, map[string]string{
		"OIDC_ISSUER": provider.URL, "AUTH_CLIENT_ID": "gateway", "BFF_CALLBACK_URL": "http://127.0.0.1:1/auth/callback", "BFF_COOKIE_SECURE": "false",
		"AUTH_CLIENT_SECRET_FILE": file,
	}), managed+"rotation: {poll: 1s, skew: 0s}\n", "")
	o.Log = logTo(&log)
	gateway, c := start(t, o), client(t)

	const line = "the peer refuses a new value so far"
	asked := func() int {
		return provider.Stats().Of(idp.EndpointToken) + provider.Stats().Of(idp.EndpointIntrospection)
	}
	before := asked()
	write(wrong)
	until(t, "it is refused again and again", func() bool { return asked() >= before+3 && strings.Contains(log.String(), line) })
	said := log.String()
	if strings.Count(said, line) != 1 || strings.Contains(said, wrong) {
		t.Errorf("want it once, and no value:\n%s", said)
	}
	for _, told := range strings.Split(said, "\n") {
		if strings.Contains(told, line) && !(strings.Contains(told, "level=WARN") && strings.Contains(told, "secret=client-secret") && strings.Contains(told, "version=") &&
			strings.Contains(told, "peer="+provider.URL) && strings.Contains(told, "register the new client secret at "+provider.URL+" (client gateway)")) {
			t.Errorf("got %s", told)
		}
	}

	answer, err := c.Post(gateway.Admin+"/admin/v1/rollbacks", "application/json", strings.NewReader(`{"secret":"client-secret"}`))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	by := map[string]string{}
	until(t, "the record says that it has ended", func() bool {
		for _, line := range recordOf(t, gateway.Admin).Lines {
			var e struct{ Type, Actor, Secret string }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			if e.Secret == "client-secret" {
				by[e.Type] = e.Actor
			}
		}
		return by["rotation.ended"] != ""
	})
	for kind, want := range map[string]string{
		"rotation.handed_in": "whoever handed the value in", "rotation.rejected": "admin API, from this machine", "rotation.ended": "admin API, from this machine",
	} {
		// Whoever leads may have recorded it before the one who gave it up had said so.
		if by[kind] != want && (by["rotation.rejecting"] != "" || kind == "rotation.handed_in") {
			t.Errorf("%s by %q, want %q", kind, by[kind], want)
		}
	}
	if _, body := get(c, gateway.Admin+"/admin/v1/status"); !strings.Contains(body, `"detail":"given up by admin API, from this machine"`) {
		t.Errorf("status: %s", body)
	}
}
