package app

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	testports "keyway/internal/testkit/ports"
	"keyway/internal/threat"
)

// operator asks the admin API.
func operator(t *testing.T, method, url string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body)
}

// An operator sees who is signed in, ends one session, and then all of a user; others
// notice nothing. It is in the record, without the user's name, and the provider
// forgets the refresh tokens.
func TestAnOperatorEndsSessions(t *testing.T) {
	threat.Covers(t, 27)
	const clientSecret = "a-client-secret-of-the-test"
	public := fmt.Sprintf("http://127.0.0.1:%d", testports.Reserve(t, 1))
	provider := idptest.Start(t, idp.Options{
		Clients: []idp.Client{{
			ID: "gateway", Secrets: []string{clientSecret}, GrantTypes: []string{idp.GrantCode, idp.GrantRefresh},
			Scopes:       []string{"openid", "profile", "email", "offline_access"},
			RedirectURIs: []string{public + "/auth/callback"}, AuthMethods: []string{idp.AuthSecretBasic},
		}},
	})
	r := start(t, options(t, env(t, map[string]string{
		"OIDC_ISSUER": provider.URL, "AUTH_CLIENT_ID": "gateway", "AUTH_CLIENT_SECRET": clientSecret, "BFF_COOKIE_SECURE": "false",
		"MS_BFF_TOKEN_AUTH_METHOD": "client_secret_basic", "BFF_CALLBACK_URL": public + "/auth/callback", "OIDC_SCOPES": "openid profile email offline_access",
		"HOST": "127.0.0.1", "PORT": strings.TrimPrefix(public, "http://127.0.0.1:"),
	}), managed, ""))

	signIn := func(user string) *idptest.Browser {
		t.Helper()
		b := idptest.NewBrowser(&http.Transport{})
		page, err := b.SignIn(t.Context(), r.Public+"/auth/login?return_to=/auth/session", user, "demo")
		if err != nil || !strings.Contains(string(page.Body), `"authenticated":true`) {
			t.Fatalf("%v, %+v", err, page)
		}
		return b
	}
	signedIn := func(b *idptest.Browser) bool {
		t.Helper()
		page, err := b.Get(t.Context(), r.Public+"/auth/session")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(page.Body), `"authenticated":true`)
	}
	list := func(query string) (found []struct {
		PublicID string `json:"public_id"`
		Subject  string `json:"subject"`
		Issuer   string `json:"issuer"`
		SID      string `json:"sid"`
	}) {
		t.Helper()
		status, body := operator(t, "GET", r.Admin+"/admin/v1/sessions"+query)
		var answer struct{ Sessions json.RawMessage }
		if status != 200 || json.Unmarshal([]byte(body), &answer) != nil || json.Unmarshal(answer.Sessions, &found) != nil {
			t.Fatalf("%d %s", status, body)
		}
		return found
	}
	ada, again, third, grace := signIn("ada"), signIn("ada"), signIn("ada"), signIn("grace")
	if n := len(list("")); n != 4 {
		t.Errorf("%d sessions are listed, want 4", n)
	}
	found := list("?subject=u-ada-1815")
	if len(found) != 3 || found[0].Subject != "u-ada-1815" || found[0].Issuer != provider.URL {
		t.Fatalf("of ada: %+v", found)
	}
	if one := list("?sid=" + url.QueryEscape(found[0].SID)); found[0].SID == "" || len(one) != 1 || one[0].PublicID != found[0].PublicID {
		t.Errorf("of the sid %q: %+v", found[0].SID, one)
	}
	if n := len(list("?subject=u-ada-1815&issuer=https%3A%2F%2Fother.example")); n != 0 {
		t.Errorf("%d of another issuer's ada", n)
	}

	if status, body := operator(t, "DELETE", r.Admin+"/admin/v1/sessions/"+found[0].PublicID); status != 204 {
		t.Fatalf("%d %s", status, body)
	}
	if status, _ := operator(t, "DELETE", r.Admin+"/admin/v1/sessions/"+found[0].PublicID); status != 404 {
		t.Errorf("a second time: %d", status)
	}
	left := 0
	for _, b := range []*idptest.Browser{ada, again, third} {
		if signedIn(b) {
			left++
		}
	}
	if left != 2 {
		t.Errorf("ada has %d sessions, want 2", left)
	}
	if status, body := operator(t, "DELETE", r.Admin+"/admin/v1/sessions?subject=u-ada-1815"); status != 200 || body != `{"ended":2}` {
		t.Fatalf("%d %s", status, body)
	}
	if signedIn(ada) || signedIn(again) || signedIn(third) || !signedIn(grace) {
		t.Error("the wrong sessions live")
	}
	signIn("ada") // who is not locked out may come again

	until(t, "three refresh tokens are revoked", func() bool { return provider.Stats().Of(idp.EndpointRevocation) == 3 })
	until(t, "it is in the record", func() bool {
		p := recordOf(t, r.Admin)
		n := 0
		for _, one := range found {
			if has(p, `"type":"session.ended"`, `"actor":"admin API, from this machine"`, `"public_id":"`+one.PublicID+`"`, `"reason":"`) {
				n++
			}
		}
		return n == 3
	})
	if text := strings.Join(recordOf(t, r.Admin).Lines, "\n"); strings.Contains(text, "ada") || strings.Contains(text, "grace") {
		t.Error("a user's name is in the record")
	}
	if _, metrics := get(client(t), r.Admin+"/metrics"); !strings.Contains(metrics, `bff_sessions_destroyed_total{reason="operator"} 3`) {
		t.Error("the metric does not count three")
	}
}
