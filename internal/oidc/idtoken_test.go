package oidc_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"keyway/internal/demo/idp"
	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/threat"
)

// lie makes the IdP change the ID token before it is signed.
func lie(f func(t *idp.JWT)) *idp.Hooks { return &idp.Hooks{IDToken: f} }

func TestIDTokenClaims(t *testing.T) {
	threat.Covers(t, 5)
	w := newWorld(t)
	now := func() int64 { return time.Now().Unix() }
	set := func(name string, value func() any) *idp.Hooks {
		return lie(func(t *idp.JWT) { t.Claims[name] = value() })
	}
	fixed := func(v any) func() any { return func() any { return v } }
	without := func(name string) *idp.Hooks { return lie(func(t *idp.JWT) { delete(t.Claims, name) }) }
	for name, h := range map[string]*idp.Hooks{
		"iss missing":             without("iss"),
		"iss wrong":               set("iss", fixed("https://evil.example")),
		"iss trailing slash":      set("iss", fixed(w.idp.URL+"/")),
		"iss as a list":           set("iss", fixed([]string{w.idp.URL})),
		"sub missing":             without("sub"),
		"sub empty":               set("sub", fixed("")),
		"sub a number":            set("sub", fixed(7)),
		"sub too long":            set("sub", fixed(strings.Repeat("a", 256))),
		"sub with a line break":   set("sub", fixed("ada\r\nX-User-ID: root")),
		"aud missing":             without("aud"),
		"aud another's":           set("aud", fixed("somebody-else")),
		"aud list without us":     set("aud", fixed([]string{"a", "b"})),
		"aud empty list":          set("aud", fixed([]string{})),
		"aud extra, no azp":       lie(func(t *idp.JWT) { t.Claims["aud"] = []string{clientID, "other"}; delete(t.Claims, "azp") }),
		"azp another's":           set("azp", fixed("other")),
		"azp null, extra aud":     lie(func(t *idp.JWT) { t.Claims["aud"] = []string{clientID, "other"}; t.Claims["azp"] = nil }),
		"exp missing":             without("exp"),
		"exp past":                set("exp", func() any { return now() - 61 }),
		"exp 1e300":               set("exp", fixed(json.RawMessage("1e300"))),
		"exp negative":            set("exp", fixed(-1)),
		"exp a string":            set("exp", func() any { return "9999999999" }),
		"exp before iat":          lie(func(t *idp.JWT) { t.Claims["iat"], t.Claims["exp"] = now()+50, now()+10 }),
		"iat missing":             without("iat"),
		"iat +61 s":               set("iat", func() any { return now() + 62 }), // 62: it takes up to one to arrive
		"iat a week ago":          set("iat", func() any { return now() - 7*86400 }),
		"iat 1e300":               set("iat", fixed(json.RawMessage("1e300"))),
		"nbf in the future":       set("nbf", func() any { return now() + 120 }),
		"nonce missing":           without("nonce"),
		"nonce wrong":             set("nonce", fixed("another")),
		"nonce empty":             set("nonce", fixed("")),
		"nonce a list":            set("nonce", fixed([]string{"a"})),
		"at_hash wrong":           set("at_hash", fixed("AAAAAAAAAAAAAAAAAAAAAA")),
		"claims are not objects":  {SerializedIDToken: func(tok string) string { return replacePart(tok, 1, `[1]`) }},
		"typ of an access token":  lie(func(t *idp.JWT) { t.Header["typ"] = "at+jwt" }),
		"typ of a logout token":   lie(func(t *idp.JWT) { t.Header["typ"] = "logout+jwt" }),
		"signature changed":       {SerializedIDToken: func(tok string) string { return tok[:len(tok)-6] + "AAAAAA" }},
		"payload changed":         {SerializedIDToken: func(tok string) string { return addClaim(tok, "role", "admin") }},
		"kid of nobody":           lie(func(t *idp.JWT) { t.Header["kid"] = "nobody" }),
		"empty":                   {SerializedIDToken: func(string) string { return "" }},
		"nonsense":                {SerializedIDToken: func(string) string { return "a.b.c" }},
		"extremely deep":          set("x", fixed(json.RawMessage(strings.Repeat("[", 100)+strings.Repeat("]", 100)))),
		"auth_time as a string":   set("auth_time", fixed("yesterday")),
		"another algorithm (HS)":  {SerializedIDToken: func(tok string) string { return replacePart(tok, 0, `{"alg":"HS256"}`) }},
		"unsigned":                {SerializedIDToken: func(tok string) string { return unsigned(tok) }},
		"encrypted, by its shape": {SerializedIDToken: func(tok string) string { return tok + ".AAAA.AAAA" }},
	} {
		t.Run(name, func(t *testing.T) {
			w.idp.SetHooks(h)
			before := w.calls(idp.EndpointUserinfo)
			grant, err := w.signIn(t, oidc.SignInRequest{})
			if err == nil || !grant.Tokens.AccessToken.IsZero() || grant.Claims.Subject != "" {
				t.Fatalf("accepted: %+v, %v", grant.Claims, err)
			}
			if code := problem.CodeOf(err); code != problem.LoginFailed && code != problem.IdPFailed {
				t.Errorf("code %s", code)
			}
			if w.calls(idp.EndpointUserinfo) != before {
				t.Error("userinfo was called with a token that came with a refused ID token")
			}
		})
	}
	for name, h := range map[string]*idp.Hooks{
		"aud a list of one":          set("aud", fixed([]string{clientID})),
		"aud extra, azp ours":        lie(func(t *idp.JWT) { t.Claims["aud"] = []string{clientID, "other"}; t.Claims["azp"] = clientID }),
		"iat +50 s":                  set("iat", func() any { return now() + 50 }),
		"exp 30 s ago":               lie(func(t *idp.JWT) { t.Claims["iat"], t.Claims["exp"] = now()-90, now()-30 }),
		"fractions of seconds":       set("iat", func() any { return float64(time.Now().UnixMilli()) / 1000 }),
		"no at_hash, no typ":         lie(func(t *idp.JWT) { delete(t.Claims, "at_hash"); delete(t.Header, "typ") }),
		"claims that nobody knows":   set("x", fixed(map[string]any{"a": []int{1}})),
		"auth_time in exponent form": set("auth_time", fixed(json.RawMessage("1.7e9"))),
		"an honest token":            nil,
	} {
		t.Run("accepted: "+name, func(t *testing.T) {
			w.idp.SetHooks(h)
			if _, err := w.signIn(t, oidc.SignInRequest{}); err != nil {
				t.Error(err)
			}
		})
	}
}

