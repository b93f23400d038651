package dpop

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/keystore"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

// ringOf makes a ring of keys for these algorithms; the first is active.
func ringOf(t testing.TB, algs ...string) keyring.Ring {
	t.Helper()
	var versions []keyring.Version
	for i, algorithm := range algs {
		id, value, err := keystore.NewSigningKey(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		state := keyring.Active
		if i > 0 {
			state = keyring.Retiring
		}
		versions = append(versions, keyring.Version{ID: id, State: state, Value: value})
	}
	ring, err := keyring.New("dpop-key", versions...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// open checks a proof by the key in its header, as a server does.
func open(t testing.TB, proof string) (header, payload map[string]any) {
	t.Helper()
	jws, err := jose.ParseSignedCompact(proof, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.PS256})
	if err != nil {
		t.Fatal(err)
	}
	key := jws.Signatures[0].Protected.JSONWebKey
	if key == nil || !key.IsPublic() {
		t.Fatalf("the header's key is %v", key)
	}
	body, err := jws.Verify(key)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := base64.RawURLEncoding.DecodeString(strings.SplitN(proof, ".", 2)[0])
	if json.Unmarshal(raw, &header) != nil || json.Unmarshal(body, &payload) != nil {
		t.Fatalf("%s %s", raw, body)
	}
	return header, payload
}

func TestProof(t *testing.T) {
	threat.Covers(t, 21)
	for _, algorithm := range []string{jwks.ES256, jwks.EdDSA, jwks.PS256} {
		ring := ringOf(t, algorithm)
		keys, err := New(ring, nil)
		if err != nil {
			t.Fatal(err)
		}
		token := secret.NewValue([]byte("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"))
		request := Request{Version: keys.Active(), Method: "GET", URL: "https://resource.example.org/protected%2Fa?x=1#y", Token: token}
		proof, err := keys.Prove(request)
		if err != nil {
			t.Fatal(err)
		}
		header, payload := open(t, proof)
		if header["typ"] != Type || header["alg"] != algorithm || header["kid"] != nil || len(header) != 3 {
			t.Errorf("header %v", header)
		}
		jwk := header["jwk"].(map[string]any)
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if _, ok := jwk[private]; ok {
				t.Errorf("the header shows %q", private)
			}
		}
		if keys.Thumbprint(keys.Active()) != ring.Active().ID || keys.Algorithm(keys.Active()) != algorithm {
			t.Errorf("jkt %q", keys.Thumbprint(keys.Active()))
		}
		// The value of ath is that of the example of RFC 9449 section 7.1.
		if payload["htm"] != "GET" || payload["htu"] != "https://resource.example.org/protected%2Fa" ||
			payload["ath"] != "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo" || payload["nonce"] != nil || len(payload) != 5 {
			t.Errorf("payload %v", payload)
		}
		if iat := time.Unix(int64(payload["iat"].(float64)), 0); time.Since(iat).Abs() > time.Minute {
			t.Errorf("iat %v", iat)
		}
		if jkt, err := Check(proof); err != nil || jkt != keys.Active() {
			t.Errorf("read back: %q, %v", jkt, err)
		}
		if _, err := Check(proof[:len(proof)-10] + "AAAAAAAAAA"); err == nil {
			t.Error("a proof with another signature is read back")
		}
		again, _ := keys.Prove(request)
		if _, other := open(t, again); other["jti"] == payload["jti"] || len(payload["jti"].(string)) < 16 {
			t.Errorf("jti %v, %v", payload["jti"], other["jti"])
		}
		if _, at := open(t, must(keys.Prove(Request{Version: keys.Active(), Method: "POST", URL: "https://as.example/token"}))); at["ath"] != nil {
			t.Errorf("ath without a token: %v", at)
		}
	}
}

func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}

// A token is proved with the version that it is bound to, whichever is in use.
func TestVersions(t *testing.T) {
	threat.Covers(t, 64)
	ring := ringOf(t, jwks.ES256, jwks.ES256)
	keys, err := New(ring, nil)
	if err != nil {
		t.Fatal(err)
	}
	for v := range ring.Live() {
		header, _ := open(t, must(keys.Prove(Request{Version: v.ID, Method: "GET", URL: "https://a.example/"})))
		raw, _ := json.Marshal(header["jwk"])
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(raw); err != nil {
			t.Fatal(err)
		}
		if found, _ := jwks.Thumbprint(key.Key); found != v.ID {
			t.Errorf("proved with %s, want %s", found, v.ID)
		}
	}
	if _, err := keys.Prove(Request{Version: "gone", Method: "GET", URL: "https://a.example/"}); !errors.Is(err, ErrNoKey) {
		t.Errorf("got %v", err)
	}
	if keys.Has("gone") || !keys.Has(ring.Active().ID) {
		t.Error("Has")
	}
}

