package storm

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"keyway/internal/demo/api"
	"keyway/internal/testkit/realidp"
)

func (w *world) startIdP(t *testing.T) {
	t.Helper()
	client := realidp.Client{
		ID: clientID, AuthMethod: w.o.method,
		RedirectURIs:           []string{w.public + "/auth/callback"},
		PostLogoutRedirectURIs: []string{w.public + "/"},
	}
	if w.o.method == "private_key_jwt" {
		client.JWKSURI = w.public + "/.well-known/jwks.json"
	} else {
		w.client = &credential{ring: "client-secret", client: clientID, file: "auth_client_secret", value: text()}
		client.Secret = w.client.value
	}
	w.asker = &credential{ring: "client-secret/machines", client: askerID, file: "machines_secret", value: text()}
	w.machine = text()
	for _, c := range w.credentials() {
		w.ledger.hide(c.value)
	}
	clients := []realidp.Client{
		client,
		{ID: askerID, Secret: w.asker.value, GrantTypes: []string{"client_credentials"}},
		{ID: machine, Secret: w.machine, GrantTypes: []string{"client_credentials"}},
	}
	// Refresh tokens work again and again: one that works once is gone with the
	// process that is killed between the provider's answer and the store's.
	w.idp = realidp.Start(t, realidp.Options{Clients: clients, AccessTokenTTL: w.o.token, JWTAudience: audience})
	w.tell("token-format", url.Values{"format": {"opaque"}}) // so that it is asked about each
}

// startAPI runs the demo's API, which lets every token in, and beside it what
// wants none: the gateway keeps a machine's token to itself.
func (w *world) startAPI(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/", api.New(api.Options{
		TickInterval: 500 * time.Millisecond,
		Verify:       func(context.Context, string) (api.Subject, error) { return api.Subject{ID: "somebody"}, nil },
	}))
	mux.HandleFunc("/machines", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-User-Id") == "" {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	s := httptest.NewServer(mux)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

// tell changes the provider.
func (w *world) tell(what string, form url.Values) {
	resp, err := http.PostForm(w.idp.Issuer+"/test/"+what, form)
	if err != nil {
		w.ledger.amiss("the provider was told %s: %v", what, err)
		return
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		w.ledger.amiss("the provider was told %s: %s", what, resp.Status)
	}
}

// accepts has the provider take these secrets of a client, and no other.
func (w *world) accepts(c *credential, secrets ...string) {
	w.tell("secrets", url.Values{"client_id": {c.client}, "secret": secrets})
}
