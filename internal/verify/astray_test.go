package verify

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/secret"
)

func TestStrays(t *testing.T) {
	for _, c := range []struct {
		from, to string
		strays   bool
	}{
		{"https://idp.example/authorize", "https://login.example/", false},
		{"http://idp.example/authorize", "https://idp.example/", false},
		{"http://keycloak:8080/authorize", "http://keycloak:8080/login", false},
		{"http://127.0.0.1:8002/authorize", "http://127.0.0.1:8002/login", false},
		{"https://idp.example/authorize", "https://10.1.2.3/login", false}, // a provider of one's own network
		{"https://idp.example/authorize", "http://idp.example/", true},
		{"https://idp.example/authorize", "https://127.0.0.1:8001/admin/v1/status", true},
		{"http://idp.example/authorize", "http://169.254.169.254/latest/meta-data/", true},
		{"http://idp.example/authorize", "http://[::ffff:169.254.169.254]/", true},
		{"http://idp.example/authorize", "http://[::1]:8001/", true},
		{"http://idp.example/authorize", "http://LOCALHOST.:8001/", true},
		{"http://idp.example/authorize", "http://0.0.0.0:8001/", true},
		{"https://idp.example/authorize", "ftp://idp.example/", true},
		{"https://idp.example/authorize", "file:///etc/passwd", true},
	} {
		to, err := url.Parse(c.to)
		if err != nil {
			t.Fatal(err)
		}
		if got := strays(c.from, to); (got != "") != c.strays {
			t.Errorf("%s to %s: %q", c.from, c.to, got)
		}
	}
}

// A provider must not have us ask where it can't itself.
func TestAProviderThatSendsUsElsewhere(t *testing.T) {
	var asked atomic.Int32
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer inner.Close()
	provider := httptest.NewTLSServer(http.RedirectHandler(inner.URL+"/admin/v1/status", http.StatusFound))
	defer provider.Close()
	says(t, idpPage(t.Context(), provider.Client(), provider.URL+"/authorize", callback), false, "without TLS", "not followed", "authorization_url")
	if asked.Load() != 0 {
		t.Error("it was asked")
	}
}

// The test account's password goes nowhere without TLS when the deployment has it.
func TestThePasswordStaysWithinTLS(t *testing.T) {
	var told atomic.Bool
	plain := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told.Store(r.FormValue("password") != "") }))
	defer plain.Close()
	public := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`<form method="post" action="` + plain.URL + `/"><input name="username"><input name="password" type="password"></form>`))
	}))
	defer public.Close()
	client := newHTTP(nil)
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: public.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	f := wholeSignIn(t.Context(), client, Deployment{Public: public.URL}, "ada", secret.NewValue([]byte("of-the-test-account")))
	says(t, f, false, "without TLS")
	if told.Load() || strings.Contains(f.saw, "of-the-test-account") {
		t.Errorf("the password was told: %s", f.saw)
	}
}

// The active version may turn between the rings and the client that is asked with.
func TestACredentialThatTurnsMeanwhile(t *testing.T) {
	provider := httptest.NewServer(http.NotFoundHandler())
	defer provider.Close()
	has := ring(t, "client-secret", "v3 active")
	client, err := oidc.NewClient(oidc.ClientOptions{Name: "x", ClientID: "gateway", Method: oidc.ClientSecretBasic, Secret: has, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	p := Peer{Name: "x", Issuer: provider.URL, Secret: "client-secret", ClientID: "gateway", Client: client, Metadata: func(context.Context) (*oidc.Metadata, error) {
		return &oidc.Metadata{Issuer: provider.URL, TokenEndpoint: provider.URL + "/token"}, nil
	}}
	now := ring(t, "client-secret", "v2 active, v1 retiring")
	i := inside{Subject{Rings: func() map[string]keyring.Ring { return map[string]keyring.Ring{"client-secret": now} }}, Options{Brief: true}}
	if f := i.credentials(t.Context(), p); !f.ok || !f.skipped {
		t.Errorf("%+v", f)
	}
}
