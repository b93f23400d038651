package oidc

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/problem"
	"keyway/internal/secret"
)

func FuzzCallback(f *testing.F) {
	f.Add("code=a&state=b&iss=https%3A%2F%2Fidp.example")
	f.Add("code=a&code=b")
	f.Add("error=access_denied&error_description=%00%ff&state=b")
	m := &Metadata{Issuer: "https://idp.example", IssuerInResponse: true, AuthorizationAlgs: []string{jwks.ES256}}
	now := time.Unix(1_999_999_500, 0)
	part := base64.RawURLEncoding.EncodeToString
	for _, payload := range []string{
		`{"iss":"https://idp.example","aud":"c","exp":2000000000,"code":"a","state":"b"}`,
		`{"iss":"https://idp.example","aud":["c"],"exp":2e9,"error":"access_denied","state":"b"}`,
		`{"iss":"https://idp.example","aud":"c","exp":1e300,"code":"a","code":"b","state":"b"}`,
	} {
		f.Add("response=" + part([]byte(`{"alg":"ES256"}`)) + "." + part([]byte(payload)) + "." + part(make([]byte, 64)))
		f.Add("code=a&response=" + part([]byte(`{"alg":"none"}`)) + "." + part([]byte(payload)) + ".")
	}
	f.Fuzz(func(t *testing.T, raw string) {
		params, err := parseCallback(raw)
		if err != nil {
			if problem.CodeOf(err) != problem.BadRequest {
				t.Errorf("code %s", problem.CodeOf(err))
			}
			return
		}
		if _, signed := params["response"]; signed {
			answer, err := openResponse(params, m, "c", now)
			if err != nil {
				if len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\r\n\x00") {
					t.Errorf("the error is not fit for a log: %q", err)
				}
				return
			}
			if _, beside := params["code"]; beside || answer.params["iss"] != m.Issuer || answer.parsed.Header.Algorithm != jwks.ES256 {
				t.Errorf("opened %q", params)
			}
			params = answer.params // what a good signature would make of them
		}
		err = checkResponse(params, transaction{Issuer: m.Issuer}, m)
		switch {
		case err == nil && (params["iss"] != m.Issuer || params["code"] == ""):
			t.Errorf("accepted %q", params)
		case err != nil && (len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\r\n\x00")):
			t.Errorf("the error is not fit for a log: %q", err)
		}
	})
}

func fuzzTransactions(t testing.TB) transactions {
	t.Helper()
	// A key of this process alone: fuzzing runs several, and what another one
	// sealed is as foreign as anything.
	key := make([]byte, 48)
	rand.Read(key)
	ring, err := keyring.New("state-key", keyring.Version{ID: "a", State: keyring.Active, Value: secret.NewValue(key)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := newTransactions(ring, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func FuzzState(f *testing.F) {
	s := fuzzTransactions(f)
	now := time.Now()
	var id transactionID
	rand.Read(id[:])
	genuine := s.sealState(id, now.Unix())
	cookie, err := s.sealCookie(id, transaction{Verifier: "v", Created: now.Unix()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(genuine)
	f.Add(cookie)
	f.Add("a.AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		got, _, err := s.openState(text, now)
		if err == nil && (text != genuine || got != id) {
			t.Errorf("a forged state was accepted: %q", text)
		}
		if _, err := s.openCookie(id, text); err == nil && text != cookie {
			t.Errorf("a forged cookie was accepted: %q", text)
		}
	})
}

func FuzzIDTokenClaims(f *testing.F) {
	f.Add([]byte(`{"iss":"i","sub":"s","aud":"c","exp":2000000000,"iat":1999999000,"nonce":"n"}`))
	f.Add([]byte(`{"iss":"i","sub":"s","aud":["c","d"],"azp":"c","exp":2e9,"iat":1.999999e9,"nonce":"n","at_hash":"x"}`))
	f.Add([]byte(`{"iss":"i","sub":"s","aud":"c","exp":1e300,"iat":0,"nonce":"n","sub":"t"}`))
	nonce := "n"
	now := time.Unix(1_999_999_500, 0)
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := parseIDTokenClaims(payload, jwks.ES256, expected{issuer: "i", clientID: "c", now: now, nonce: &nonce})
		if err != nil {
			if !errors.Is(err, ErrIDToken) {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		if c.Issuer != "i" || c.Subject == "" || c.Expiry.Before(now.Add(-Skew)) || c.IssuedAt.After(now.Add(Skew)) || c.All["nonce"] != "n" || c.All["sub"] != c.Subject {
			t.Errorf("accepted %+v", c)
		}
	})
}

func FuzzMetadata(f *testing.F) {
	f.Add([]byte(`{"issuer":"https://idp.example","authorization_endpoint":"https://idp.example/a","token_endpoint":"https://idp.example/t","jwks_uri":"https://idp.example/j"}`))
	f.Add([]byte(`{"issuer":"https://idp.example","authorization_endpoint":"javascript:alert(1)"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := parseMetadata(body, "https://idp.example", false, Overrides{}, "OIDC_ISSUER")
		if err != nil {
			return
		}
		if m.Issuer != "https://idp.example" {
			t.Errorf("issuer %q", m.Issuer)
		}
		for _, endpoint := range []string{m.AuthorizationEndpoint, m.TokenEndpoint, m.JWKSURI} {
			if !strings.HasPrefix(strings.ToLower(endpoint), "https://") {
				t.Errorf("endpoint %q", endpoint)
			}
			if _, err := withQuery(endpoint, nil); err != nil {
				t.Errorf("endpoint %q: %v", endpoint, err)
			}
		}
	})
}

func FuzzTokenAnswer(f *testing.F) {
	f.Add([]byte(`{"access_token":"a","token_type":"Bearer","expires_in":300,"refresh_token":"r","id_token":"i","scope":"openid"}`))
	f.Add([]byte(`{"access_token":"a","token_type":"BEARER","expires_in":"1e300","scope":""}`))
	f.Add([]byte(`{"error":"invalid_grant","error_description":"\u0000"}`))
	now := time.Now()
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := parseTokens(body, []string{"openid"}, "", now)
		if err != nil {
			if !errors.Is(err, ErrAnswer) {
				t.Errorf("untyped error %v", err)
			}
		} else if got.AccessToken.IsZero() || !headerSafe(string(got.AccessToken.Reveal())) || got.Expiry.After(now.Add(maxLifetime)) {
			t.Errorf("accepted %+v", got)
		}
		if err := (Answer{Status: 400, Body: body}).oauthError("token"); err == nil || len(err.Error()) > 1000 {
			t.Errorf("error answer: %v", err)
		}
	})
}
