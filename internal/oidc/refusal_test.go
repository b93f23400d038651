package oidc_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"keyway/internal/demo/idp"
	"keyway/internal/oidc"
	"keyway/internal/threat"
)

// answers has one endpoint say something of its own, unless it accepts who asks.
func answers(path string, status int, header, body string) *idp.Hooks {
	return &idp.Hooks{Before: func(rw http.ResponseWriter, r *http.Request) bool {
		_, password, _ := r.BasicAuth()
		if plain, _ := url.QueryUnescape(password); r.URL.Path != path || plain == clientSecret {
			return false
		}
		if header != "" {
			rw.Header().Set("WWW-Authenticate", header)
		}
		rw.WriteHeader(status)
		_, _ = rw.Write([]byte(body))
		return true
	}}
}

// Strangers present as many tokens as they like, and a provider may call each of
// them unauthorized without saying what it means. None of that is a refusal of our
// credential, or they could have it rolled back.
func TestJunkTokensDoNotAccuseOurCredential(t *testing.T) {
	w := newWorld(t)
	c := secretsClient(t, w, oidc.ClientSecretBasic)
	m, err := w.provider.Metadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, header := range map[string]string{
		"bare":                         "",
		"about the token":              `Bearer error="invalid_token"`,
		"about the token, and a realm": `Basic realm="idp", Bearer error="invalid_token"`,
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 47, 62)
			before := w.observer.outcomes()
			w.idp.SetHooks(&idp.Hooks{Before: func(rw http.ResponseWriter, r *http.Request) bool {
				if header != "" {
					rw.Header().Set("WWW-Authenticate", header)
				}
				rw.WriteHeader(http.StatusUnauthorized)
				return true
			}})
			asked := w.calls(idp.EndpointIntrospection)
			for i := range 20 {
				_, err := c.Post(t.Context(), m, "introspection", m.IntrospectionEndpoint, url.Values{"token": {fmt.Sprint("junk", i)}}, 1<<10)
				if !errors.Is(err, oidc.ErrAnswer) || errors.Is(err, oidc.ErrClientRefused) {
					t.Fatalf("expected an answer that can't be used, found %v", err)
				}
			}
			if got := w.observer.outcomes(); got != before {
				t.Errorf("counted %q", got)
			}
			if n := w.calls(idp.EndpointIntrospection) - asked; n > 2*20 {
				t.Errorf("asked %d times about 20 tokens, with two live credentials", n)
			}
		})
	}
}

// What well-known providers answer to a wrong credential is known for what it is,
// where it can be.
func TestRefusalsOfWellKnownProviders(t *testing.T) {
	m := newWorld(t).mustMetadata(t)
	introspection, token := mustPath(t, m.IntrospectionEndpoint), mustPath(t, m.TokenEndpoint)
	for name, c := range map[string]struct {
		hooks *idp.Hooks
		want  oidc.Verdict
	}{
		"Keycloak at the token endpoint": {answers(token, 401, "", `{"error":"unauthorized_client","error_description":"Invalid client or Invalid client credentials"}`), oidc.Refuted},
		"a Basic challenge":              {answers(token, 401, `Basic realm="idp"`, ""), oidc.Refuted},
		"IdentityServer":                 {answers(token, 400, "", `{"error":"invalid_client"}`), oidc.Refuted},
		"Auth0":                          {answers(token, 401, "", `{"error":"access_denied","error_description":"Unauthorized"}`), oidc.Unproved},
		"bare":                           {answers(token, 401, "", ""), oidc.Unproved},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 62)
			// Introspection says nothing of use, as IdentityServer's and Keycloak's.
			before := c.hooks.Before
			c.hooks.Before = func(rw http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == introspection {
					rw.WriteHeader(http.StatusUnauthorized)
					return true
				}
				return before(rw, r)
			}
			w := newWorld(t, func(s *setup) { s.idp.Hooks = c.hooks })
			client := secretsClient(t, w, oidc.ClientSecretBasic)
			if got, err := prove(t, w, client, "b"); got != c.want || got == oidc.Refuted && err != nil {
				t.Errorf("the unknown secret: %s, %v; want %s", got, err, c.want)
			}
			if got, err := prove(t, w, client, "a"); got != oidc.Proved || err != nil {
				t.Errorf("the known secret: %s, %v", got, err)
			}
		})
	}
}

// Keycloak's words for a wrong secret have the other live one tried.
func TestOtherCredentialIsTriedAtKeycloak(t *testing.T) {
	threat.Covers(t, 62)
	w := newWorld(t, func(s *setup) { s.us.Secret = ring(t, "client-secret", "another secret", clientSecret) })
	m := w.mustMetadata(t)
	w.idp.SetHooks(answers(mustPath(t, m.PAREndpoint), 401, "", `{"error":"unauthorized_client","error_description":"Invalid client or Invalid client credentials"}`))
	if _, err := w.rp.Begin(t.Context(), oidc.SignInRequest{RedirectURI: callback}); err != nil {
		t.Error(err)
	}
	if got := w.observer.outcomes(); got != "a refused, b accepted" {
		t.Errorf("observed %q", got)
	}
}

// IdentityServer answers a wrong secret at introspection with a bare 401.
func TestOtherCredentialIsTriedAtABare401(t *testing.T) {
	threat.Covers(t, 62)
	w := newWorld(t, func(s *setup) { s.us.Secret = ring(t, "client-secret", "another secret", clientSecret) })
	m := w.mustMetadata(t)
	w.idp.SetHooks(answers(mustPath(t, m.PAREndpoint), 401, "", ""))
	if _, err := w.rp.Begin(t.Context(), oidc.SignInRequest{RedirectURI: callback}); err != nil {
		t.Error(err)
	}
	if got := w.observer.outcomes(); got != "b accepted" {
		t.Errorf("observed %q", got)
	}
}

func (w *world) mustMetadata(t *testing.T) *oidc.Metadata {
	t.Helper()
	m, err := w.provider.Metadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustPath(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Path
}
