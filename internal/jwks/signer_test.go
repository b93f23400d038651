package jwks

import (
	"errors"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"keyway/internal/keyring"
)

func TestSignerChoosesTheAlgorithm(t *testing.T) {
	rsa := newKey(t, rsaKey())
	bound, err := rsa.Bind(PS256)
	if err != nil {
		t.Fatal(err)
	}
	ec, ed := newEC(t), newEd(t)
	for name, c := range map[string]struct {
		key     Key
		allowed []string
		want    string // empty: ErrNoAlgorithm
	}{
		"EC":                     {ec, []string{"RS256", "ES256"}, "ES256"},
		"EC, peer silent":        {ec, nil, "ES256"},
		"EC not accepted":        {ec, []string{"RS256", "PS256"}, ""},
		"RSA, both":              {rsa, []string{"RS256", "PS256"}, "PS256"},
		"RSA, old peer":          {rsa, []string{"RS256"}, "RS256"},
		"RSA, peer silent":       {rsa, nil, "RS256"},
		"bound RSA, old peer":    {bound, []string{"RS256"}, ""},
		"bound RSA, peer silent": {bound, nil, "PS256"},
		"Ed25519":                {ed, []string{"ES256", "EdDSA"}, "EdDSA"},
		"only secrets":           {rsa, []string{"HS256", "none"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			signer, err := NewVersionSigner(version(t, c.key, keyring.Active))
			if err != nil {
				t.Fatal(err)
			}
			compact, err := signer.Sign(map[string]string{"a": "b"}, "JWT", c.allowed)
			if c.want == "" {
				if !errors.Is(err, ErrNoAlgorithm) || !strings.Contains(err.Error(), c.allowed[0]) {
					t.Errorf("got %v, want ErrNoAlgorithm that names what the peer accepts", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(c.want)})
			if err != nil {
				t.Fatal(err)
			}
			payload, err := parsed.Verify(c.key.signer.Public())
			header := parsed.Signatures[0].Protected
			if err != nil || string(payload) != `{"a":"b"}` || header.KeyID != c.key.ID() || header.ExtraHeaders["typ"] != "JWT" {
				t.Errorf("got %s, %+v, %v", payload, header, err)
			}
		})
	}
}

func TestSignerUsesTheVersionItIsGiven(t *testing.T) {
	pending := newEC(t)
	signer, err := NewVersionSigner(version(t, pending, keyring.Pending))
	if err != nil || signer.KeyID() != pending.ID() || signer.Version() != pending.ID() {
		t.Errorf("got %v, %v, want the pending key", signer, err)
	}
	if _, err := NewVersionSigner(keyring.Version{ID: "empty"}); err == nil {
		t.Error("a version without a value signs")
	}
}