func TestNoncesAreOfOneServer(t *testing.T) {
	threat.Covers(t, 21)
	keys, err := New(ringOf(t, jwks.ES256), NewNonces(2))
	if err != nil {
		t.Fatal(err)
	}
	sent := func(address string) any {
		_, payload := open(t, must(keys.Prove(Request{Version: keys.Active(), Method: "GET", URL: address})))
		return payload["nonce"]
	}
	if !keys.Took("https://A.example/token", []string{"n-1"}) {
		t.Fatal("not taken")
	}
	for address, want := range map[string]any{
		"https://a.example/other?x": "n-1", "https://a.example": "n-1",
		"http://a.example/": nil, "https://a.example:8443/": nil, "https://a.example.evil/": nil, "https://b.example/https://a.example/": nil,
	} {
		if got := sent(address); got != want {
			t.Errorf("%s: nonce %v, want %v", address, got, want)
		}
	}
	for _, bad := range [][]string{nil, {""}, {"a", "b"}, {`a"b`}, {"a b"}, {"a\\"}, {"é"}, {strings.Repeat("x", maxNonce+1)}} {
		if keys.Took("https://a.example/", bad) || sent("https://a.example/") != "n-1" {
			t.Errorf("%q was taken", bad)
		}
	}
	keys.Took("https://a.example/", []string{"n-2"})
	if sent("https://a.example/x") != "n-2" {
		t.Error("the newer nonce is not used")
	}
	// Whoever hands out nonces under many names does not fill the memory.
	for i := range 1000 {
		keys.Took(fmt.Sprintf("https://h%d.example/", i), []string{"n"})
	}
	if kept, recent := len(keys.nonces.by), keys.nonces.recent.Len(); kept != 2 || recent != 2 {
		t.Errorf("%d are kept, %d in their order; want 2", kept, recent)
	}
}

func TestWantsNonce(t *testing.T) {
	threat.Covers(t, 21)
	for value, want := range map[string]bool{
		`DPoP error="use_dpop_nonce", error_description="Resource server requires nonce in DPoP proof"`: true,
		`dpop algs="ES256", error=use_dpop_nonce`:                                                       true,
		`Bearer realm="x", DPoP algs="ES256", error="use_dpop_nonce"`:                                   true,
		`DPoP error="invalid_token", error_description="use_dpop_nonce"`:                                false,
		`Bearer error="use_dpop_nonce"`:                                                                 false,
		`DPoP`:                                                                                          false,
		``:                                                                                              false,
		`Bearer realm="DPoP ", error="use_dpop_nonce"`:                                                  false,
		`DPoP error_description="use_dpop_nonce"`:                                                       false,
	} {
		if got := WantsNonce(401, http.Header{"Www-Authenticate": {value}}); got != want {
			t.Errorf("%s: %v", value, got)
		}
	}
	if WantsNonce(400, http.Header{"Www-Authenticate": {`DPoP error="use_dpop_nonce"`}}) {
		t.Error("status 400 is taken for a resource's challenge")
	}
}

func TestAlgorithm(t *testing.T) {
	for want, offered := range map[string][]string{
		jwks.ES256: {"RS256", "PS256", "ES256", "EdDSA"}, jwks.EdDSA: {"PS256", "EdDSA"}, jwks.PS256: {"RS256", "PS256"}, "": {"RS256", "HS256", "none"},
	} {
		if got := Algorithm(offered); got != want {
			t.Errorf("%v: %q, want %q", offered, got, want)
		}
	}
	if _, err := New(ringOf(t, jwks.RS256), nil); err == nil {
		t.Error("a key for RS256 is taken")
	}
}

func FuzzNonce(f *testing.F) {
	f.Add("https://a.example/x", "n-1", `DPoP error="use_dpop_nonce"`)
	f.Fuzz(func(t *testing.T, address, value, challenge string) {
		n := NewNonces(1)
		if n.keep(address, []string{value}) {
			if got := n.of(address); got != value || !wellFormed(value) || origin(address) == "" {
				t.Errorf("kept %q of %q as %q", value, address, got)
			}
		}
		WantsNonce(401, http.Header{"Www-Authenticate": {challenge}})
	})
}

func BenchmarkProve(b *testing.B) {
	for _, algorithm := range []string{jwks.ES256, jwks.EdDSA, jwks.PS256} {
		b.Run(algorithm, func(b *testing.B) {
			keys, err := New(ringOf(b, algorithm), nil)
			if err != nil {
				b.Fatal(err)
			}
			r := Request{Version: keys.Active(), Method: "GET", URL: "https://api.example/v1/notes/17", Token: secret.NewValue([]byte(strings.Repeat("t", 1000)))}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := keys.Prove(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