func parts(token string) []string { return strings.Split(token, ".") }

func replacePart(token string, i int, text string) string {
	p := parts(token)
	p[i] = base64.RawURLEncoding.EncodeToString([]byte(text))
	return strings.Join(p, ".")
}

func addClaim(token, name, value string) string {
	raw, _ := base64.RawURLEncoding.DecodeString(parts(token)[1])
	claims := map[string]any{}
	_ = json.Unmarshal(raw, &claims)
	claims[name] = value
	raw, _ = json.Marshal(claims)
	return replacePart(token, 1, string(raw))
}

func unsigned(token string) string {
	p := parts(replacePart(token, 0, `{"alg":"none"}`))
	return p[0] + "." + p[1] + "."
}

func TestUserInfo(t *testing.T) {
	threat.Covers(t, 5)
	answer := func(f func(a *idp.Answer)) *idp.Hooks {
		return &idp.Hooks{Userinfo: func(_ *http.Request, a *idp.Answer) { f(a) }}
	}
	edit := func(f func(m map[string]any)) *idp.Hooks { return answer(func(a *idp.Answer) { a.Edit(f) }) }
	w := newWorld(t)
	for name, c := range map[string]struct {
		h    *idp.Hooks
		kind error
	}{
		"another sub":  {edit(func(m map[string]any) { m["sub"] = "u-eve" }), oidc.ErrUserInfo},
		"no sub":       {edit(func(m map[string]any) { delete(m, "sub") }), oidc.ErrUserInfo},
		"sub a number": {edit(func(m map[string]any) { m["sub"] = 7 }), oidc.ErrUserInfo},
		"sub twice": {answer(func(a *idp.Answer) {
			a.Body = []byte(`{"sub":"u-ada-1815","sub":"u-ada-1815"}`)
		}), oidc.ErrUserInfo},
		"signed": {answer(func(a *idp.Answer) {
			a.Header.Set("Content-Type", "application/jwt")
			a.Body = []byte("e30.e30.AAAA")
		}), oidc.ErrUserInfo},
		"HTML": {answer(func(a *idp.Answer) {
			a.Header.Set("Content-Type", "text/html")
		}), oidc.ErrUserInfo},
		"truncated": {answer(func(a *idp.Answer) { a.Body = a.Body[:10] }), oidc.ErrUserInfo},
		"huge": {edit(func(m map[string]any) {
			m["x"] = strings.Repeat("x", 1<<20)
		}), oidc.ErrAnswer},
		"401": {answer(func(a *idp.Answer) { a.Status = 401 }), oidc.ErrUserInfo},
		"500": {answer(func(a *idp.Answer) { a.Status = 500 }), oidc.ErrUnavailable},
		"redirect": {answer(func(a *idp.Answer) {
			a.Status = 302
			a.Header.Set("Location", "/elsewhere")
		}), oidc.ErrAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			w.idp.SetHooks(c.h)
			grant, err := w.signIn(t, oidc.SignInRequest{})
			wantError(t, err, c.kind)
			if !grant.Tokens.AccessToken.IsZero() {
				t.Error("tokens came with the error")
			}
		})
	}
	t.Run("switched off", func(t *testing.T) {
		w := newWorld(t, func(s *setup) { s.rp.SkipUserInfo = true })
		if grant := w.mustSignIn(t); grant.UserInfo != nil || w.calls(idp.EndpointUserinfo) != 0 {
			t.Errorf("got %v", grant.UserInfo)
		}
	})
}

