package demo

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
)

// knows reports whether the provider answers a question about a token that is
// asked with a secret: with client_secret_basic, as the demo is registered.
func knows(t *testing.T, server *idptest.Server, password string) bool {
	t.Helper()
	body := strings.NewReader(url.Values{"token": {"unknown"}}.Encode())
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/introspect", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(introspectionClient, password)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK, http.StatusUnauthorized:
		return answer.StatusCode == http.StatusOK
	}
	t.Fatalf("introspection: %s", answer.Status)
	return false
}

func TestTheProviderKnowsTheNewestTwoSecrets(t *testing.T) {
	ports, _ := PortsFrom(8000)
	server := idptest.Start(t, idp.Options{Clients: clients(ports)})
	dir := t.TempDir()
	r, err := newRegistration(t.Context(), server.Provider, dir)
	if err != nil {
		t.Fatal(err)
	}
	read := func() string {
		content, err := os.ReadFile(filepath.Join(dir, secretFile))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSuffix(string(content), "\n")
	}
	secrets := []string{read()}
	for range 3 {
		made, err := r.NewSecret(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if read() != string(made.Reveal()) {
			t.Error("the file has another secret than the one that was made")
		}
		secrets = append(secrets, read())
		for i, one := range secrets {
			if good, want := knows(t, server, one), i >= len(secrets)-secretsKept; good != want {
				t.Errorf("secret %d of %d: accepted %v, want %v", i+1, len(secrets), good, want)
			}
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.next")); left != nil {
		t.Errorf("left behind: %v", left)
	}
	if info, err := os.Stat(filepath.Join(dir, secretFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of the secret: %v, %v, want mode 0600", info, err)
	}
}

// A secret that could not be kept is not registered, or the gateway would be left
// with one that the provider has dropped.
func TestASecretThatCantBeKeptIsNotRegistered(t *testing.T) {
	ports, _ := PortsFrom(8000)
	server := idptest.Start(t, idp.Options{Clients: clients(ports)})
	dir := t.TempDir()
	r, err := newRegistration(t.Context(), server.Provider, dir)
	if err != nil {
		t.Fatal(err)
	}
	first := r.secrets[0]
	if err := os.Mkdir(r.path+".next", 0o700); err != nil { // in the way, also of root
		t.Fatal(err)
	}
	for range 3 {
		if _, err := r.NewSecret(t.Context()); err == nil || strings.Contains(err.Error(), first) {
			t.Fatalf("error %v", err)
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.NewSecret(over); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if !knows(t, server, first) {
		t.Error("the secret in use is not accepted any more")
	}
}
