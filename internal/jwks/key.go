package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // thumbprints, and the hashes of ES256, PS256 and RS256
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	jose "github.com/go-jose/go-jose/v4"

	"keyway/internal/secret"
)

// Names of the signature algorithms that Keyway signs with (RFC 7518 section
// 3.1, RFC 8037 section 3.1).
const (
	ES256 = "ES256"
	PS256 = "PS256"
	RS256 = "RS256"
	EdDSA = "EdDSA"
)

// MinimumRSABits is the least size of an RSA key (RFC 7518 section 3.3).
const MinimumRSABits = 2048

// maximumRSABits bounds what one signature or check may cost.
const maximumRSABits = 4096

// algorithmHeader is a PEM header that binds an RSA key to one algorithm. It
// is in the values of rings only; the files that other tools read are plain
// PKCS #8, and the algorithm is in the manifest beside them.
const algorithmHeader = "Keyway-Alg"

// Key is a private signing key. It is immutable and safe for concurrent use,
// and prints as its id.
type Key struct {
	signer crypto.Signer
	id     string
	bound  string // the one algorithm that an RSA key is for; empty: any that fits
}

// ID is the key's RFC 7638 thumbprint (SHA-256, base64url): unique without
// anybody having to count, and the same wherever the key turns up.
func (k Key) ID() string { return k.id }

// String implements fmt.Stringer with the id.
func (k Key) String() string { return "key " + k.id }

// GoString keeps %#v from walking into the private key.
func (k Key) GoString() string { return k.String() }

// IsZero reports whether k holds no key.
func (k Key) IsZero() bool { return k.signer == nil }

// Algorithms are what the key may sign with, best first.
func (k Key) Algorithms() []string {
	if k.bound != "" {
		return []string{k.bound}
	}
	switch k.signer.(type) {
	case *ecdsa.PrivateKey:
		return []string{ES256}
	case ed25519.PrivateKey:
		return []string{EdDSA}
	case *rsa.PrivateKey:
		return []string{PS256, RS256}
	}
	return nil
}

// Algorithm is the `alg` of the published key: the only one it signs with, or
// empty for an RSA key that may sign with PS256 and RS256, as each peer wants.
func (k Key) Algorithm() string {
	if all := k.Algorithms(); len(all) == 1 {
		return all[0]
	}
	return ""
}

// Bind returns the key restricted to one algorithm. It fails when the key can't
// sign with that one.
func (k Key) Bind(algorithm string) (Key, error) {
	if !slices.Contains(k.Algorithms(), algorithm) {
		return Key{}, fmt.Errorf("a key for %s can't sign with %s", strings.Join(k.Algorithms(), " or "), algorithm)
	}
	if _, ok := k.signer.(*rsa.PrivateKey); ok {
		k.bound = algorithm
	}
	return k, nil
}

// NewKey wraps a private key: ECDSA on P-256, Ed25519, or RSA of 2048 to 4096
// bits. Anything else is refused by an error that says what was found.
func NewKey(signer crypto.Signer) (Key, error) {
	switch private := signer.(type) {
	case *ecdsa.PrivateKey:
		if private.Curve != elliptic.P256() {
			return Key{}, fmt.Errorf("expected an EC key on the curve P-256, found one on %s", private.Curve.Params().Name)
		}
	case ed25519.PrivateKey:
	case *rsa.PrivateKey:
		bits := private.N.BitLen()
		if bits < MinimumRSABits || bits > maximumRSABits {
			return Key{}, fmt.Errorf("expected an RSA key of %d to %d bits, found %d", MinimumRSABits, maximumRSABits, bits)
		}
		if err := private.Validate(); err != nil {
			return Key{}, errors.New("expected an RSA key, found one whose numbers don't fit together")
		}
	default:
		return Key{}, fmt.Errorf("expected an EC, Ed25519 or RSA key, found %T", signer)
	}
	id, err := Thumbprint(signer.Public())
	if err != nil {
		return Key{}, err
	}
	return Key{signer: signer, id: id}, nil
}

// Thumbprint names a public key by RFC 7638 with SHA-256.
func Thumbprint(public crypto.PublicKey) (string, error) {
	jwk := jose.JSONWebKey{Key: public}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("thumbprint: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// Public is the key as the world may see it.
func (k Key) Public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.signer.Public(), KeyID: k.id, Algorithm: k.Algorithm(), Use: "sig"}
}

// PEM is the key as PKCS #8 (RFC 5958), the form of files.
func (k Key) PEM() (secret.Value, error) { return k.encode(nil) }

// RingValue is the key as PKCS #8 for a version of a ring; an RSA key's bound
// algorithm goes with it, in a PEM header.
func (k Key) RingValue() (secret.Value, error) {
	if k.bound == "" {
		return k.encode(nil)
	}
	return k.encode(map[string]string{algorithmHeader: k.bound})
}

func (k Key) encode(headers map[string]string) (secret.Value, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.signer)
	if err != nil {
		return secret.Value{}, fmt.Errorf("encoding a private key: %w", err)
	}
	return secret.NewValue(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Headers: headers, Bytes: der})), nil
}

// ParseKey reads one private key from PEM: PKCS #8, SEC 1 ("EC PRIVATE KEY") or
// PKCS #1 ("RSA PRIVATE KEY"). Whatever else is in there, a second key or a
// certificate, is refused rather than skipped. Errors say what was found, and
// quote nothing.
func ParseKey(text secret.Value) (Key, error) {
	rest := text.Reveal()
	var found *pem.Block
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		switch block.Type {
		case "EC PARAMETERS": // openssl ecparam writes it before the key, which repeats it
			continue
		case "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY":
			if found != nil {
				return Key{}, errors.New("expected one private key, found two")
			}
			found = block
		case "ENCRYPTED PRIVATE KEY":
			return Key{}, errEncrypted
		default:
			return Key{}, fmt.Errorf("expected a PEM private key (PKCS #8, SEC 1 or PKCS #1), found a PEM block of another type%s", nameOf(block.Type))
		}
	}
	if found == nil {
		return Key{}, errors.New("expected a PEM private key (-----BEGIN PRIVATE KEY-----), found no whole PEM block")
	}
	if _, encrypted := found.Headers["DEK-Info"]; encrypted {
		return Key{}, errEncrypted
	}
	signer, err := parseDER(found)
	if err != nil {
		return Key{}, err
	}
	key, err := NewKey(signer)
	if err != nil {
		return Key{}, err
	}
	if algorithm := found.Headers[algorithmHeader]; algorithm != "" {
		return key.Bind(algorithm)
	}
	return key, nil
}

var errEncrypted = errors.New("expected a private key without a passphrase, found an encrypted one; decrypt it with: openssl pkey -in KEY -out PLAIN")

// nameOf shows a PEM type when it is one that is well known, so that an error
// does not repeat what a stranger wrote.
func nameOf(pemType string) string {
	switch pemType {
	case "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE", "CERTIFICATE REQUEST", "OPENSSH PRIVATE KEY", "DSA PRIVATE KEY":
		return " (" + pemType + ")"
	}
	return ""
}

func parseDER(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("expected a private key in a PEM block %s, found something that does not parse as one", block.Type)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("expected a signing key (EC, Ed25519 or RSA), found %T", key)
	}
	return signer, nil
}