func TestJOSEAtTheRelyingParty(t *testing.T) {
	threat.Covers(t, 6)
	evil := signingKey(t)
	w := newWorld(t)
	for name, h := range map[string]*idp.Hooks{
		"embedded jwk": lie(func(t *idp.JWT) { t.Header["jwk"] = evil.Public() }),
		"jku":          lie(func(t *idp.JWT) { t.Header["jku"] = "https://evil.example/jwks" }),
		"x5u":          lie(func(t *idp.JWT) { t.Header["x5u"] = "https://evil.example/cert" }),
		"unknown crit": lie(func(t *idp.JWT) { t.Header["crit"] = []string{"x"}; t.Header["x"] = 1 }),
		"b64":          lie(func(t *idp.JWT) { t.Header["crit"] = []string{"b64"}; t.Header["b64"] = true }),
		"alg none":     {SerializedIDToken: unsigned},
		"alg of another family": lie(func(t *idp.JWT) {
			t.Header["alg"] = "RS256"
		}),
		"alg that the metadata does not list": lie(func(t *idp.JWT) { t.Header["alg"] = "ES384" }),
		"a strong alg, not the metadata's": {
			Discovery: func(doc map[string]any) { doc["id_token_signing_alg_values_supported"] = []string{"PS256"} },
		},
		"only HMAC offered": {
			Discovery: func(doc map[string]any) { doc["id_token_signing_alg_values_supported"] = []string{"HS256", "none"} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := w
			if h.Discovery != nil { // metadata is fetched once
				w = newWorld(t)
			}
			w.idp.SetHooks(h)
			if grant, err := w.signIn(t, oidc.SignInRequest{}); err == nil {
				t.Errorf("accepted %+v", grant.Claims)
			}
		})
	}
	t.Run("narrowed by configuration", func(t *testing.T) {
		w := newWorld(t, func(s *setup) { s.rp.IDTokenAlgorithms = []string{"EdDSA"} })
		if _, err := w.signIn(t, oidc.SignInRequest{}); err == nil {
			t.Error("an ES256 token was accepted")
		}
		if _, err := oidc.New(oidc.Options{Provider: w.provider, Client: &oidc.Client{}, OneTime: w.once,
			Callback: oidc.Callback{Static: callback}, IDTokenAlgorithms: []string{"HS256"}}); err == nil {
			t.Error("HS256 can be configured")
		}
	})
}

