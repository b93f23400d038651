package bearer

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

// signedAnswer is one by RFC 9701, changed: nil deletes.
func signedAnswer(t testing.TB, s *signing, typ string, changes map[string]any) string {
	t.Helper()
	all := map[string]any{
		"iss": issuer, "aud": "gateway", "iat": time.Now().Unix(), "sub": nil, "exp": nil, "jti": nil, "client_id": nil,
		"token_introspection": map[string]any{"active": true, "sub": "machine", "aud": ours, "iss": issuer, "scope": "notes:read"},
	}
	maps.Copy(all, changes)
	return s.token(t, typ, all)
}

const answerType = "token-introspection+jwt"

func TestSignedAnswer(t *testing.T) {
	s, stranger := newSigning(t), newSigning(t)
	now := time.Now()
	read := func(body string) ([]byte, error) {
		return readSigned(t.Context(), []byte(body), signedBy{keys: s.keys, algorithms: []string{jwks.ES256}, issuer: issuer, client: "gateway", asked: now}, time.Now())
	}
	for name, body := range map[string]string{
		"good":             signedAnswer(t, s, answerType, nil),
		"long typ":         signedAnswer(t, s, "Application/Token-Introspection+JWT", nil),
		"for two":          signedAnswer(t, s, answerType, map[string]any{"aud": []string{"other", "gateway"}}),
		"a clock behind":   signedAnswer(t, s, answerType, map[string]any{"iat": now.Add(-30 * time.Second).Unix()}),
		"a line break end": signedAnswer(t, s, answerType, nil) + "\n",
	} {
		raw, err := read(body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if a, err := readAnswer(raw, now); err != nil || a.claims == nil || a.claims.Subject != "machine" {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := signedAnswer(t, s, answerType, nil)
	head, rest, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	for name, body := range map[string]string{
		"plain":              active("machine", nil),
		"empty":              "",
		"unsigned":           base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"token-introspection+jwt"}`)) + "." + payload + ".",
		"HMAC":               base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"token-introspection+jwt","kid":"k1"}`)) + "." + payload + "." + signature,
		"encrypted":          head + "." + payload + ".a.b." + signature,
		"changed":            head + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+issuer+`","aud":"gateway","token_introspection":{"active":true}}`)) + "." + signature,
		"another's key":      signedAnswer(t, stranger, answerType, nil),
		"an access token":    signedAnswer(t, s, "at+jwt", nil),
		"an ID token":        signedAnswer(t, s, "JWT", nil),
		"no typ":             signedAnswer(t, s, "", nil),
		"longer typ":         signedAnswer(t, s, "x-"+answerType, nil),
		"another iss":        signedAnswer(t, s, answerType, map[string]any{"iss": issuer + "/"}),
		"no iss":             signedAnswer(t, s, answerType, map[string]any{"iss": nil}),
		"for somebody else":  signedAnswer(t, s, answerType, map[string]any{"aud": "other"}),
		"for the resource":   signedAnswer(t, s, answerType, map[string]any{"aud": ours}),
		"for nobody":         signedAnswer(t, s, answerType, map[string]any{"aud": nil}),
		"no iat":             signedAnswer(t, s, answerType, map[string]any{"iat": nil}),
		"an old one":         signedAnswer(t, s, answerType, map[string]any{"iat": now.Add(-2 * time.Minute).Unix()}),
		"of the future":      signedAnswer(t, s, answerType, map[string]any{"iat": now.Add(3 * time.Minute).Unix()}),
		"iat as a text":      signedAnswer(t, s, answerType, map[string]any{"iat": "now"}),
		"over":               signedAnswer(t, s, answerType, map[string]any{"exp": now.Add(-2 * time.Minute).Unix()}),
		"not begun":          signedAnswer(t, s, answerType, map[string]any{"nbf": now.Add(2 * time.Minute).Unix()}),
		"says nothing":       signedAnswer(t, s, answerType, map[string]any{"token_introspection": nil}),
		"says true":          signedAnswer(t, s, answerType, map[string]any{"token_introspection": true}),
		"says it in a text":  signedAnswer(t, s, answerType, map[string]any{"token_introspection": `{"active":true}`}),
		"a list":             signedAnswer(t, s, answerType, map[string]any{"token_introspection": []any{map[string]any{"active": true}}}),
		"says it outside":    signedAnswer(t, s, answerType, map[string]any{"token_introspection": nil, "active": true}),
		"a signed in signed": nested(t, s, good),
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 45)
			raw, err := read(body)
			if err == nil || raw != nil || !errors.Is(err, oidc.ErrAnswer) {
				t.Errorf("%s %v", raw, err)
			}
			if err != nil && strings.Contains(err.Error(), "machine") {
				t.Errorf("the answer is quoted: %v", err)
			}
		})
	}
	t.Run("active, as a text", func(t *testing.T) {
		threat.Covers(t, 45)
		raw, err := read(signedAnswer(t, s, answerType, map[string]any{"token_introspection": map[string]any{"active": "true", "sub": "a", "aud": ours}}))
		must(t, err)
		if a, err := readAnswer(raw, now); err == nil {
			t.Errorf("%+v", a)
		}
	})
	t.Run("keys are away", func(t *testing.T) {
		threat.Covers(t, 45)
		away := newSigning(t)
		away.away = true
		_, err := readSigned(t.Context(), []byte(signedAnswer(t, away, answerType, nil)),
			signedBy{keys: away.keys, algorithms: []string{jwks.ES256}, issuer: issuer, client: "gateway", asked: now}, now)
		if err == nil || errors.Is(err, oidc.ErrAnswer) {
			t.Errorf("%v; want that nobody knows", err)
		}
	})
	t.Run("presented as an access token", func(t *testing.T) {
		threat.Covers(t, 44)
		said := newAsked(always(active("machine", nil), nil))
		for _, e := range []Entry{
			{Name: "main", Issuer: issuer, Provider: "main", Audience: []string{ours, "gateway"}, Keys: s.keys},
			{Name: "main", Issuer: issuer, Provider: "main", Audience: []string{ours, "gateway"}, Keys: s.keys, Introspect: said.introspect},
			{Name: "main", Issuer: issuer, Provider: "main", Audience: []string{ours, "gateway"}, Introspect: said.introspect},
		} {
			_, err := present(t, authenticator(t, Options{Entries: []Entry{e}}), signedAnswer(t, s, answerType, map[string]any{"sub": "machine", "exp": now.Add(time.Hour).Unix()}))
			want(t, err, problem.InvalidToken, invalidToken)
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// nested signs a JWT again.
func nested(t testing.TB, s *signing, inner string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.key, KeyID: "k1"}},
		(&jose.SignerOptions{}).WithType(answerType).WithContentType("JWT"))
	must(t, err)
	jws, err := signer.Sign([]byte(inner))
	must(t, err)
	text, err := jws.CompactSerialize()
	must(t, err)
	return text
}

