package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"keyway/internal/keyring"
)

// rsaKey is made once: making one takes longer than most tests together.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newEC(t testing.TB) Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newKey(t, private)
}

func newEd(t testing.TB) Key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newKey(t, private)
}

func newKey(t testing.TB, signer crypto.Signer) Key {
	t.Helper()
	key, err := NewKey(signer)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// version makes a ring's version of a key.
func version(t testing.TB, key Key, state keyring.State) keyring.Version {
	t.Helper()
	v := keyring.Version{ID: key.ID(), State: state, CreatedAt: time.Now()}
	if state.Live() {
		value, err := key.RingValue()
		if err != nil {
			t.Fatal(err)
		}
		v.Value = value
	}
	return v
}

func ringOf(t testing.TB, versions ...keyring.Version) keyring.Ring {
	t.Helper()
	ring, err := keyring.New("signing-key", versions...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// sign signs claims as an issuer would, under a key id of the test's choice.
func sign(t testing.TB, key Key, keyID, algorithm string, claims any) string {
	t.Helper()
	options := (&jose.SignerOptions{}).WithType("JWT")
	if keyID != "" {
		options = options.WithHeader("kid", keyID)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: key.signer}, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// encodePart is a JWS part made by hand, for headers that no library writes.
func encodePart(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// document is a key set as an issuer would serve it.
func document(t testing.TB, members ...any) []byte {
	t.Helper()
	body, err := json.Marshal(map[string]any{"keys": members})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// with turns a public key into a map, so that a test can bend it.
func with(t testing.TB, key Key, changes map[string]any) map[string]any {
	t.Helper()
	raw, err := json.Marshal(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]any{}
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	for name, value := range changes {
		if value == nil {
			delete(m, name)
			continue
		}
		m[name] = value
	}
	return m
}