func TestKeyChoiceAtTheRelyingParty(t *testing.T) {
	threat.Covers(t, 7)
	decoy := signingKey(t)
	for name, c := range map[string]struct {
		h      idp.Hooks
		accept bool
	}{
		"no kid, one key": {idp.Hooks{
			JWKS:    func(set *jose.JSONWebKeySet) { set.Keys = set.Keys[:1] },
			IDToken: func(t *idp.JWT) { t.Header["kid"] = nil },
		}, true},
		"decoy with the same kid": {idp.Hooks{JWKS: func(set *jose.JSONWebKeySet) {
			fake := decoy.Public()
			fake.KeyID = set.Keys[0].KeyID
			set.Keys = append([]jose.JSONWebKey{fake}, set.Keys...)
		}}, true},
		"only the decoy": {idp.Hooks{JWKS: func(set *jose.JSONWebKeySet) {
			fake := decoy.Public()
			fake.KeyID = set.Keys[0].KeyID
			set.Keys = []jose.JSONWebKey{fake}
		}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, hooks(c.h))
			if _, err := w.signIn(t, oidc.SignInRequest{}); (err == nil) != c.accept {
				t.Errorf("got %v, want accepted: %v", err, c.accept)
			}
		})
	}
}

func TestIdPRotatesItsKey(t *testing.T) {
	threat.Covers(t, 8)
	w := newWorld(t)
	w.mustSignIn(t)
	if _, err := w.idp.RotateKey(); err != nil {
		t.Fatal(err)
	}
	w.mustSignIn(t)
	if got := w.calls(idp.EndpointJWKS); got != 2 {
		t.Errorf("the key set was fetched %d times, want 2: at first, and because of the new key", got)
	}
	w.idp.SetHooks(lie(func(t *idp.JWT) { t.Header["kid"] = "unknown" }))
	for range 5 {
		// Nobody can know whose it is, until keys are looked for again.
		_, err := w.signIn(t, oidc.SignInRequest{})
		wantError(t, err, oidc.ErrUnavailable)
		if e, ok := errors.AsType[*problem.Error](err); !ok || e.Code != problem.IdPUnavailable || e.RetryAfter <= 0 || e.RetryAfter > time.Minute {
			t.Errorf("an unknown key: %v, %+v", err, e)
		}
	}
	if got := w.calls(idp.EndpointJWKS); got > 2 {
		t.Errorf("five unknown key ids inside the cool-down: %d fetches more", got-2)
	}
	w.idp.SetHooks(nil)
	w.mustSignIn(t)
}

// Keys that can't be had are nobody's fault: the answer is "try again", and no
// token gets through meanwhile.
func TestKeysOfTheIdPUnavailable(t *testing.T) {
	threat.Covers(t, 8)
	w := newWorld(t)
	w.idp.SetHooks(&idp.Hooks{JWKS: func(set *jose.JSONWebKeySet) { set.Keys = nil }})
	grant, err := w.signIn(t, oidc.SignInRequest{})
	wantError(t, err, oidc.ErrUnavailable)
	if problem.CodeOf(err) != problem.IdPUnavailable || !grant.Tokens.AccessToken.IsZero() {
		t.Errorf("code %s", problem.CodeOf(err))
	}
}
