package bearer

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/secret"
	"keyway/internal/testkit/realidp"
	"keyway/internal/threat"
)

// realClient is of a provider that somebody else wrote.
type realClient struct {
	*realidp.Server
	provider *oidc.Provider
	client   *oidc.Client
	http     *http.Client
}

func startReal(t *testing.T, o realidp.Options) *realClient {
	t.Helper()
	machine := []string{"client_credentials"}
	o.Clients = []realidp.Client{
		{ID: "gateway", Secret: "the gateway's own secret of some length", GrantTypes: machine, Extra: map[string]any{"introspection_signed_response_alg": "ES256"}},
		{ID: "job", Secret: "the job's secret", GrantTypes: machine},
	}
	o.JWTAudience, o.JWTScope, o.OpaqueForAudience = ours, "notes:read notes:write", true
	r := &realClient{Server: realidp.Start(t, o), http: oidc.NewHTTPClient(nil)}
	t.Cleanup(r.http.CloseIdleConnections)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	var err error
	r.provider, err = oidc.NewProvider(oidc.ProviderOptions{Name: "real", Issuer: r.Issuer, HTTP: r.http})
	must(t, err)
	ring, err := keyring.New("client-secret/real", keyring.Version{ID: "c1", State: keyring.Active, Value: secret.NewValue([]byte("the gateway's own secret of some length"))})
	must(t, err)
	r.client, err = oidc.NewClient(oidc.ClientOptions{Name: "real", ClientID: "gateway", Secret: ring, HTTP: r.http})
	must(t, err)
	return r
}

// token is an opaque one for our audience.
func (r *realClient) token(t *testing.T, scope string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.Issuer+"/token",
		strings.NewReader(url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}.Encode()))
	must(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth("job", url.QueryEscape("the job's secret"))
	answer, err := r.http.Do(request)
	must(t, err)
	defer answer.Body.Close()
	var body struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || body.AccessToken == "" || strings.Contains(body.AccessToken, ".") {
		t.Fatalf("status %d, %d bytes of token, %v", answer.StatusCode, len(body.AccessToken), err)
	}
	return body.AccessToken
}

func (r *realClient) entry(form Form) Entry {
	return Entry{Name: "real", Provider: "real", Issuer: r.Issuer, Audience: []string{ours}, Introspect: Introspection(r.provider, r.client, form)}
}

// A provider that we did not write signs its answers, and we agree about what that
// means.
func TestSignedAnswersOfARealProvider(t *testing.T) {
	threat.Covers(t, 45)
	r := startReal(t, realidp.Options{SignedIntrospection: true})
	m, err := r.provider.Metadata(t.Context())
	must(t, err)
	if !slices.Contains(m.IntrospectionAlgs, "ES256") {
		t.Fatalf("it offers %v", m.IntrospectionAlgs)
	}
	for _, form := range []Form{FormAuto, FormJWT, FormJSON} {
		a := authenticator(t, Options{Entries: []Entry{r.entry(form)}})
		token := r.token(t, "notes:read")
		header := []string{"Bearer " + token}
		who, _, err := a.Authenticate(t.Context(), header, Need{Scopes: []string{"notes:read"}, Audience: []string{ours}})
		if err != nil || who.Subject != "job" || who.ClientID != "job" || !slices.Equal(who.Scopes, []string{"notes:read"}) {
			t.Errorf("%s: %+v %v\n%s", form, who, err, r.Output())
		}
		_, _, err = a.Authenticate(t.Context(), header, Need{Scopes: []string{"notes:write"}})
		want(t, err, problem.InsufficientScope, lacks("notes:write"))
		_, err = present(t, a, token[:len(token)-3]+"AAA")
		want(t, err, problem.InvalidToken, invalidToken)
	}
}

// One that signs nothing is no use where signed answers are wanted, and needs no
// asking otherwise.
func TestPlainAnswersOfARealProvider(t *testing.T) {
	threat.Covers(t, 45)
	r := startReal(t, realidp.Options{})
	token := r.token(t, "notes:read")
	if who, err := present(t, authenticator(t, Options{Entries: []Entry{r.entry(FormAuto)}}), token); err != nil || who.Subject != "job" {
		t.Errorf("%+v %v", who, err)
	}
	_, err := present(t, authenticator(t, Options{Entries: []Entry{r.entry(FormJWT)}}), token)
	want(t, err, problem.IdPFailed, "")
}
