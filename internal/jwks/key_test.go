package jwks

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"keyway/internal/secret"
	"keyway/internal/threat"
)

func block(t testing.TB, pemType string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}))
}

func TestParseKeyForms(t *testing.T) {
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	pkcs8 := func(key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return block(t, "PRIVATE KEY", der, err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	for name, c := range map[string]struct{ text, algorithms string }{
		"EC in PKCS #8":               {pkcs8(ec), "ES256"},
		"EC in SEC 1":                 {block(t, "EC PRIVATE KEY", sec1, err), "ES256"},
		"EC as openssl ecparam wrote": {block(t, "EC PARAMETERS", []byte{6, 0}, nil) + block(t, "EC PRIVATE KEY", sec1, err), "ES256"},
		"Ed25519 in PKCS #8":          {pkcs8(ed), "EdDSA"},
		"RSA in PKCS #8":              {pkcs8(rsaKey()), "PS256 RS256"},
		"RSA in PKCS #1":              {block(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey()), nil), "PS256 RS256"},
		"with a comment before it":    {"my key\n" + pkcs8(ec), "ES256"},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := ParseKey(secret.NewValue([]byte(c.text)))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(key.Algorithms(), " "); got != c.algorithms {
				t.Errorf("algorithms: got %s, want %s", got, c.algorithms)
			}
			if err := key.Prove(); err != nil {
				t.Error(err)
			}
			again, err := key.PEM()
			if err != nil {
				t.Fatal(err)
			}
			back, err := ParseKey(again)
			if err != nil || back.ID() != key.ID() {
				t.Errorf("written and read again: got %v, %v", back, err)
			}
			for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
				if shown := fmt.Sprintf(verb, key); shown != "key "+key.ID() {
					t.Errorf("%s shows %s", verb, shown)
				}
			}
		})
	}
}

func TestParseKeyRefusals(t *testing.T) {
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	pkcs8 := func(key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return block(t, "PRIVATE KEY", der, err)
	}
	public, err := x509.MarshalPKIXPublicKey(ec.Public())
	small, smallErr := rsa.GenerateKey(rand.Reader, 1024)
	if smallErr != nil {
		t.Skip(smallErr) // a runtime that refuses even to make one
	}
	for name, c := range map[string]struct{ text, says string }{
		"empty":             {"", "no whole PEM block"},
		"not PEM":           {"hunter2hunter2", "no whole PEM block"},
		"truncated":         {pkcs8(ec)[:80], "no whole PEM block"},
		"RSA of 1024 bits":  {pkcs8(small), "2048 to 4096 bits, found 1024"},
		"P-384":             {pkcs8(p384), "P-256, found one on P-384"},
		"public key":        {block(t, "PUBLIC KEY", public, err), "(PUBLIC KEY)"},
		"certificate first": {block(t, "CERTIFICATE", []byte("x"), nil) + pkcs8(ec), "(CERTIFICATE)"},
		"two keys":          {pkcs8(ec) + pkcs8(ec), "found two"},
		"passphrase":        {block(t, "ENCRYPTED PRIVATE KEY", []byte("x"), nil), "without a passphrase"},
		"old passphrase":    {"-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n", "without a passphrase"},
		"junk inside":       {block(t, "PRIVATE KEY", []byte("hunter2hunter2"), nil), "does not parse"},
		"bound to nonsense": {"-----BEGIN PRIVATE KEY-----\nKeyway-Alg: HS256\n\n" + strings.TrimPrefix(pkcs8(ec), "-----BEGIN PRIVATE KEY-----\n"), "can't sign with HS256"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseKey(secret.NewValue([]byte(c.text)))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v, want an error that says %q", err, c.says)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error quotes the input: %v", err)
			}
		})
	}
}

func TestProveFindsAMismatch(t *testing.T) {
	one, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	one.PublicKey = other.PublicKey
	key, err := NewKey(one)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Prove(); err == nil {
		t.Error("a key whose halves don't belong together proved itself")
	}
}

// The example of RFC 7638 section 3.1.
func TestThumbprintExample(t *testing.T) {
	var key jose.JSONWebKey
	err := json.Unmarshal([]byte(`{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB"}`), &key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Thumbprint(key.Key)
	if want := "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestKeyIDsAreThumbprintsAndUnique(t *testing.T) {
	threat.Covers(t, 55)
	seen := map[string]bool{}
	for range 1000 {
		key := newEd(t)
		want, err := Thumbprint(key.signer.Public())
		if err != nil || key.ID() != want {
			t.Fatalf("id %s, want the thumbprint %s (%v)", key.ID(), want, err)
		}
		if seen[key.ID()] {
			t.Fatalf("id %s twice", key.ID())
		}
		seen[key.ID()] = true
		// The id is fit for everything that a version's id is used in.
		ringOf(t, version(t, key, "active"))
	}
}

func FuzzParseKey(f *testing.F) {
	key := newEC(f)
	text, _ := key.PEM()
	f.Add(text.Reveal())
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: x\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := ParseKey(secret.NewValue(text))
		if err == nil && (key.IsZero() || len(key.ID()) != 43 || len(key.Algorithms()) == 0) {
			t.Errorf("accepted a key without id or algorithm")
		}
	})
}
