package keystore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"keyway/internal/jwks"
	"keyway/internal/secret"
)

// newRSABits is the size of RSA keys made here: 128 bits of strength, good past
// 2030 (NIST SP 800-57 part 1, table 2).
const newRSABits = 3072

// NewSigningKey makes a private key for an algorithm: ES256 (when empty), PS256,
// RS256 or EdDSA. The id is its RFC 7638 thumbprint, the value that of a version
// of a ring. It has signed and verified once. An RSA key takes a second or more.
func NewSigningKey(algorithm string) (id string, value secret.Value, err error) {
	key, err := newKey(algorithm)
	if err != nil {
		return "", secret.Value{}, err
	}
	if err := key.Prove(); err != nil {
		return "", secret.Value{}, fmt.Errorf("signing key: %w", err)
	}
	value, err = key.RingValue()
	return key.ID(), value, err
}

// newKey makes a key that is bound to an algorithm.
func newKey(algorithm string) (jwks.Key, error) {
	if algorithm == "" {
		algorithm = jwks.ES256
	}
	key, err := makeKey(algorithm)
	if err != nil {
		return jwks.Key{}, err
	}
	return key.Bind(algorithm)
}

// makeKey makes a key that can sign with an algorithm.
func makeKey(algorithm string) (jwks.Key, error) {
	var signer crypto.Signer
	var err error
	switch algorithm {
	case jwks.ES256:
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jwks.EdDSA:
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	case jwks.PS256, jwks.RS256:
		signer, err = rsa.GenerateKey(rand.Reader, newRSABits)
	default:
		return jwks.Key{}, fmt.Errorf("signing key: expected an algorithm of ES256, PS256, RS256 or EdDSA, found %.20q", algorithm)
	}
	if err != nil {
		return jwks.Key{}, fmt.Errorf("signing key: making one for %s: %w", algorithm, err)
	}
	return jwks.NewKey(signer)
}

// readAdopted reads the key handed in, if there is one. Errors never show the
// value: it may be a key that merely is not PEM.
func readAdopted(o Options) (jwks.Key, error) {
	text := bytes.TrimSpace(o.Adopt.Reveal())
	if len(text) == 0 {
		return jwks.Key{}, nil
	}
	if !bytes.Contains(text, []byte("-----BEGIN ")) {
		content, err := readPath(string(text))
		if err != nil {
			return jwks.Key{}, err
		}
		text = content
	} else if !bytes.ContainsRune(text, '\n') {
		// One line with \n in it: what is left of a PEM in many .env files.
		text = bytes.ReplaceAll(text, []byte(`\n`), []byte("\n"))
	}
	key, err := jwks.ParseKey(secret.NewValue(text))
	if err != nil {
		return jwks.Key{}, err
	}
	if o.Algorithm != "" {
		return key.Bind(o.Algorithm)
	}
	return key, nil
}

func readPath(path string) ([]byte, error) {
	looksLikePath := len(path) < 1024 && !strings.ContainsAny(path, "\n\r=+") &&
		(strings.HasPrefix(path, "/") || strings.HasPrefix(path, ".") || strings.HasSuffix(path, ".pem") || strings.HasSuffix(path, ".key"))
	if !looksLikePath {
		return nil, errors.New("expected a PEM private key, or the path of one (beginning with / or ., or ending in .pem or .key), found neither")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return nil, err
	}
	return content, nil
}
