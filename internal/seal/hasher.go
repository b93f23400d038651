package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"slices"
	"sync"

	"keyway/internal/keyring"
)

// Hasher makes keyed hashes (HMAC-SHA256): a way to find or compare something
// without keeping it. The version must be kept beside the hash, because only
// the same version gives the same hash again.
type Hasher struct{ keys derived[*macKey] }

// NewHasher derives a Hasher for one purpose. A Meter, if one is given, counts what the keys are used for.
func NewHasher(ring keyring.Ring, purpose string, meter ...*Meter) (*Hasher, error) {
	keys, err := deriveAll(ring, purpose, one(meter), newMACKey)
	if err != nil {
		return nil, err
	}
	return &Hasher{keys: keys}, nil
}

// ActiveVersion is the id of the version to hash new things with.
func (h *Hasher) ActiveVersion() string { return h.keys.active }

// Versions are the ids of all versions that Sum takes, the active one first. Who
// looks for what others have hashed looks under each: a pending one is active
// elsewhere already.
func (h *Hasher) Versions() []string {
	others := make([]string, 0, len(h.keys.byID))
	for id := range h.keys.byID {
		if id != h.keys.active {
			others = append(others, id)
		}
	}
	slices.Sort(others)
	return append([]string{h.keys.active}, others...)
}

// Sum hashes data with the named version. Errors: keyring.ErrUnknownVersion,
// keyring.ErrRetired.
func (h *Hasher) Sum(version string, data []byte) ([sha256.Size]byte, error) {
	key, err := h.keys.lookup(version)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	return key.sum(data, nil), nil
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

// macKey is HMAC-SHA256 with one key. Setting HMAC up costs two blocks of SHA-256
// and six allocations, on every request; a used one is reset for less.
type macKey struct{ pool sync.Pool }

// macState keeps the sum beside the state, because what a hash.Hash writes to
// escapes.
type macState struct {
	hash.Hash
	out [sha256.Size]byte
}

func newMACKey(key []byte) (*macKey, error) {
	k := &macKey{}
	k.pool.New = func() any { return &macState{Hash: hmac.New(sha256.New, key)} }
	return k, nil
}

func (k *macKey) sum(a, b []byte) [sha256.Size]byte {
	m := k.pool.Get().(*macState)
	defer k.pool.Put(m)
	m.Reset()
	m.Write(a)
	m.Write(b)
	m.Sum(m.out[:0])
	return m.out
}