// What an entry says about the form holds, whatever the provider sends.
func TestFormOfAnswers(t *testing.T) {
	s := newSigning(t)
	var accept, contentType, body string
	var at, algorithms string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			_, _ = fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":"%s/a","token_endpoint":"%s/t","jwks_uri":%q,"introspection_endpoint":"%s/i"%s}`, at, at, at, s.server.URL, at, algorithms)
		case "/i":
			_, _ = io.Copy(io.Discard, r.Body)
			accept = r.Header.Get("Accept")
			w.Header().Set("Content-Type", contentType)
			_, _ = io.WriteString(w, body)
		}
	}))
	defer server.Close()
	at = server.URL
	said := map[string]any{"iss": at, "token_introspection": map[string]any{"active": true, "sub": "machine", "aud": ours}}
	signed := signedAnswer(t, s, answerType, said)
	plain := `{"active":true,"sub":"machine","aud":"` + ours + `"}`
	const offered = `,"introspection_signing_alg_values_supported":["ES256","HS256","none"]`
	for name, c := range map[string]struct {
		form              Form
		offers, typ, body string
		asked, ok         bool
	}{
		"auto, offered, signed":           {FormAuto, offered, signedType, signed, true, true},
		"auto, with a parameter":          {FormAuto, offered, signedType + "; charset=utf-8", signed, true, true},
		"auto, offered, plain":            {FormAuto, offered, "application/json", plain, true, true},
		"auto, not offered, plain":        {FormAuto, "", "application/json", plain, false, true},
		"auto, not offered, signed":       {FormAuto, "", signedType, signed, false, false},
		"auto, plain called signed":       {FormAuto, offered, signedType, plain, true, false},
		"auto, signed called plain":       {FormAuto, offered, "application/json", signed, true, false},
		"auto, other algorithms":          {FormAuto, `,"introspection_signing_alg_values_supported":["RS256"]`, signedType, signed, true, false},
		"auto, only what is not verified": {FormAuto, `,"introspection_signing_alg_values_supported":["HS256"]`, signedType, signed, true, false},
		"auto, a page":                    {FormAuto, offered, "text/html", "<html>active: true</html>", true, false},
		"json, offered, plain":            {FormJSON, offered, "application/json", plain, false, true},
		"json, signed":                    {FormJSON, offered, signedType, signed, false, false},
		"jwt, signed":                     {FormJWT, offered, signedType, signed, true, true},
		"jwt, plain":                      {FormJWT, offered, "application/json", plain, true, false},
		"jwt, no type":                    {FormJWT, offered, "", signed, true, false},
		"jwt, not offered":                {FormJWT, "", signedType, signed, true, false}, // RS256 is what is registered then
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 45)
			accept, contentType, body, algorithms = "", c.typ, c.body, c.offers
			provider, err := oidc.NewProvider(oidc.ProviderOptions{Name: "main", Issuer: at, HTTP: server.Client()})
			must(t, err)
			ring, err := keyring.New("client-secret/main", keyring.Version{ID: "c1", State: keyring.Active, Value: secret.NewValue([]byte("a client secret"))})
			must(t, err)
			client, err := oidc.NewClient(oidc.ClientOptions{Name: "main", ClientID: "gateway", Secret: ring, HTTP: server.Client()})
			must(t, err)
			a := authenticator(t, Options{Entries: []Entry{{Name: "main", Provider: "main", Issuer: at, Audience: []string{ours}, Introspect: Introspection(provider, client, c.form)}}})
			_, err = present(t, a, "opaque")
			if c.ok {
				must(t, err)
			} else {
				want(t, err, problem.IdPFailed, "")
			}
			if asked := strings.Contains(accept, signedType); asked != c.asked || !strings.Contains(accept, "application/json") {
				t.Errorf("Accept: %s", accept)
			}
		})
	}
}

