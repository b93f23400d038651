package dpop

import (
	"errors"

	jose "github.com/go-jose/go-jose/v4"

	"keyway/internal/jwks"
)

// Check reads a proof of our own back, as a server does: by the key in its header. It
// returns the thumbprint of that key. It is for who verifies that a key works, and no
// more than that: nothing but the signature is looked at.
func Check(proof string) (jkt string, err error) {
	parsed, err := jose.ParseSignedCompact(proof, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.PS256})
	if err != nil {
		return "", errors.New("dpop: not a proof")
	}
	protected := parsed.Signatures[0].Protected
	if typ, _ := protected.ExtraHeaders[jose.HeaderType].(string); typ != Type || protected.JSONWebKey == nil {
		return "", errors.New("dpop: not a proof")
	}
	if _, err := parsed.Verify(protected.JSONWebKey); err != nil {
		return "", errors.New("dpop: the signature does not verify")
	}
	return jwks.Thumbprint(protected.JSONWebKey.Key)
}
