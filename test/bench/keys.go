package main

import (
	"crypto/rand"
	"time"

	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/keystore"
	"keyway/internal/secret"
)

// keys are the rings of one fleet, of one version each.
type keys struct {
	salt, ua, session, csrf, state, signing keyring.Ring
}

// makeKeys makes what a gateway makes for itself at its first start.
func makeKeys() (keys, error) {
	var k keys
	id, value, err := keystore.NewSigningKey(jwks.ES256)
	if err != nil {
		return keys{}, err
	}
	if k.signing, err = ringOf("signing-key", id, value); err != nil {
		return keys{}, err
	}
	for name, into := range map[string]*keyring.Ring{
		"token-hash-salt": &k.salt, "ua-hash-salt": &k.ua, "session-key": &k.session, "csrf-key": &k.csrf, "state-key": &k.state,
	} {
		text := make([]byte, 48)
		rand.Read(text)
		value := secret.NewValue(text)
		if *into, err = ringOf(name, secret.Fingerprint(name, value), value); err != nil {
			return keys{}, err
		}
	}
	return k, nil
}

func ringOf(name, id string, value secret.Value) (keyring.Ring, error) {
	now := time.Now()
	return keyring.New(name, keyring.Version{ID: id, Value: value, State: keyring.Active, CreatedAt: now, ActivatedAt: now})
}
