package idp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// signers are the provider's own ES256 keys, newest last; the newest signs, all
// are published.
type signers struct {
	mu   sync.RWMutex
	keys []signer
}

type signer struct {
	kid     string
	private *ecdsa.PrivateKey
}

// maxSigners bounds how many keys stay published through RotateKey alone.
const maxSigners = 4

func newSigner() (signer, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return signer{}, err
	}
	thumb, err := (&jose.JSONWebKey{Key: k.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return signer{}, err
	}
	return signer{kid: base64.RawURLEncoding.EncodeToString(thumb), private: k}, nil
}

func (s *signers) active() signer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.keys[len(s.keys)-1]
}

func (s *signers) public() jose.JSONWebKeySet {
	s.mu.RLock()
	defer s.mu.RUnlock()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range slices.Backward(s.keys) {
		set.Keys = append(set.Keys, jose.JSONWebKey{
			Key: k.private.Public(), KeyID: k.kid, Algorithm: string(jose.ES256), Use: "sig",
		})
	}
	return set
}

// RotateKey makes a new signing key, signs with it from now on, and returns its
// kid. The keys before it stay published, up to three of them.
func (p *Provider) RotateKey() (kid string, err error) {
	k, err := newSigner()
	if err != nil {
		return "", err
	}
	p.keys.mu.Lock()
	defer p.keys.mu.Unlock()
	p.keys.keys = append(p.keys.keys, k)
	if n := len(p.keys.keys) - maxSigners; n > 0 {
		p.keys.keys = slices.Delete(p.keys.keys, 0, n)
	}
	return k.kid, nil
}

// PublicKeys are the keys that are published, the active one first, before any
// hook.
func (p *Provider) PublicKeys() jose.JSONWebKeySet { return p.keys.public() }

// DropOldKeys stops publishing every key but the active one. ID tokens signed
// with the others are no longer good as id_token_hint either.
func (p *Provider) DropOldKeys() {
	p.keys.mu.Lock()
	defer p.keys.mu.Unlock()
	p.keys.keys = slices.Delete(p.keys.keys, 0, len(p.keys.keys)-1)
}

// Sign signs any header and claims with the active key and returns the compact
// serialization. The header goes out as given, true or not; kid and alg are
// filled in only where it does not have them, and a member that is nil is left
// out. Tests make logout tokens, and
// tokens that say none of what they should, with it.
func (p *Provider) Sign(header, claims map[string]any) (string, error) {
	k := p.keys.active()
	full := map[string]any{"alg": "ES256", "kid": k.kid}
	for name, v := range header {
		if full[name] = v; v == nil {
			delete(full, name)
		}
	}
	h, err := json.Marshal(full)
	if err != nil {
		return "", fmt.Errorf("idp: header: %w", err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("idp: claims: %w", err)
	}
	input := b64(h) + "." + b64(c)
	// By hand, not with go-jose: its signer would not let the header lie about
	// the algorithm. RFC 7518, 3.4: R and S, 32 bytes each.
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, sum[:])
	if err != nil {
		return "", err
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return input + "." + b64(sig), nil
}

// verifyOwn returns the claims of an ID token that this provider signed,
// whether expired or not: what an id_token_hint must be (OpenID Connect
// RP-Initiated Logout 1.0, 2 and 4). An access token has the same keys, so it is
// told apart by typ (RFC 8725, 3.11).
func (p *Provider) verifyOwn(token string) (map[string]any, error) {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, err
	}
	if typ, _ := jws.Signatures[0].Protected.ExtraHeaders[jose.HeaderType].(string); typ != "JWT" {
		return nil, errors.New("not an ID token")
	}
	set := p.keys.public()
	for _, k := range set.Key(jws.Signatures[0].Protected.KeyID) {
		if payload, err := jws.Verify(k); err == nil {
			var claims map[string]any
			if err := json.Unmarshal(payload, &claims); err != nil {
				return nil, err
			}
			if claims["iss"] != p.o.Issuer {
				return nil, errors.New("another issuer's")
			}
			return claims, nil
		}
	}
	return nil, errors.New("not signed with a key of ours")
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
