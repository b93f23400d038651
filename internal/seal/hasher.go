package seal

import (
	"crypto/hmac"
	"crypto/sha256"

	"keyway/internal/keyring"
)

// Hasher makes keyed hashes (HMAC-SHA256): a way to find or compare something
// without keeping it. The version must be kept beside the hash, because only
// the same version gives the same hash again.
type Hasher struct{ keys derived[[]byte] }

// NewHasher derives a Hasher for one purpose.
func NewHasher(ring keyring.Ring, purpose string) (*Hasher, error) {
	keys, err := deriveAll(ring, purpose, func(key []byte) ([]byte, error) { return key, nil })
	if err != nil {
		return nil, err
	}
	return &Hasher{keys: keys}, nil
}

// ActiveVersion is the id of the version to hash new things with.
func (h *Hasher) ActiveVersion() string { return h.keys.active }

// Sum hashes data with the named version. Errors: keyring.ErrUnknownVersion,
// keyring.ErrRetired.
func (h *Hasher) Sum(version string, data []byte) ([sha256.Size]byte, error) {
	key, err := h.keys.lookup(version)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	return mac(key, data), nil
}

// Equal reports whether sum is the hash of data under the named version, in
// constant time.
func (h *Hasher) Equal(version string, data []byte, sum []byte) (bool, error) {
	want, err := h.Sum(version, data)
	if err != nil {
		return false, err
	}
	return hmac.Equal(want[:], sum), nil
}

func mac(key []byte, parts ...[]byte) (sum [sha256.Size]byte) {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		m.Write(p)
	}
	m.Sum(sum[:0])
	return sum
}
