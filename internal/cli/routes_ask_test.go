package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
)

// --ask asks as the gateway does: with a token by client credentials, from where
// tokens are asked for, within the time that the connection has.
func TestAskWithClientCredentials(t *testing.T) {
	const good = "a-client-secret-of-the-test"
	provider := idptest.Start(t, idp.Options{Clients: []idp.Client{{
		ID: "gateway", Secrets: []string{good}, GrantTypes: []string{idp.GrantClientCredentials}, AuthMethods: []string{idp.AuthSecretBasic}, Scopes: []string{"profile"},
	}}})
	var mu sync.Mutex
	var tokens []string
	pdp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		mu.Lock()
		tokens = append(tokens, token)
		mu.Unlock()
		if token == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"decision":true,"context":{"reason":"because"}}`)
	}))
	t.Cleanup(pdp.Close)
	hang := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { close(hang); hangs.Close() })
	for _, c := range []struct {
		name, secret, tokenURL string
		allow                  bool
		reason                 string
	}{
		{"at the token endpoint", good, provider.URL + "/token", true, "because"},
		{"at the sign-in provider", good, "", true, "because"},
		{"another secret", "another-secret-of-the-test", provider.URL + "/token", false, "no token for the decision point could be had"},
		{"no secret", "", provider.URL + "/token", false, "connection.credentials: "},
		{"a token endpoint that hangs", good, hangs.URL + "/token", false, "has not answered"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "secret")
			if c.secret != "" {
				if err := os.WriteFile(file, []byte(c.secret+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			credentials := "method: client_credentials, client_id: gateway, scopes: [profile], client_secret: \"file:" + file + "\""
			if c.tokenURL != "" {
				credentials += ", token_url: \"" + c.tokenURL + "\""
			}
			for name, text := range map[string]string{
				"routes.yaml": "services:\n  s: {base_url: \"https://s.internal\"}\nroutes:\n  - {path: /x, target_service: s, methods: [GET], authz: pdp, authz_map: {GET: {resource: x, action: read}}}\n",
				"pdp.yaml":    "connection: {base_url: \"" + pdp.URL + "\", timeout: 1500ms, credentials: {" + credentials + "}}\n",
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			mu.Lock()
			tokens = nil
			mu.Unlock()
			var out, failed bytes.Buffer
			began := time.Now()
			code := Run(t.Context(), []string{"routes", "explain", "--config", dir, "--json", "GET", "/x", "--as", "ada", "--ask"},
				[]string{"OIDC_ISSUER=" + provider.URL, "AUTH_CLIENT_ID=keyway", "BFF_DEFAULT_HOST=app.example.com"}, &out, &failed)
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
			var answer explainAnswer
			if err := json.Unmarshal(out.Bytes(), &answer); err != nil || answer.Route == nil || answer.Route.PDP == nil || answer.Route.PDP.Answer == nil {
				t.Fatalf("%v %s %s", err, out.String(), failed.String())
			}
			if a := answer.Route.PDP.Answer; a.Allow != c.allow || !strings.Contains(a.Reason, c.reason) || (code == 0) != c.allow {
				t.Errorf("exit code %d, %+v", code, a)
			}
			mu.Lock()
			defer mu.Unlock()
			if c.allow != (len(tokens) == 1 && tokens[0] != "") {
				t.Errorf("the decision point was asked %d times", len(tokens))
			}
			for _, never := range append(tokens, c.secret) {
				if text := out.String() + failed.String(); never != "" && strings.Contains(text, never) {
					t.Errorf("a secret is shown: %s", text)
				}
			}
		})
	}
}