// trusting takes any signature, so that what is fuzzed gets past it.
type trusting struct{}

func (trusting) Check(_ context.Context, p jwks.Parsed) ([]byte, error) { return p.Unproved(), nil }

// FuzzIntrospectionAnswer: whatever a provider answers, plain or signed, lets in
// only with the boolean that counts and our audience.
func FuzzIntrospectionAnswer(f *testing.F) {
	now := time.Unix(1_700_000_000, 0)
	outer := func(inner string) string {
		return `{"iss":"` + issuer + `","aud":"gateway","iat":1700000000,"token_introspection":` + inner + `}`
	}
	const head = `{"alg":"ES256","typ":"token-introspection+jwt"}`
	for _, body := range []string{
		active("machine", nil), `{"active":false}`, `{"active":"true"}`, `{"active":true,"active":false}`, `{"active":null}`, `[]`, ``, `<html>`,
		`{"active":true,"aud":["https://api.example.com"],"client_id":"m","exp":1700000100,"scope":"a b"}`, `{"active":true,"aud":{},"exp":1e300}`,
	} {
		f.Add(head, body, false)
		f.Add(head, outer(body), true)
	}
	f.Add(`{"alg":"none"}`, outer(`{"active":true}`), true)
	e := &entry{Entry: Entry{Name: "main", Provider: "main", Issuer: issuer, Audience: []string{ours}, Roles: []Claim{{Source: "a.b"}}, Permissions: []Claim{{Source: "scope", SpaceDelimited: true}}}}
	f.Fuzz(func(t *testing.T, head, body string, signed bool) {
		raw := []byte(body)
		if signed {
			encode := base64.RawURLEncoding.EncodeToString
			var err error
			raw, err = readSigned(t.Context(), []byte(encode([]byte(head))+"."+encode(raw)+".c2ln"),
				signedBy{keys: trusting{}, algorithms: []string{jwks.ES256}, issuer: issuer, client: "gateway", asked: now}, now)
			if err != nil {
				return
			}
		}
		a, err := readAnswer(raw, now)
		if err != nil {
			return
		}
		if a.till.After(now.Add(freshFor)) {
			t.Errorf("remembered until %v", a.till)
		}
		if a.claims == nil {
			return
		}
		who, err := a.claims.accept(e, &Need{Scopes: []string{"a"}}, false, now)
		if err != nil {
			return
		}
		var said map[string]any // names exactly
		if json.Unmarshal(raw, &said) == nil && said["active"] != true {
			t.Errorf("let in by active: %v", said["active"])
		}
		if !strings.Contains(string(raw), "active") || who.Subject == "" || strings.ContainsAny(who.Subject, "\r\n\x00") {
			t.Errorf("let in: %+v by %q", who, raw)
		}
	})
}
