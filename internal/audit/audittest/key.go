package audittest

import (
	"testing"

	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/keystore"
)

// Key is a signing key, and the key set that is published of it.
type Key struct {
	*jwks.Signer
	Set []byte
}

// NewKey makes one for ES256.
func NewKey(t testing.TB) Key {
	t.Helper()
	id, value, err := keystore.NewSigningKey("ES256")
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.New("signing-key", keyring.Version{ID: id, State: keyring.Active, Value: value})
	if err != nil {
		t.Fatal(err)
	}
	set, err := jwks.Document(ring)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jwks.NewVersionSigner(ring.Active())
	if err != nil {
		t.Fatal(err)
	}
	return Key{signer, set}
}
