package oidc_test

import (
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"keyway/internal/demo/idp"
	"keyway/internal/jwks"
	"keyway/internal/oidc"
)

func prove(t *testing.T, w *world, c *oidc.Client, version string) (oidc.Verdict, error) {
	t.Helper()
	m, err := w.provider.Metadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c.Prove(t.Context(), m, version)
}

func secretsClient(t *testing.T, w *world, method string) *oidc.Client {
	t.Helper()
	// "a" is what the IdP knows, "b" what it does not.
	c, err := oidc.NewClient(oidc.ClientOptions{
		Name: "demo", ClientID: clientID, Method: method, Observer: w.observer, Timeout: 5 * time.Second,
		Secret: ring(t, "client-secret", clientSecret, "a secret that the IdP has never heard of"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestProveASecretBeforeItServes(t *testing.T) {
	deny := func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/introspect" && r.URL.Path != "/introspection" {
			return false
		}
		rw.WriteHeader(http.StatusForbidden)
		_, _ = rw.Write([]byte(`{"error":"access_denied"}`))
		return true
	}
	for name, hooks := range map[string]*idp.Hooks{
		"by introspection":                     nil,
		"introspection is not for us":          {Before: deny},
		"introspection is not offered":         {Discovery: func(d map[string]any) { delete(d, "introspection_endpoint") }},
		"introspection believes any old thing": {Introspection: func(_ *http.Request, a *idp.Answer) { a.Edit(func(b map[string]any) { b["active"] = true }) }},
	} {
		for _, method := range []string{oidc.ClientSecretBasic, oidc.ClientSecretPost} {
			t.Run(name+"/"+method, func(t *testing.T) {
				w := newWorld(t, func(s *setup) { s.idp.Hooks = hooks })
				c := secretsClient(t, w, method)
				if got, err := prove(t, w, c, "a"); got != oidc.Proved || err != nil {
					t.Errorf("the known secret: %s, %v", got, err)
				}
				if got, err := prove(t, w, c, "b"); got != oidc.Refuted || err != nil {
					t.Errorf("the unknown secret: %s, %v", got, err)
				}
				if got := w.observer.outcomes(); got != "a accepted, b refused" {
					t.Errorf("observed %q", got)
				}
				// The operator changes it at the IdP: the other one is proved.
				w.idp.SetClientSecrets(clientID, "a secret that the IdP has never heard of")
				if got, err := prove(t, w, c, "b"); got != oidc.Proved || err != nil {
					t.Errorf("after the change: %s, %v", got, err)
				}
			})
		}
	}
}

func TestProveSaysWhenItCannotKnow(t *testing.T) {
	w := newWorld(t)
	c := secretsClient(t, w, oidc.ClientSecretBasic)
	if _, err := prove(t, w, c, "z"); !errors.Is(err, oidc.ErrNoCredential) {
		t.Errorf("a version that nobody has: %v", err)
	}
	w.idp.SetHooks(&idp.Hooks{Before: func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.WriteHeader(http.StatusServiceUnavailable)
		return true
	}})
	for _, version := range []string{"a", "b"} {
		if got, err := prove(t, w, c, version); got != oidc.Unproved || !errors.Is(err, oidc.ErrUnavailable) {
			t.Errorf("%s while the IdP is away: %s, %v", version, got, err)
		}
	}
}

// Who was refused asks over another connection, which may lead to another node.
func TestProveOverAnotherConnection(t *testing.T) {
	var mu sync.Mutex
	from := []string{}
	w := newWorld(t, func(s *setup) {
		s.idp.Hooks = &idp.Hooks{Before: func(_ http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			if r.Method == http.MethodPost {
				from = append(from, r.RemoteAddr)
			}
			return false
		}}
	})
	c := secretsClient(t, w, oidc.ClientSecretBasic)
	for n := range 3 {
		if n == 2 {
			c.CloseIdle()
		}
		if got, err := prove(t, w, c, "b"); got != oidc.Refuted || err != nil {
			t.Fatal(got, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(from) != 3 || from[0] != from[1] || from[1] == from[2] {
		t.Errorf("asked from %v", from)
	}
}

func TestProveAKeyBeforeItSigns(t *testing.T) {
	known, next := signingKey(t), signingKey(t)
	public := func(keys ...jwks.Key) *jose.JSONWebKeySet {
		set := &jose.JSONWebKeySet{}
		for _, k := range keys {
			set.Keys = append(set.Keys, k.Public())
		}
		return set
	}
	client := func(keys ...jwks.Key) idp.Client {
		return idp.Client{ID: clientID, AuthMethods: []string{idp.AuthPrivateKeyJWT}, JWKS: public(keys...), RedirectURIs: []string{callback}}
	}
	w := newWorld(t, func(s *setup) { s.client = client(known) })
	c, err := oidc.NewClient(oidc.ClientOptions{
		Name: "demo", ClientID: clientID, Method: oidc.PrivateKeyJWT, Signing: signingRing(t, known, next), Timeout: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := prove(t, w, c, known.ID()); got != oidc.Proved || err != nil {
		t.Errorf("the known key: %s, %v", got, err)
	}
	if got, err := prove(t, w, c, next.ID()); got != oidc.Refuted || err != nil {
		t.Errorf("a key that the IdP has not fetched: %s, %v", got, err)
	}
	w.idp.PutClient(client(known, next))
	if got, err := prove(t, w, c, next.ID()); got != oidc.Proved || err != nil {
		t.Errorf("once it has: %s, %v", got, err)
	}
}
