package app

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/authz"
	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
)

// Two who ask by the same token when it is revoked: of the one who hears of it last,
// the token is refused that he asked by, and not the one that the other has had since.
func TestATokenThatIsRevokedCostsNobodyAnAnswer(t *testing.T) {
	const secretValue = "a-client-secret-of-the-test"
	provider := idptest.Start(t, idp.Options{Clients: []idp.Client{{
		ID: "gateway", Secrets: []string{secretValue}, GrantTypes: []string{idp.GrantClientCredentials}, AuthMethods: []string{idp.AuthSecretBasic}, Scopes: []string{"profile"},
	}}})
	var mu sync.Mutex
	seen, revoked := map[string]int{}, ""
	arrived, release := make(chan struct{}), make(chan struct{})
	pdp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("Authorization")
		var q authz.Question
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		refused := json.Unmarshal(body, &q) != nil || token == revoked
		seen[token]++
		mu.Unlock()
		if refused {
			if strings.Contains(q.Subject.ID, "grace") {
				close(arrived)
				<-release
			}
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"decision":true}`)
	}))
	t.Cleanup(pdp.Close)
	path := t.TempDir() + "/pdp-secret"
	handIn(t, path, secretValue)
	a := openedWith(t, withPDP(t, env(t, nil), managed, "", "connection: {base_url: \""+pdp.URL+"\", timeout: 30s, credentials: {method: client_credentials, client_id: gateway, client_secret: \"file:"+path+
		"\", token_url: \""+provider.URL+"/token"+"\", scopes: [profile]}}\ncache: {max_size: 0}\n"))
	if ok, err := may(t, a, "ada"); !ok {
		t.Fatal(err)
	}
	mu.Lock()
	for token := range seen {
		revoked = token
	}
	mu.Unlock()

	var last sync.WaitGroup
	last.Go(func() {
		if ok, err := may(t, a, "grace"); !ok {
			t.Errorf("who hears of it last: %v", err)
		}
	})
	select {
	case <-arrived:
	case <-time.After(patience):
		t.Fatal("grace does not ask by the token that was revoked")
	}
	if ok, err := may(t, a, "ada"); !ok {
		t.Errorf("who hears of it first: %v", err)
	}
	close(release)
	last.Wait()
	for range 2 {
		if ok, err := may(t, a, "ada"); !ok {
			t.Errorf("afterwards: %v", err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 2 || seen[revoked] != 3 {
		t.Errorf("%d tokens, want the one that was revoked and one more; the first was shown %d times, want 3", len(seen), seen[revoked])
	}
}
