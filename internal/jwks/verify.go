package jwks

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	jose "github.com/go-jose/go-jose/v4"
	josejson "github.com/go-jose/go-jose/v4/json"
)

// Bounds of a compact JWS, checked before anything is decoded.
const (
	// MaxTokenBytes is generous for an ID token with many groups in it.
	MaxTokenBytes  = 64 << 10
	maxHeaderBytes = 8 << 10
	maxKeyID       = 512
)

// ErrToken says that a token is not an acceptable JWS, whatever key is meant.
var ErrToken = errors.New("jwks: not an acceptable signed token")

// ErrSignature says that no key that could have signed a token did.
var ErrSignature = errors.New("jwks: the signature does not verify")

// Header is what is worth knowing of a JWS's protected header.
type Header struct {
	Algorithm string
	KeyID     string // empty: not said
	Type      string // typ, as sent
}

// Parsed is a compact JWS whose shape and header are acceptable. Nothing in it
// is proved before [Remote.Check].
type Parsed struct {
	Header Header
	jws    *jose.JSONWebSignature
}

// header reads a protected header's members that decide. RawMessage tells a
// member that is there from one that is not.
type header struct {
	Alg  string              `json:"alg"`
	Kid  string              `json:"kid"`
	Typ  string              `json:"typ"`
	Crit josejson.RawMessage `json:"crit"`
	B64  josejson.RawMessage `json:"b64"`
	Zip  josejson.RawMessage `json:"zip"`
	JWK  josejson.RawMessage `json:"jwk"`
	JKU  josejson.RawMessage `json:"jku"`
	X5U  josejson.RawMessage `json:"x5u"`
	X5C  josejson.RawMessage `json:"x5c"`
}

// Parse checks the shape and the header of a compact JWS against the narrow
// list of algorithms that the caller expects from this issuer. Refused, each
// with ErrToken: what is too large, encrypted, unsigned (`alg: none`), signed
// with a secret (HMAC) or in another way than allowed; what brings its own key
// (jwk, jku, x5u, x5c), or demands an extension (crit, b64): RFC 8725 section
// 3.1 to 3.10.
func Parse(token string, allowed []string) (Parsed, error) {
	if len(token) > MaxTokenBytes {
		return Parsed{}, fmt.Errorf("%w: expected at most %d bytes, found %d", ErrToken, MaxTokenBytes, len(token))
	}
	if strings.ContainsAny(token, "\r\n") { // left out in decoding: one token would have many spellings
		return Parsed{}, fmt.Errorf("%w: it has line breaks", ErrToken)
	}
	switch dots := strings.Count(token, "."); dots {
	case 2:
	case 4:
		return Parsed{}, fmt.Errorf("%w: expected a signed token, found an encrypted one", ErrToken)
	default:
		return Parsed{}, fmt.Errorf("%w: expected three parts, found %d", ErrToken, dots+1)
	}
	encoded, _, _ := strings.Cut(token, ".")
	if len(encoded) > maxHeaderBytes {
		return Parsed{}, fmt.Errorf("%w: the header is too large", ErrToken)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return Parsed{}, fmt.Errorf("%w: the header is not base64url", ErrToken)
	}
	var h header
	if err := DecodeObject(raw, &h); err != nil {
		return Parsed{}, fmt.Errorf("%w: header: %w", ErrToken, err)
	}
	switch {
	case !slices.Contains(verifiable, h.Alg) || !slices.Contains(allowed, h.Alg):
		return Parsed{}, fmt.Errorf("%w: expected alg %s, found %.8q", ErrToken, strings.Join(allowed, " or "), h.Alg)
	case h.Crit != nil || h.B64 != nil:
		return Parsed{}, fmt.Errorf("%w: its header demands an extension (crit, b64)", ErrToken)
	case h.Zip != nil:
		return Parsed{}, fmt.Errorf("%w: it is compressed", ErrToken)
	case h.JWK != nil || h.JKU != nil || h.X5U != nil || h.X5C != nil:
		return Parsed{}, fmt.Errorf("%w: it brings its own key (jwk, jku, x5u, x5c)", ErrToken)
	case len(h.Kid) > maxKeyID:
		return Parsed{}, fmt.Errorf("%w: its kid is too long", ErrToken)
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(h.Alg)})
	if err != nil {
		return Parsed{}, fmt.Errorf("%w: it does not parse", ErrToken)
	}
	return Parsed{Header: Header{Algorithm: h.Alg, KeyID: h.Kid, Type: h.Typ}, jws: jws}, nil
}

// Unproved is the payload as it came. It serves to refuse a token cheaply,
// before a key is fetched for it; nothing may be granted because of it.
func (p Parsed) Unproved() []byte { return p.jws.UnsafePayloadWithoutVerification() }

// Check verifies the signature with a key of the issuer and returns the
// payload. A key id that is not known has the key set fetched again, once for
// all who wait and at most once in a cool-down. Errors: ErrSignature,
// ErrUnknownKey, ErrUnavailable; of the last, a *CoolDownError where keys were looked
// for a moment ago.
func (r *Remote) Check(ctx context.Context, p Parsed) ([]byte, error) {
	set, err := r.current(ctx)
	if err != nil {
		return nil, err
	}
	payload, err := p.verify(set)
	for tries := 0; tries < renewTries && p.mayBeNew(err); tries++ {
		var looked bool
		if set, looked, err = r.renew(ctx, set); err != nil {
			return nil, err
		}
		if payload, err = p.verify(set); looked {
			break
		}
	}
	return payload, err
}

// mayBeNew reports whether what verify said may be otherwise with a key that came
// since. One that is known and did not sign this is an answer; with no key id, a
// signature that fits none is not.
func (p Parsed) mayBeNew(err error) bool {
	return errors.Is(err, ErrUnknownKey) || errors.Is(err, ErrSignature) && p.Header.KeyID == ""
}

// renewTries bounds how many sets that others had fetched are looked at: the first
// may be of a fetch that began before the key was published.
const renewTries = 3

// Verify is Parse and Check.
func (r *Remote) Verify(ctx context.Context, token string, allowed []string) ([]byte, Header, error) {
	parsed, err := Parse(token, allowed)
	if err != nil {
		return nil, Header{}, err
	}
	payload, err := r.Check(ctx, parsed)
	if err != nil {
		return nil, Header{}, err
	}
	return payload, parsed.Header, nil
}

// verify tries the few keys that fit. Several can: decoys under the same id, or
// a token without one, which RFC 7515 allows and OpenID Connect Core section
// 10.1 only where the issuer has one key.
func (p Parsed) verify(set keySet) ([]byte, error) {
	candidates := set.candidates(p.Header.KeyID, p.Header.Algorithm)
	if len(candidates) == 0 {
		// No more of the kid than tells keys apart: whoever sent the token chose it.
		return nil, fmt.Errorf("%w: kid %.8q…, alg %s; the issuer has %s", ErrUnknownKey, p.Header.KeyID, p.Header.Algorithm, set)
	}
	if len(candidates) > maxTried {
		return nil, fmt.Errorf("%w: %d keys could be meant, and the token does not say which", ErrSignature, len(candidates))
	}
	for _, candidate := range candidates {
		if payload, err := p.jws.Verify(candidate.key); err == nil {
			return payload, nil
		}
	}
	return nil, ErrSignature
}
