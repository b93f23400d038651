package dpop

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/secret"
)

// Type is the typ of a proof (RFC 9449 section 4.2).
const Type = "dpop+jwt"

// Header is the canonical name of the header that carries a proof, NonceHeader that
// of the one by which a server sets a nonce (section 8).
const (
	Header      = "Dpop"
	NonceHeader = "Dpop-Nonce"
)

// Scheme is the authentication scheme, and the token type (section 7.1).
const Scheme = "DPoP"

// NonceError is the error code of a server that wants a nonce (section 8).
const NonceError = "use_dpop_nonce"

// algorithms are what proofs are signed with, best first.
var algorithms = []string{jwks.ES256, jwks.EdDSA, jwks.PS256}

// Algorithm is the best for a key of ours, given a server's
// dpop_signing_alg_values_supported; empty when there is none in common.
func Algorithm(supported []string) string {
	for _, algorithm := range algorithms {
		if slices.Contains(supported, algorithm) {
			return algorithm
		}
	}
	return ""
}

// ErrNoKey says that the version of the key that a token is bound to is not there (any
// more): nobody can use that token.
var ErrNoKey = errors.New("dpop: the key that the token is bound to is not there any more")

// Keys are the live versions of the key, as one generation has them. They are
// immutable and safe for concurrent use; the nonces behind them outlive generations.
type Keys struct {
	active    string
	by        map[string]*jwks.ProofSigner // by version
	algorithm map[string]string
	nonces    *Nonces
}

// New parses the versions of a ring. Nonces are shared by all generations of a
// process; nil makes some for these Keys alone.
func New(ring keyring.Ring, nonces *Nonces) (*Keys, error) {
	if ring.IsZero() {
		return nil, errors.New("dpop: expected a key ring, found none")
	}
	if nonces == nil {
		nonces = NewNonces(0)
	}
	k := &Keys{active: ring.Active().ID, by: map[string]*jwks.ProofSigner{}, algorithm: map[string]string{}, nonces: nonces}
	for v := range ring.Live() {
		key, err := jwks.ParseKey(v.Value)
		if err != nil {
			return nil, fmt.Errorf("dpop key %s: %w", v.ID, err)
		}
		algorithm := key.Algorithms()[0]
		if !slices.Contains(algorithms, algorithm) {
			return nil, fmt.Errorf("dpop key %s: expected a key for %s, found one for %s", v.ID, strings.Join(algorithms, ", "), algorithm)
		}
		signer, err := jwks.NewProofSigner(key, algorithm, Type)
		if err != nil {
			return nil, fmt.Errorf("dpop key %s: %w", v.ID, err)
		}
		k.by[v.ID], k.algorithm[v.ID] = signer, algorithm
	}
	return k, nil
}

// Active is the version that new tokens are bound to.
func (k *Keys) Active() string { return k.active }

// Has reports whether tokens that are bound to a version can be used.
func (k *Keys) Has(version string) bool { return k.by[version] != nil }

// Algorithm is what proofs with a version are signed with; empty: there is no such
// version.
func (k *Keys) Algorithm(version string) string { return k.algorithm[version] }

// Thumbprint is the jkt of a version (section 6); empty: there is no such version.
func (k *Keys) Thumbprint(version string) string {
	if signer := k.by[version]; signer != nil {
		return signer.Thumbprint()
	}
	return ""
}

// Request is what a proof is for.
type Request struct {
	// Version of the key; see [Keys.Active].
	Version string
	// Method, and URL with scheme and host. A query or fragment is left out of the
	// proof (section 4.2).
	Method, URL string
	// Token is the access token that goes with it; empty at an authorization server.
	Token secret.Value
}

// claims are those of section 4.2.
type claims struct {
	ID       string `json:"jti"`
	Method   string `json:"htm"`
	URL      string `json:"htu"`
	IssuedAt int64  `json:"iat"`
	Token    string `json:"ath,omitempty"`
	Nonce    string `json:"nonce,omitempty"`
}

// Prove makes a proof, with the nonce that the server set last. Each has another jti,
// so a request that is sent again needs another proof. The error is ErrNoKey when the
// version is not there.
func (k *Keys) Prove(r Request) (string, error) {
	signer := k.by[r.Version]
	if signer == nil {
		return "", fmt.Errorf("%w: version %.64q", ErrNoKey, r.Version)
	}
	address := r.URL
	if i := strings.IndexAny(address, "?#"); i >= 0 {
		address = address[:i]
	}
	c := claims{ID: rand.Text(), Method: r.Method, URL: address, IssuedAt: time.Now().Unix(), Nonce: k.nonces.of(address)}
	if !r.Token.IsZero() {
		c.Token = Hash(r.Token)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	return signer.Sign(payload)
}

// Took keeps the nonce that a server's answer sets, if it does (section 8.2: any answer
// may). It reports whether the answer had one that is of use.
func (k *Keys) Took(address string, values []string) bool { return k.nonces.keep(address, values) }

// Hash is ath, by which a proof names its token (section 4.2).
func Hash(token secret.Value) string {
	sum := sha256.Sum256(token.Reveal())
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// origin is scheme, host and port of an address: who sets nonces (section 8: they are
// per server). It is empty when there is none.
func origin(address string) string {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		return ""
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	if strings.ContainsAny(rest, "@") {
		u, err := url.Parse(address)
		if err != nil {
			return ""
		}
		rest = u.Host
	}
	return strings.ToLower(scheme + "://" + rest)
}
