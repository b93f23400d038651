package bearer

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

// provided is a real provider, a machine with a token of it, and us.
type provided struct {
	*idptest.Server
	provider *oidc.Provider
	http     *http.Client

	mu     sync.Mutex
	before func(w http.ResponseWriter, r *http.Request) bool // at the introspection endpoint
}

func newProvided(t *testing.T) *provided {
	t.Helper()
	p := &provided{http: oidc.NewHTTPClient(nil)}
	t.Cleanup(p.http.CloseIdleConnections)
	p.Server = idptest.Start(t, idp.Options{
		Clients: []idp.Client{
			{ID: "gateway", Secrets: []string{"the gateway's secret"}},
			{ID: "opaque", Secrets: []string{"machine"}, GrantTypes: []string{idp.GrantClientCredentials}, Audiences: []string{ours}, OpaqueAccessTokens: true},
			{ID: "jwt", Secrets: []string{"machine"}, GrantTypes: []string{idp.GrantClientCredentials}, Audiences: []string{ours}},
		},
		Hooks: &idp.Hooks{Before: func(w http.ResponseWriter, r *http.Request) bool {
			p.mu.Lock()
			before := p.before
			p.mu.Unlock()
			if before == nil || r.URL.Path != "/introspect" {
				return false
			}
			_, _ = io.Copy(io.Discard, r.Body) // or the server does not see a client that goes away
			return before(w, r)
		}},
	})
	var err error
	if p.provider, err = oidc.NewProvider(oidc.ProviderOptions{Name: "demo", Issuer: p.URL, HTTP: p.http}); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *provided) hook(before func(http.ResponseWriter, *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = before
}

// token is by client credentials.
func (p *provided) token(t *testing.T, client string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL+"/token", strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(client, "machine")
	answer, err := p.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var body struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || body.AccessToken == "" {
		t.Fatalf("no token: status %d, %v", answer.StatusCode, err)
	}
	return body.AccessToken
}

// us is the gateway with these credentials, the first active.
func (p *provided) us(t *testing.T, keys bool, secrets ...string) *Authenticator {
	t.Helper()
	var versions []keyring.Version
	for i, s := range secrets {
		state := keyring.Active
		if i > 0 {
			state = keyring.Retiring
		}
		versions = append(versions, keyring.Version{ID: string(rune('a' + i)), State: state, Value: secret.NewValue([]byte(s))})
	}
	ring, err := keyring.New("client-secret/demo", versions...)
	if err != nil {
		t.Fatal(err)
	}
	client, err := oidc.NewClient(oidc.ClientOptions{Name: "demo", ClientID: "gateway", Secret: ring, HTTP: p.http, Timeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	e := Entry{Name: "demo", Provider: "demo", Issuer: p.URL, Audience: []string{ours}, Introspect: Introspection(p.provider, client, FormAuto)}
	if keys {
		e.Keys = p.provider.Keys()
	}
	return authenticator(t, Options{Entries: []Entry{e}})
}

func TestAtAProvider(t *testing.T) {
	p := newProvided(t)
	for _, c := range []struct {
		client string
		keys   bool
	}{{"opaque", true}, {"opaque", false}, {"jwt", true}, {"jwt", false}} {
		a := p.us(t, c.keys, "the gateway's secret")
		token := p.token(t, c.client)
		if who, err := present(t, a, token); err != nil || who.Account() != "auth:account:demo:"+c.client {
			t.Errorf("%s, keys %v: %+v %v", c.client, c.keys, who, err)
		}
		_, err := present(t, a, token[:len(token)-4]+"AAAA")
		want(t, err, problem.InvalidToken, invalidToken)
	}
	// All but the JWTs that keys can decide on.
	if n := p.Stats().Of("introspection"); n != 6 {
		t.Errorf("%d questions, want 6", n)
	}
}

// The provider knows one of our two secrets: nobody notices which. It knows none:
// that is ours to mend, and no caller's fault.
func TestOwnCredentialRefused(t *testing.T) {
	threat.Covers(t, 47)
	p := newProvided(t)
	token := p.token(t, "opaque")
	if _, err := present(t, p.us(t, false, "a new secret", "the gateway's secret"), token); err != nil {
		t.Errorf("the previous secret is the good one: %v", err)
	}
	a := p.us(t, false, "a new secret", "and another")
	for range 2 {
		_, err := present(t, a, token)
		want(t, err, problem.IdPUnavailable, "")
		if strings.Contains(err.Error(), "new secret") {
			t.Error("a secret is shown")
		}
	}
}

func TestProviderMisbehaves(t *testing.T) {
	p := newProvided(t)
	a := p.us(t, false, "the gateway's secret")
	token := p.token(t, "opaque")
	for name, c := range map[string]struct {
		before func(http.ResponseWriter, *http.Request) bool
		code   problem.Code
	}{
		"500": {func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return true }, problem.IdPUnavailable},
		// It does not say what it means (RFC 6749 section 5.2), and accuses nobody.
		"401": {func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(401); return true }, problem.IdPFailed},
		"401, of our credential": {func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("WWW-Authenticate", `Basic realm="idp"`)
			w.WriteHeader(401)
			return true
		}, problem.IdPUnavailable},
		"204": {func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(204); return true }, problem.IdPFailed},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			return true
		}, problem.IdPFailed},
		"hangs": {func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }, problem.IdPUnavailable},
		"endless": {func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = w.Write([]byte(`{"active":true,"sub":"`))
			for sent := 0; sent < 1<<30 && r.Context().Err() == nil; sent += 1 << 20 {
				if _, err := w.Write([]byte(strings.Repeat("a", 1<<20))); err != nil {
					break
				}
			}
			return true
		}, problem.IdPFailed},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 45)
			p.hook(c.before)
			_, err := present(t, a, token)
			want(t, err, c.code, "")
		})
	}
	p.hook(nil)
	if _, err := present(t, a, token); err != nil {
		t.Errorf("it is back: %v", err)
	}
}
