package oidc

import (
	"errors"
	"slices"

	"keyway/internal/jwks"
)

// Health says why sign-ins are not possible now, from what is known already: nil
// once the metadata was had, which then stays in use.
func (p *Provider) Health() error {
	if p.metadata.Load() != nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lastErr != nil {
		return p.lastErr
	}
	return &UnavailableError{Endpoint: "discovery", Cause: errors.New("not asked yet")}
}

// BestSigningAlgorithm is what a new key for private_key_jwt should sign with:
// the best that the provider takes. One that does not say takes RS256 (RFC 8414
// section 2, as OpenID Connect Discovery 1.0 section 3 recommends).
func (m *Metadata) BestSigningAlgorithm() string {
	for _, algorithm := range []string{jwks.ES256, jwks.PS256, jwks.EdDSA} {
		if slices.Contains(m.TokenAuthAlgs, algorithm) {
			return algorithm
		}
	}
	return jwks.RS256
}
