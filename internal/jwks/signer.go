package jwks

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	jose "github.com/go-jose/go-jose/v4"

	"keyway/internal/keyring"
)

// ErrNoAlgorithm says that a key can't sign with anything that the peer accepts.
var ErrNoAlgorithm = errors.New("no signature algorithm in common")

// Signer makes compact JWS with one version of a signing ring. It is immutable
// and safe for concurrent use.
type Signer struct {
	key     Key
	version string
}

// NewVersionSigner signs with one version of a ring: the active one, another
// live one where a peer refuses that, or a pending one that is to be proved.
func NewVersionSigner(v keyring.Version) (*Signer, error) {
	key, err := ParseKey(v.Value)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", v.ID, err)
	}
	return &Signer{key: key, version: v.ID}, nil
}

// Version is the id of the ring's version; KeyID the `kid` of what is signed.
// They are the same wherever the keystore made the ring.
func (s *Signer) Version() string { return s.version }

// KeyID is the `kid` that the signer puts into headers.
func (s *Signer) KeyID() string { return s.key.ID() }

// Sign returns the compact JWS of claims as JSON, with the header members alg,
// kid and, unless it is empty, typ. Of the algorithms that the key can sign
// with, the best one in allowed is taken; nil means that the peer did not say,
// and then an RSA key takes RS256, which OpenID Connect asks every provider to
// support (Discovery 1.0 section 3), and not the better one that it may lack.
// The error is ErrNoAlgorithm when there is none.
func (s *Signer) Sign(claims any, typ string, allowed []string) (string, error) {
	algorithm, err := s.Algorithm(allowed)
	if err != nil {
		return "", err
	}
	return s.sign(claims, typ, algorithm)
}

// Algorithm is what [Signer.Sign] signs with for a peer that accepts these. The error
// is ErrNoAlgorithm when there is none.
func (s *Signer) Algorithm(allowed []string) (string, error) {
	able := s.key.Algorithms()
	if len(allowed) == 0 {
		if slices.Contains(able, RS256) {
			return RS256, nil
		}
		return able[0], nil
	}
	for _, algorithm := range able {
		if slices.Contains(allowed, algorithm) {
			return algorithm, nil
		}
	}
	return "", fmt.Errorf("%w: the signing key %s signs with %s, the peer accepts %s",
		ErrNoAlgorithm, s.key.ID(), strings.Join(able, ", "), printable(allowed))
}

func (s *Signer) sign(claims any, typ, algorithm string) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("jwks: encoding claims: %w", err)
	}
	options := &jose.SignerOptions{}
	if typ != "" {
		options.WithType(jose.ContentType(typ))
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(algorithm),
		Key:       jose.JSONWebKey{Key: s.key.signer, KeyID: s.key.ID()},
	}, options)
	if err != nil {
		return "", fmt.Errorf("jwks: %s: %w", algorithm, err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("jwks: signing with %s: %w", s.key.ID(), err)
	}
	return signed.CompactSerialize()
}

// Prove signs and verifies with every algorithm that the key may be used with.
// A key proves itself before it is used, so that a broken one is found where
// it can still be refused, not at the next sign-in.
func (k Key) Prove() error {
	signer := &Signer{key: k, version: k.id}
	for _, algorithm := range k.Algorithms() {
		compact, err := signer.sign(map[string]string{"proof": k.id}, "", algorithm)
		if err != nil {
			return err
		}
		parsed, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(algorithm)})
		if err != nil {
			return fmt.Errorf("key %s can't read its own signature: %w", k.id, err)
		}
		if _, err := parsed.Verify(k.signer.Public()); err != nil {
			return fmt.Errorf("key %s does not verify its own %s signature: the private and the public part don't belong together", k.id, algorithm)
		}
	}
	return nil
}

// printable shows a peer's list without letting it fill a log.
func printable(list []string) string {
	const most = 12
	shown := make([]string, 0, most)
	for _, item := range list[:min(len(list), most)] {
		shown = append(shown, fmt.Sprintf("%.20q", item))
	}
	return strings.Join(shown, ", ")
}
