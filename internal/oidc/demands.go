package oidc

import (
	"fmt"
	"slices"

	"keyway/internal/dpop"
	"keyway/internal/jwks"
)

// JAR modes (MS_BFF_JAR_ENABLED).
const (
	JARAuto     = ""         // only if the provider demands it
	JAROff      = "off"      // never
	JARRequired = "required" // no sign-in without it
)

// Check reports what the configuration demands and a provider with this metadata does
// not offer: ErrNotOffered, with the key of the metadata. While it fails nobody can sign
// in: what was demanded is never left out instead.
func (rp *RelyingParty) Check(m *Metadata) error {
	_, err := rp.demands(m)
	return err
}

// demands are what a sign-in asks of a provider with this metadata.
type demands struct {
	responseMode   string // empty: the response is not signed
	signedRequests bool
}

func (rp *RelyingParty) demands(m *Metadata) (d demands, err error) {
	if rp.client.proofs != nil {
		if err := rp.client.proofs.offered(m); err != nil {
			return d, err
		}
	}
	if rp.o.JARM {
		if d.responseMode, err = responseMode(m); err != nil {
			return d, err
		}
		if len(responseAlgorithms(m)) == 0 {
			return d, fmt.Errorf("%w: signed authorization responses (oidc.jarm) with an asymmetric signature: its metadata has authorization_signing_alg_values_supported %.200q",
				ErrNotOffered, m.AuthorizationAlgs)
		}
	}
	if d.signedRequests, err = rp.signsRequests(m); err == nil && d.signedRequests {
		err = rp.client.canSign(m)
	}
	return d, err
}

// signsRequests reports whether authorization requests are signed (RFC 9101).
func (rp *RelyingParty) signsRequests(m *Metadata) (bool, error) {
	switch {
	case rp.o.JAR == JARRequired:
		return true, nil
	case m.RequireSigned && rp.o.JAR == JAROff:
		return false, fmt.Errorf("%w: authorization requests that are not signed: its metadata has require_signed_request_object, and oidc.jar is false", ErrNotOffered)
	}
	return m.RequireSigned, nil
}

// canSign reports whether a request object can be made that the provider takes.
func (c *Client) canSign(m *Metadata) error {
	switch {
	case len(c.signers) == 0:
		return fmt.Errorf("%w: signed authorization requests need a signing key, and there is none", ErrNotOffered)
	case len(jwks.Acceptable(m.RequestObjectAlgs)) == 0 || len(m.RequestObjectAlgs) == 0:
		return fmt.Errorf("%w: signed authorization requests (oidc.jar): its metadata has no request_object_signing_alg_values_supported that is asymmetric", ErrNotOffered)
	}
	if _, err := c.signers[0].signer.Algorithm(m.RequestObjectAlgs); err != nil {
		return fmt.Errorf("%w: signed authorization requests (oidc.jar): %w", ErrNotOffered, err)
	}
	return nil
}

// proofs are the keys of a client, as far as this package is concerned with them.
type proofs struct{ *dpop.Keys }

func newProofs(k *dpop.Keys) *proofs {
	if k == nil {
		return nil
	}
	return &proofs{k}
}

func (p *proofs) offered(m *Metadata) error {
	if len(m.DPoPAlgs) == 0 {
		return fmt.Errorf("%w: sender-constrained tokens (oidc.dpop): its metadata has no dpop_signing_alg_values_supported", ErrNotOffered)
	}
	if algorithm := p.Algorithm(p.Active()); !slices.Contains(m.DPoPAlgs, algorithm) {
		return fmt.Errorf("%w: DPoP proofs by %s, which our key is for: its metadata has dpop_signing_alg_values_supported %.200q; rotate dpop-key, and the new one is made for what it takes",
			ErrNotOffered, algorithm, m.DPoPAlgs)
	}
	return nil
}

// BestProofAlgorithm is what a new key for proofs should be made for.
func (m *Metadata) BestProofAlgorithm() string { return dpop.Algorithm(m.DPoPAlgs) }

// responseMode is what asks for a signed response (JARM section 2.3). With the code
// flow `jwt` is short for `query.jwt`, so a provider that lists either is asked by the
// one that it lists.
func responseMode(m *Metadata) (string, error) {
	for _, mode := range []string{"query.jwt", "jwt"} {
		if slices.Contains(m.ResponseModes, mode) {
			return mode, nil
		}
	}
	return "", fmt.Errorf("%w: signed authorization responses (oidc.jarm): its metadata has neither query.jwt nor jwt in response_modes_supported", ErrNotOffered)
}

// responseAlgorithms is the narrow list for signed responses; RS256, the default of
// JARM section 3, when the metadata says nothing.
func responseAlgorithms(m *Metadata) []string { return jwks.Acceptable(m.AuthorizationAlgs) }
