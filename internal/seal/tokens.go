package seal

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"keyway/internal/keyring"
)

// Tokens mints and checks bearer strings that are bound to something that the
// checker knows, such as the session that a CSRF token is for. A token is
//
//	<version>.base64url(random(16) | issued at(8) | HMAC-SHA256(32))
//
// The random part makes every token differ, so that compression of a page that
// holds it leaks nothing (BREACH).
type Tokens struct {
	keys     derived[*macKey]
	lifetime time.Duration
}

const (
	tokenRandom = 16
	tokenBody   = tokenRandom + 8
	// tokenSkew is how far ahead of ours another replica's clock may be.
	tokenSkew = 5 * time.Minute
)

// NewTokens derives Tokens for one purpose; what they mint is accepted for
// lifetime.
func NewTokens(ring keyring.Ring, purpose string, lifetime time.Duration, meter ...*Meter) (*Tokens, error) {
	keys, err := deriveAll(ring, purpose, one(meter), newMACKey)
	if err != nil {
		return nil, err
	}
	return &Tokens{keys: keys, lifetime: lifetime}, nil
}

// ActiveVersion is the id of the version that Mint uses.
func (t *Tokens) ActiveVersion() string { return t.keys.active }

// Mint makes a token that Check accepts with the same binding only.
func (t *Tokens) Mint(binding string, now time.Time) string {
	body := make([]byte, tokenBody, tokenBody+32)
	rand.Read(body[:tokenRandom])
	binary.BigEndian.PutUint64(body[tokenRandom:], uint64(now.Unix()))
	sum := t.keys.issue().sum(body, []byte(binding))
	return t.keys.active + "." + base64.RawURLEncoding.EncodeToString(append(body, sum[:]...))
}

// Version reads the id of the version that minted a token, without checking it.
func (t *Tokens) Version(token string) (id string, ok bool) {
	id, _, ok = strings.Cut(token, ".")
	return id, ok && id != ""
}

// Check accepts a token that a live version minted for this binding within the
// lifetime. Errors: ErrForged (which covers expired and other bindings),
// keyring.ErrUnknownVersion, keyring.ErrRetired.
func (t *Tokens) Check(token, binding string, now time.Time) error {
	id, text, ok := strings.Cut(token, ".")
	if !ok || len(text) != base64.RawURLEncoding.EncodedLen(tokenBody+32) {
		return ErrForged
	}
	key, err := t.keys.lookup(id)
	if err != nil {
		return err
	}
	raw, err := decodeText(text)
	if err != nil {
		return ErrForged
	}
	body, sum := raw[:tokenBody], raw[tokenBody:]
	want := key.sum(body, []byte(binding))
	if !hmac.Equal(want[:], sum) {
		return ErrForged
	}
	issued := time.Unix(int64(binary.BigEndian.Uint64(body[tokenRandom:])), 0)
	if now.After(issued.Add(t.lifetime)) || issued.After(now.Add(tokenSkew)) {
		return ErrForged
	}
	return nil
}
