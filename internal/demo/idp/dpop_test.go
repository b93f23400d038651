package idp_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"keyway/internal/demo/idp"
)

// The provider is as strict as the best of them, so that what passes here passes there.
func TestProofs(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	client := web()
	client.DPoPBound = true
	client.Secrets = []string{"a secret of the test"}
	client.GrantTypes = append(client.GrantTypes, idp.GrantCode, idp.GrantClientCredentials)
	p, err := idp.New(idp.Options{Issuer: "http://idp.test", Clients: []idp.Client{client}})
	if err != nil {
		t.Fatal(err)
	}
	prove := func(typ string, embed bool, claims map[string]any) string {
		o := (&jose.SignerOptions{EmbedJWK: embed}).WithType(jose.ContentType(typ))
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, o)
		if err != nil {
			t.Fatal(err)
		}
		payload, _ := json.Marshal(claims)
		signed, err := signer.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := signed.CompactSerialize()
		return text
	}
	token := func(proofs ...string) (int, map[string]any) {
		form := url.Values{"grant_type": {idp.GrantClientCredentials}, "scope": {"profile"}, "client_id": {client.ID}, "client_secret": {client.Secrets[0]}}
		r := httptest.NewRequest(http.MethodPost, "http://idp.test/token", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header["Dpop"] = proofs
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		var body map[string]any
		_ = json.Unmarshal(w.Body.Bytes(), &body)
		return w.Code, body
	}
	good := func(change func(map[string]any)) map[string]any {
		claims := map[string]any{"jti": rand.Text(), "htm": "POST", "htu": "http://idp.test/token", "iat": time.Now().Unix()}
		change(claims)
		return claims
	}
	honest := prove("dpop+jwt", true, good(func(map[string]any) {}))
	if status, body := token(honest); status != http.StatusOK || body["token_type"] != "DPoP" {
		t.Fatalf("%d %v", status, body)
	}
	bad := map[string][]string{
		"none":        nil,
		"used before": {honest},
		"two":         {prove("dpop+jwt", true, good(func(map[string]any) {})), prove("dpop+jwt", true, good(func(map[string]any) {}))},
		"another typ": {prove("JWT", true, good(func(map[string]any) {}))},
		"no key":      {prove("dpop+jwt", false, good(func(map[string]any) {}))},
		"junk":        {"a.b.c"},
		"changed":     {honest[:len(honest)-6] + "AAAAAA"},
	}
	for name, claims := range map[string]map[string]any{
		"htm": {"htm": "GET"}, "htu": {"htu": "http://idp.test/par"}, "htu with a query": {"htu": "http://idp.test/token?x"},
		"old": {"iat": time.Now().Add(-5 * time.Minute).Unix()}, "no iat": {"iat": nil}, "no jti": {"jti": ""}, "ath": {"ath": "x"},
	} {
		bad["wrong "+name] = []string{prove("dpop+jwt", true, good(func(c map[string]any) { maps.Copy(c, claims) }))}
	}
	for name, proofs := range bad {
		if status, body := token(proofs...); status != http.StatusBadRequest || body["error"] != "invalid_dpop_proof" {
			t.Errorf("%s: %d %v", name, status, body)
		}
	}
}
