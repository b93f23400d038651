package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"keyway/internal/jwks"
)

// HeadType is the typ of a head's signature.
const HeadType = "keyway-audit-head+jwt"

// headClaims is what a head's signature is over.
type headClaims struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
	At   string `json:"at"` // when it was signed, RFC 3339
}

func claimsOf(h Head, now time.Time) headClaims {
	return headClaims{h.Seq, h.Hash, now.UTC().Format(time.RFC3339)}
}

// algorithms are those that a signing key of ours may have.
var algorithms = []jose.SignatureAlgorithm{
	jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512, jose.RS256, jose.RS384, jose.RS512, jose.EdDSA,
}

// UnknownKeyError says that a head is signed with a key that is not in the key set.
type UnknownKeyError struct{ KeyID string }

func (e *UnknownKeyError) Error() string {
	return fmt.Sprintf("signed with the key %.100q, and the key set that was given does not have it", e.KeyID)
}

// errForged says no more: what somebody else has put there is of no use.
var errForged = errors.New("the signature is not one of this head by a key in the key set")

// KeyIDOf is the key that a head says it is signed with; empty: none.
func KeyIDOf(h Head) string {
	parsed, err := jose.ParseSignedCompact(h.Signature, algorithms)
	if err != nil {
		return ""
	}
	return parsed.Signatures[0].Protected.KeyID
}

// VerifyHead checks a head's signature by the public keys in a JWK set, and returns
// when it was signed. Its errors are *KeySetError, *UnknownKeyError, or that the
// signature is not good.
func VerifyHead(h Head, keySet []byte) (time.Time, error) {
	set, err := keysOf(keySet)
	if err != nil {
		return time.Time{}, err
	}
	parsed, err := jose.ParseSignedCompact(h.Signature, algorithms)
	if err != nil {
		return time.Time{}, errForged
	}
	header := parsed.Signatures[0].Protected
	// RFC 8725 section 3.11: another token of ours must not pass for a head.
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); !strings.EqualFold(strings.TrimPrefix(strings.ToLower(typ), "application/"), HeadType) {
		return time.Time{}, errForged
	}
	keys := slices.DeleteFunc(set.Key(header.KeyID), func(k jose.JSONWebKey) bool { return !k.IsPublic() })
	if len(keys) == 0 {
		return time.Time{}, &UnknownKeyError{header.KeyID}
	}
	for _, key := range keys {
		if key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		payload, err := parsed.Verify(key.Key)
		if err != nil {
			continue
		}
		var c headClaims
		if jwks.DecodeObject(payload, &c) != nil || c.Seq != h.Seq || c.Hash != h.Hash {
			return time.Time{}, errForged
		}
		at, err := time.Parse(time.RFC3339, c.At)
		if err != nil {
			return time.Time{}, errForged
		}
		return at, nil
	}
	return time.Time{}, errForged
}

// KeySetError says that something is not a JWK set that could have signed a head.
type KeySetError struct{ Found string }

func (e *KeySetError) Error() string {
	return fmt.Sprintf("expected a JWK set with public keys (RFC 7517 section 5), as /.well-known/jwks.json of the gateway is; found %s", e.Found)
}

// CheckKeySet returns a *KeySetError if heads can't be held against a key set at all.
func CheckKeySet(set []byte) error {
	_, err := keysOf(set)
	return err
}

func keysOf(set []byte) (jose.JSONWebKeySet, error) {
	var keys jose.JSONWebKeySet
	var members map[string]json.RawMessage
	line, _, _ := bytes.Cut(set, []byte("\n"))
	found := ""
	switch {
	case len(bytes.TrimSpace(set)) == 0:
		found = "nothing: it is empty"
	case SeqOf(line) > 0 || bytes.HasPrefix(line, beginsEnd):
		found = "an export of the record"
	case json.Unmarshal(set, &members) != nil:
		found = "something that is not a JSON object"
	case members["kty"] != nil && members["keys"] == nil:
		found = "one key, without the set around it"
	case members["keys"] == nil:
		found = "a JSON object without keys"
	case json.Unmarshal(set, &keys) != nil:
		found = "keys that can't be read"
	case !slices.ContainsFunc(keys.Keys, func(k jose.JSONWebKey) bool { return k.IsPublic() }):
		found = "a set without public keys"
	default:
		return keys, nil
	}
	return keys, &KeySetError{found}
}
