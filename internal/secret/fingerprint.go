package secret

import (
	"crypto/hkdf"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base32"
	"runtime"
	"strings"
)

// idBytes gives ids of 16 characters: 80 bits, so that ids of one secret
// collide about once in 10^12 rotations.
const idBytes = 10

// stretchRounds makes guessing a peer's secret from its fingerprint cost what
// guessing a well-kept password costs (OWASP's figure for PBKDF2-HMAC-SHA256).
// They are done in steps of about a millisecond, so that requests get their turn
// in between.
const (
	stretchRounds = 600_000
	stretchSteps  = 100
)

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Fingerprint names a value of the secret called name. It is the same on every
// replica, and shows nothing of the value: it is derived one way, for this
// purpose and name alone. The value must have passed [CheckStrength].
func Fingerprint(name string, v Value) string {
	id, err := hkdf.Key(sha256.New, v.Reveal(), nil, "keyway version id 1\x00"+name, idBytes)
	if err != nil {
		panic("secret: hkdf refuses a constant length: " + err.Error())
	}
	return idEncoding.EncodeToString(id)
}

// FingerprintOfPeerSecret is [Fingerprint] for values that somebody else chose,
// a client secret from an IdP, whose strength is not ours to demand. It
// takes some 0.1 s of CPU on purpose, so call it when a value is loaded, never
// in a request.
func FingerprintOfPeerSecret(name string, v Value) string {
	key := v.Reveal()
	for range stretchSteps {
		var err error
		key, err = pbkdf2.Key(sha256.New, string(key), []byte("keyway version id 1\x00"+strings.ToLower(name)), stretchRounds/stretchSteps, sha256.Size)
		if err != nil {
			panic("secret: pbkdf2 refuses constant parameters: " + err.Error())
		}
		runtime.Gosched()
	}
	return idEncoding.EncodeToString(key[:idBytes])
}
