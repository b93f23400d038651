package jwks

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"keyway/internal/threat"
)

func TestJOSEMatrix(t *testing.T) {
	threat.Covers(t, 6)
	key, attacker := newEC(t), newEC(t)
	r := remoteOf(&issuer{body: document(t, key.Public())})
	good := sign(t, key, key.ID(), ES256, claims)
	_, rest, _ := strings.Cut(good, ".")
	head := func(members map[string]any) string {
		h := map[string]any{"alg": "ES256", "kid": key.ID(), "typ": "JWT"}
		for name, value := range members {
			h[name] = value
		}
		return encodePart(h) + "." + rest
	}
	hs := func(secret []byte) string {
		input := encodePart(map[string]any{"alg": "HS256", "kid": key.ID()}) + "." + encodePart(claims)
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(input))
		return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	der, err := x509.MarshalPKIXPublicKey(key.signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	publicJWK, _ := key.Public().MarshalJSON()
	encrypter, err := jose.NewEncrypter(jose.A128GCM, jose.Recipient{Algorithm: jose.ECDH_ES, Key: key.signer.Public()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	jwe, err := encrypter.Encrypt([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	encrypted, _ := jwe.CompactSerialize()
	for name, token := range map[string]string{
		"alg none":                  encodePart(map[string]any{"alg": "none"}) + "." + encodePart(claims) + ".",
		"alg nOnE":                  encodePart(map[string]any{"alg": "nOnE"}) + "." + encodePart(claims) + ".",
		"no alg":                    encodePart(map[string]any{"kid": key.ID()}) + "." + rest,
		"HS with the public DER":    hs(der),
		"HS with the public PEM":    hs(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"HS with the public JWK":    hs(publicJWK),
		"another algorithm":         sign(t, newEd(t), key.ID(), EdDSA, claims),
		"embedded jwk":              head(map[string]any{"jwk": attacker.Public()}),
		"embedded jwk of null":      head(map[string]any{"jwk": nil}),
		"embedded jku":              head(map[string]any{"jku": "https://evil.example/jwks"}),
		"embedded x5u":              head(map[string]any{"x5u": "https://evil.example/cert"}),
		"embedded x5c":              head(map[string]any{"x5c": []string{"AAAA"}}),
		"unknown crit":              head(map[string]any{"crit": []string{"exp"}, "exp": 1}),
		"b64 crit":                  head(map[string]any{"crit": []string{"b64"}, "b64": false}),
		"empty crit":                head(map[string]any{"crit": []string{}}),
		"compressed":                head(map[string]any{"zip": "DEF"}),
		"alg twice":                 base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","alg":"none"}`)) + "." + rest,
		"JWE for JWS":               encrypted,
		"JSON serialization":        `{"payload":"e30","protected":"e30","signature":""}`,
		"deep header":               base64.RawURLEncoding.EncodeToString([]byte(`{"a":`+strings.Repeat("[", 5000))) + "." + rest,
		"huge":                      good + strings.Repeat("A", MaxTokenBytes),
		"white space":               " " + good,
		"padded header":             strings.Replace(good, ".", "=.", 1),
		"a dot more":                good + ".",
		"signature of another key":  sign(t, attacker, key.ID(), ES256, claims),
		"signature cut off":         good[:strings.LastIndexByte(good, '.')+1],
		"kid as a path, not a name": sign(t, attacker, "../../../dev/null", ES256, claims),
	} {
		t.Run(name, func(t *testing.T) {
			payload, _, err := r.Verify(t.Context(), token, []string{ES256})
			if err == nil {
				t.Fatalf("accepted, with payload %s", payload)
			}
			if strings.Contains(err.Error(), rest) {
				t.Errorf("the error quotes the token: %v", err)
			}
		})
	}
	if _, _, err := r.Verify(t.Context(), good, []string{ES256}); err != nil {
		t.Errorf("the good one: %v", err)
	}
	if _, _, err := r.Verify(t.Context(), good, []string{"HS256", "none"}); !errors.Is(err, ErrToken) {
		t.Errorf("a careless list of algorithms: got %v", err)
	}
}

func TestKeyChoice(t *testing.T) {
	threat.Covers(t, 7)
	right, wrong, ed, rsa := newEC(t), newEC(t), newEd(t), newKey(t, rsaKey())
	as := func(key Key, changes map[string]any) map[string]any { return with(t, key, changes) }
	kid := map[string]any{"kid": "k"}
	many := func(n int) []any {
		keys := []any{}
		for range n {
			keys = append(keys, as(newEC(t), nil))
		}
		return keys
	}
	for name, c := range map[string]struct {
		set    []any
		kid    string
		accept bool
	}{
		"no kid, one key":                  {[]any{as(right, kid)}, "", true},
		"no kid, one key of the type":      {[]any{as(ed, nil), as(right, nil), as(rsa, nil)}, "", true},
		"no kid, a few keys, one fits":     {append(many(2), as(right, nil)), "", true},
		"no kid, too many keys":            {append(many(maxTried), as(right, nil)), "", false},
		"no kid, none fits":                {many(2), "", false},
		"decoy: other kty":                 {[]any{as(ed, kid), as(rsa, kid), as(right, kid)}, "k", true},
		"decoy: other use":                 {[]any{as(wrong, map[string]any{"kid": "k", "use": "enc"}), as(right, kid)}, "k", true},
		"decoy: other alg":                 {[]any{as(wrong, map[string]any{"kid": "k", "alg": "ES384"}), as(right, kid)}, "k", true},
		"decoy: same everything":           {[]any{as(wrong, kid), as(right, kid)}, "k", true},
		"decoy: symmetric":                 {[]any{map[string]any{"kty": "oct", "kid": "k", "k": "AAAA"}, as(right, kid)}, "k", true},
		"key without alg and use":          {[]any{as(right, map[string]any{"kid": "k", "alg": nil, "use": nil})}, "k", true},
		"only a decoy":                     {[]any{as(wrong, kid)}, "k", false},
		"kid differs in case":              {[]any{as(right, map[string]any{"kid": "K"})}, "k", false},
		"kid said, the key has none":       {[]any{as(right, map[string]any{"kid": nil})}, "k", false},
		"right key, declared for another":  {[]any{as(right, map[string]any{"kid": "k", "alg": "ES512"}), as(wrong, nil)}, "k", false},
		"right key, declared to encrypt":   {[]any{as(right, map[string]any{"kid": "k", "use": "enc"}), as(wrong, nil)}, "k", false},
		"right key, ops without verifying": {[]any{as(right, map[string]any{"kid": "k", "key_ops": []string{"sign"}}), as(wrong, nil)}, "k", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := remoteOf(&issuer{body: document(t, c.set...)})
			_, _, err := r.Verify(t.Context(), sign(t, right, c.kid, ES256, claims), []string{ES256})
			if (err == nil) != c.accept {
				t.Errorf("got %v, want accepted: %v", err, c.accept)
			}
		})
	}
}

func TestAcceptable(t *testing.T) {
	if got := Acceptable(nil); len(got) != 1 || got[0] != RS256 {
		t.Errorf("nothing said: got %v", got)
	}
	if got := Acceptable([]string{"HS256", "none", "ES256", "ES256K"}); len(got) != 1 || got[0] != ES256 {
		t.Errorf("got %v", got)
	}
}

func FuzzParseToken(f *testing.F) {
	key := newEC(f)
	f.Add(sign(f, key, "k", ES256, claims))
	f.Add(encodePart(map[string]any{"alg": "none"}) + ".e30.")
	f.Fuzz(func(t *testing.T, token string) {
		p, err := Parse(token, []string{ES256, RS256})
		if err == nil && p.Header.Algorithm != ES256 && p.Header.Algorithm != RS256 {
			t.Errorf("accepted alg %q", p.Header.Algorithm)
		}
		if err != nil && !errors.Is(err, ErrToken) {
			t.Errorf("untyped error %v", err)
		}
	})
}
