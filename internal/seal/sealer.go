package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"strings"

	"keyway/internal/keyring"
)

// format is the first byte of what a Sealer writes. A change of algorithm gets
// a new one, so that old records stay readable while both are about.
const format = 1

// Sealer encrypts with the active version and opens with any live one.
//
// AES-256-GCM with random 96-bit nonces (NIST SP 800-38D 8.2.2): one version
// must not seal more than 2^32 times, which at 1,000 a second takes 49 days and
// is why keys of this kind turn by schedule.
type Sealer struct {
	purpose string
	keys    derived[cipher.AEAD]
}

// NewSealer derives a Sealer for one purpose, a constant such as
// "session record". It fails when the ring is empty.
func NewSealer(ring keyring.Ring, purpose string, meter ...*Meter) (*Sealer, error) {
	keys, err := deriveAll(ring, purpose, one(meter), func(key []byte) (cipher.AEAD, error) {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		return cipher.NewGCMWithRandomNonce(block)
	})
	if err != nil {
		return nil, err
	}
	return &Sealer{purpose: purpose, keys: keys}, nil
}

// ActiveVersion is the id of the version that Seal uses.
func (s *Sealer) ActiveVersion() string { return s.keys.active }

// Seal encrypts plaintext and binds it to context, which the one who opens must
// know too (a record's key, a transaction's id), so that sealed things can't be
// swapped for each other. The result names the version:
//
//	format(1) | len(id)(1) | id | nonce(12) | ciphertext | tag(16)
func (s *Sealer) Seal(plaintext, context []byte) []byte {
	id := s.keys.active
	out := make([]byte, 0, 2+len(id)+12+len(plaintext)+16)
	out = append(out, format, byte(len(id)))
	out = append(out, id...)
	header := out[:len(out):len(out)]
	return s.keys.issue().Seal(out, nil, plaintext, associated(header, context))
}

// Open reverses Seal. Errors: ErrForged, keyring.ErrUnknownVersion,
// keyring.ErrRetired.
func (s *Sealer) Open(sealed, context []byte) ([]byte, error) {
	id, ok := VersionOf(sealed)
	if !ok {
		return nil, ErrForged
	}
	key, err := s.keys.lookup(id)
	if err != nil {
		return nil, err
	}
	header := sealed[:2+len(id)]
	plaintext, err := key.Open(nil, nil, sealed[len(header):], associated(header, context))
	if err != nil {
		return nil, ErrForged
	}
	return plaintext, nil
}

// VersionOf reads the id of the version that sealed something, without opening
// it: what counting needs, to know when a version protects nothing any more.
func VersionOf(sealed []byte) (id string, ok bool) {
	if len(sealed) < 2 || sealed[0] != format {
		return "", false
	}
	n := int(sealed[1])
	if n == 0 || len(sealed) < 2+n {
		return "", false
	}
	return string(sealed[2 : 2+n]), true
}

// SealText is Seal for a cookie or a URL: `<version>.<base64url>`.
func (s *Sealer) SealText(plaintext, context []byte) string {
	sealed := s.Seal(plaintext, context)
	id := s.keys.active
	return id + "." + base64.RawURLEncoding.EncodeToString(sealed[2+len(id):])
}

// OpenText reverses SealText, with the errors of Open.
func (s *Sealer) OpenText(text string, context []byte) ([]byte, error) {
	id, body, ok := strings.Cut(text, ".")
	if !ok || id == "" || len(id) > 255 {
		return nil, ErrForged
	}
	raw, err := decodeText(body)
	if err != nil {
		return nil, ErrForged
	}
	sealed := make([]byte, 0, 2+len(id)+len(raw))
	sealed = append(sealed, format, byte(len(id)))
	sealed = append(sealed, id...)
	return s.Open(append(sealed, raw...), context)
}

// decodeText reads what a text has but one spelling of. The library leaves out line
// breaks wherever they are, in strict mode too, and text from a query can have some.
func decodeText(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, ErrForged
	}
	return base64.RawURLEncoding.Strict().DecodeString(text)
}

// associated binds header and context unambiguously: the header's length is
// fixed by its own second byte.
func associated(header, context []byte) []byte {
	return append(append(make([]byte, 0, len(header)+len(context)), header...), context...)
}
