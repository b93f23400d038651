package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	jose "github.com/go-jose/go-jose/v4"
)

// A ProofSigner makes compact JWS that carry the public key they are checked with
// in their header (`jwk`), and no `kid`: for a peer that has never seen the key. It
// is immutable and safe for concurrent use.
//
// The header is the same each time, so it is made once, by go-jose. What is left is
// put together here: proofs are made for each proxied request, and this takes half
// the time.
type ProofSigner struct {
	key    Key
	header string // encoded, with the dot
}

// NewProofSigner signs with key in one algorithm, ES256, EdDSA or PS256, with typ in
// the header. The header holds the public members of the key only.
func NewProofSigner(key Key, algorithm, typ string) (*ProofSigner, error) {
	if !slices.Contains(key.Algorithms(), algorithm) || algorithm == RS256 {
		return nil, fmt.Errorf("%w: %s", ErrNoAlgorithm, algorithm)
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: key.signer},
		(&jose.SignerOptions{EmbedJWK: true}).WithType(jose.ContentType(typ)),
	)
	if err != nil {
		return nil, fmt.Errorf("jwks: %s: %w", algorithm, err)
	}
	signed, err := signer.Sign(nil)
	if err != nil {
		return nil, fmt.Errorf("jwks: signing a proof with %s: %w", key.ID(), err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		return nil, err
	}
	header, _, _ := strings.Cut(compact, ".")
	return &ProofSigner{key: key, header: header + "."}, nil
}

// Thumbprint is the RFC 7638 thumbprint of the key.
func (s *ProofSigner) Thumbprint() string { return s.key.ID() }

// Sign returns the compact JWS of a payload (RFC 7515 section 5.1).
func (s *ProofSigner) Sign(payload []byte) (string, error) {
	encode := base64.RawURLEncoding
	text := make([]byte, 0, len(s.header)+encode.EncodedLen(len(payload))+1+encode.EncodedLen(512))
	text = append(text, s.header...)
	text = encode.AppendEncode(text, payload)
	signature, err := s.sign(text)
	if err != nil {
		return "", fmt.Errorf("jwks: signing a proof with %s: %w", s.key.ID(), err)
	}
	return string(encode.AppendEncode(append(text, '.'), signature)), nil
}

func (s *ProofSigner) sign(input []byte) ([]byte, error) {
	if private, ok := s.key.signer.(ed25519.PrivateKey); ok {
		return ed25519.Sign(private, input), nil // RFC 8037 section 3.1: of the message itself
	}
	sum := sha256.Sum256(input)
	switch private := s.key.signer.(type) {
	case *ecdsa.PrivateKey: // RFC 7518 section 3.4: R and S of 32 bytes each
		r, t, err := ecdsa.Sign(rand.Reader, private, sum[:])
		if err != nil {
			return nil, err
		}
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		t.FillBytes(signature[32:])
		return signature, nil
	case *rsa.PrivateKey: // section 3.5: the salt is as long as the hash
		return rsa.SignPSS(rand.Reader, private, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	}
	return nil, ErrNoAlgorithm
}
