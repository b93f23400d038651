package jwks

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	jose "github.com/go-jose/go-jose/v4"
	josejson "github.com/go-jose/go-jose/v4/json"
)

// maxKeys bounds a peer's key set; the largest in the wild hold a dozen.
const maxKeys = 100

// maxTried bounds how many keys one signature is tried against, when the key
// id leaves more than one.
const maxTried = 4

// publicKey is one usable signature key of a peer.
type publicKey struct {
	id        string // may be empty
	algorithm string // empty: any that fits the key
	key       any    // *ecdsa.PublicKey, ed25519.PublicKey or *rsa.PublicKey
}

// keySet is what a key set document came to. Immutable.
type keySet []publicKey

// jwk is what is read of a JWK (RFC 7517 section 4). Certificates are not: a
// key is trusted because of where it was fetched.
type jwk struct {
	Kty    string   `json:"kty"`
	Kid    string   `json:"kid"`
	Use    string   `json:"use"`
	Alg    string   `json:"alg"`
	KeyOps []string `json:"key_ops"`
	Crv    string   `json:"crv"`
	X      string   `json:"x"`
	Y      string   `json:"y"`
	N      string   `json:"n"`
	E      string   `json:"e"`
	D      string   `json:"d"`
	K      string   `json:"k"`
}

// errNoKeys says that a document holds nothing that a signature could be
// checked with.
var errNoKeys = errors.New("no usable signature key in the set")

// parseKeySet keeps the public signature keys of a document and leaves out what
// is not one or not understood, as RFC 7517 section 5 wants: symmetric and
// private keys, encryption keys, weak keys, unknown types and curves. A set in
// which nothing is left is an error.
func parseKeySet(document []byte) (keySet, error) {
	var outer struct {
		Keys []josejson.RawMessage `json:"keys"`
	}
	if err := DecodeObject(document, &outer); err != nil {
		return nil, err
	}
	if len(outer.Keys) > maxKeys {
		return nil, fmt.Errorf("expected at most %d keys in the set, found %d", maxKeys, len(outer.Keys))
	}
	var set keySet
	for _, raw := range outer.Keys {
		if key, ok := parsePublicKey(raw); ok {
			set = append(set, key)
		}
	}
	if len(set) == 0 {
		return nil, errNoKeys
	}
	return set, nil
}

func parsePublicKey(raw []byte) (publicKey, bool) {
	var k jwk
	if err := DecodeObject(raw, &k); err != nil {
		return publicKey{}, false
	}
	switch {
	case k.D != "" || k.K != "": // a private or symmetric key that everybody knows proves nothing
		return publicKey{}, false
	case k.Use != "" && k.Use != "sig":
		return publicKey{}, false
	case k.KeyOps != nil && !slices.Contains(k.KeyOps, "verify"):
		return publicKey{}, false
	case len(k.Kid) > maxKeyID:
		return publicKey{}, false
	}
	// Only the members that make the key go to the JOSE library.
	minimal, err := json.Marshal(map[string]string(prune(map[string]string{
		"kty": k.Kty, "crv": k.Crv, "x": k.X, "y": k.Y, "n": k.N, "e": k.E,
	})))
	if err != nil {
		return publicKey{}, false
	}
	var parsed jose.JSONWebKey
	if err := parsed.UnmarshalJSON(minimal); err != nil || !parsed.IsPublic() || !parsed.Valid() {
		return publicKey{}, false
	}
	if weak(parsed.Key) {
		return publicKey{}, false
	}
	if k.Alg != "" && !fits(parsed.Key, k.Alg) {
		return publicKey{}, false
	}
	return publicKey{id: k.Kid, algorithm: k.Alg, key: parsed.Key}, true
}

func prune(m map[string]string) map[string]string {
	for name, value := range m {
		if value == "" {
			delete(m, name)
		}
	}
	return m
}

// weak refuses RSA keys that are too short, or whose exponent is even, tiny or
// huge: the last makes every check expensive for us alone.
func weak(key any) bool {
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		return false
	}
	bits := public.N.BitLen()
	return bits < MinimumRSABits || bits > maximumRSABits || public.E < 3 || public.E&1 == 0 || public.E > 1<<31-1
}

// fits reports whether a signature by algorithm can come from such a key
// (RFC 7518 section 3, RFC 8037 section 3.1).
func fits(key any, algorithm string) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return slices.Contains([]string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, algorithm)
	case *ecdsa.PublicKey:
		switch algorithm {
		case "ES256":
			return key.Curve.Params().BitSize == 256
		case "ES384":
			return key.Curve.Params().BitSize == 384
		case "ES512":
			return key.Curve.Params().BitSize == 521
		}
	case ed25519.PublicKey:
		return algorithm == EdDSA
	}
	return false
}

// verifiable lists the algorithms in which Keyway accepts signatures at all. Every
// one is asymmetric, so that no public key can be used as an HMAC secret, and
// "none" is not among them (RFC 8725 section 3.1 and 3.2).
var verifiable = []string{
	"ES256", "PS256", "EdDSA", "RS256", "ES384", "PS384", "RS384", "ES512", "PS512", "RS512",
}

// Acceptable keeps of a peer's list what Keyway verifies. A nil list means
// RS256, the default that OpenID Connect gives (Core 1.0 section 3.1.3.7, 7).
func Acceptable(offered []string) []string {
	if len(offered) == 0 {
		return []string{RS256}
	}
	return slices.DeleteFunc(slices.Clone(offered), func(algorithm string) bool {
		return !slices.Contains(verifiable, algorithm)
	})
}

// candidates are the keys that a signature with this header could be by. A key
// id must match exactly. Keys of another type, or for another algorithm or use,
// are no candidates even under the same id.
func (set keySet) candidates(keyID, algorithm string) keySet {
	var found keySet
	for _, key := range set {
		if keyID != "" && key.id != keyID {
			continue
		}
		if key.algorithm != "" && key.algorithm != algorithm {
			continue
		}
		if !fits(key.key, algorithm) {
			continue
		}
		found = append(found, key)
	}
	return found
}

// String names the keys, for logs.
func (set keySet) String() string {
	ids := make([]string, len(set))
	for i, key := range set {
		ids[i] = fmt.Sprintf("%.40q", key.id)
	}
	return strings.Join(ids, ", ")
}
