package jwks

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"
)

func TestParseKeySetKeepsOnlyPublicSignatureKeys(t *testing.T) {
	good := newEC(t)
	keep := with(t, good, map[string]any{"kid": "good"})
	change := func(changes map[string]any) map[string]any { return with(t, newEC(t), changes) }
	private, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	for name, other := range map[string]any{
		"symmetric":          map[string]any{"kty": "oct", "k": "aGVsbG8", "kid": "good", "alg": "HS256"},
		"private":            jose.JSONWebKey{Key: private, KeyID: "good", Use: "sig"},
		"for encryption":     change(map[string]any{"use": "enc"}),
		"ops without verify": change(map[string]any{"key_ops": []string{"encrypt"}}),
		"ops of a wrong type": change(map[string]any{
			"key_ops": "verify"}),
		"unknown type":        map[string]any{"kty": "XYZ", "kid": "good"},
		"unknown curve":       change(map[string]any{"crv": "secp256k1"}),
		"point off the curve": change(map[string]any{"x": strings.Repeat("A", 43)}),
		"alg of another kty":  change(map[string]any{"alg": "RS256"}),
		"alg of a secret":     change(map[string]any{"alg": "HS256"}),
		"kid as a number":     change(map[string]any{"kid": 7}),
		"RSA, even exponent":  with(t, newKey(t, rsaKey()), map[string]any{"e": "AQAA"}),
		"RSA, short":          map[string]any{"kty": "RSA", "n": strings.Repeat("_", 86), "e": "AQAB"},
		"not an object":       "a string",
	} {
		t.Run(name, func(t *testing.T) {
			set, err := parseKeySet(document(t, other, keep))
			if err != nil || len(set) != 1 || set[0].id != "good" {
				t.Fatalf("got %v, %v, want the good key alone", set, err)
			}
			if _, err := parseKeySet(document(t, other)); err == nil {
				t.Error("a set without a usable key was accepted")
			}
		})
	}
}

func TestParseKeySetRefusesOddDocuments(t *testing.T) {
	many := make([]any, maxKeys+1)
	for i := range many {
		many[i] = map[string]any{"kty": "oct"}
	}
	for name, body := range map[string][]byte{
		"empty":     nil,
		"array":     []byte(`[]`),
		"truncated": []byte(`{"keys":[{"kty":"EC"`),
		"twice":     []byte(`{"keys":[],"keys":[]}`),
		"no keys":   []byte(`{"keys":[]}`),
		"deep":      []byte(`{"keys":` + strings.Repeat("[", 100_000)),
		"too many":  document(t, many...),
		"not UTF-8": []byte("{\"keys\":[],\"a\":\"\xff\"}"),
	} {
		t.Run(name, func(t *testing.T) {
			if set, err := parseKeySet(body); err == nil {
				t.Errorf("got %v", set)
			}
		})
	}
}

func TestDecodeObjectReadsExactNamesAndQuotesNothing(t *testing.T) {
	var v struct {
		Issuer string `json:"issuer"`
	}
	if err := DecodeObject([]byte(`{"ISSUER":"evil","issuer":"good"}`), &v); err != nil || v.Issuer != "good" {
		t.Errorf("got %q, %v", v.Issuer, err)
	}
	for _, body := range []string{`{"issuer":123456789}`, `{"issuer":"s3cret-token"`, `{"a":1,"issuer":"s3cret-token","issuer":"b"}`} {
		err := DecodeObject([]byte(body), &v)
		if err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "12345") {
			t.Errorf("%s: got %v", body, err)
		}
	}
	if err := DecodeObject([]byte(`{"issuer":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"[[[["}`), &v); err != nil {
		t.Errorf("brackets in a string count as depth: %v", err)
	}
}

func FuzzParseKeySet(f *testing.F) {
	f.Add(document(f, newEC(f).Public(), newEd(f).Public(), newKey(f, rsaKey()).Public()))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"EC","crv":"P-256","x":"","y":""}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		set, err := parseKeySet(body)
		if err != nil {
			return
		}
		for _, key := range set {
			if key.algorithm != "" && !fits(key.key, key.algorithm) || weak(key.key) {
				t.Errorf("kept an unusable key %v", key)
			}
			_ = fmt.Sprint(set)
		}
	})
}
