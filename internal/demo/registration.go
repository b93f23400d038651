package demo

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"keyway/internal/demo/idp"
	"keyway/internal/secret"
)

const (
	introspectionClient = "demo-introspection"
	// secretFile is where the gateway finds the secret of that client, in the
	// demo's folder.
	secretFile = "introspection-secret"
	// secretsKept are how many secrets of a client are good at once, as many as
	// providers have that let one be replaced without a gap.
	secretsKept = 2
)

// registration is what a provider's administrator, and the secret store beside
// the gateway, do for our client secret: they make a new one, have the provider
// accept it beside the one before, and hand it out as a file. It is safe for
// concurrent use.
type registration struct {
	provider *idp.Provider
	path     string

	mu      sync.Mutex
	secrets []string // that are good, newest last
}

// NewSecret makes another secret, which the provider accepts when this returns.
// The oldest is not accepted any more if there are more than secretsKept then.
func (r *registration) NewSecret(ctx context.Context) (secret.Value, error) {
	if err := ctx.Err(); err != nil {
		return secret.Value{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	made := rand.Text() + rand.Text() // 260 bits
	// A file is whole, or the one before: it is read while the demo runs.
	next := r.path + ".next"
	if err := os.WriteFile(next, []byte(made+"\n"), 0o600); err != nil {
		return secret.Value{}, fmt.Errorf("the new client secret could not be kept: %w", err)
	}
	secrets := append(r.secrets[max(0, len(r.secrets)-secretsKept+1):len(r.secrets):len(r.secrets)], made)
	// The provider first: whoever reads the file may use what it finds there.
	if err := r.provider.SetClientSecrets(introspectionClient, secrets...); err != nil {
		return secret.Value{}, err
	}
	r.secrets = secrets
	if err := os.Rename(next, r.path); err != nil {
		return secret.Value{}, fmt.Errorf("the new client secret could not be kept: %w", err)
	}
	return secret.NewValue([]byte(made)), nil
}

func newRegistration(ctx context.Context, provider *idp.Provider, dir string) (*registration, error) {
	r := &registration{provider: provider, path: filepath.Join(dir, secretFile)}
	_, err := r.NewSecret(ctx)
	return r, err
}
