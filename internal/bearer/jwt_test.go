package bearer

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keyway/internal/principal"
	"keyway/internal/problem"
	"keyway/internal/threat"
)

func inactive(string) (string, error) { return `{"active":false}`, nil }

// What is not one token in one Authorization header is never taken for one.
func TestPresented(t *testing.T) {
	threat.Covers(t, 43)
	p := newAsked(func(token string) (string, error) {
		if token == "good" {
			return active("machine", nil), nil
		}
		return inactive(token)
	})
	a := authenticator(t, Options{Entries: []Entry{{Name: "main", Provider: "main", Issuer: issuer, Audience: []string{ours}, Introspect: p.introspect}}})
	for name, c := range map[string]struct {
		headers   []string
		code      problem.Code
		challenge string
	}{
		"none":               {nil, problem.Unauthenticated, plainChallenge},
		"another scheme":     {[]string{"Basic Z29vZA=="}, problem.Unauthenticated, plainChallenge},
		"empty":              {[]string{""}, problem.Unauthenticated, plainChallenge},
		"two headers":        {[]string{"Bearer good", "Bearer good"}, problem.BadRequest, invalidRequest},
		"two of two schemes": {[]string{"Basic x", "Bearer good"}, problem.BadRequest, invalidRequest},
		"two in one":         {[]string{"Bearer good, Bearer good"}, problem.BadRequest, invalidRequest},
		"no token":           {[]string{"Bearer"}, problem.BadRequest, invalidRequest},
		"only spaces":        {[]string{"Bearer   "}, problem.BadRequest, invalidRequest},
		"a space behind":     {[]string{"Bearer good "}, problem.BadRequest, invalidRequest},
		"controls":           {[]string{"Bearer go\x00od"}, problem.BadRequest, invalidRequest},
		"not ASCII":          {[]string{"Bearer gøød"}, problem.BadRequest, invalidRequest},
		"too long":           {[]string{"Bearer " + strings.Repeat("a", 65<<10)}, problem.BadRequest, invalidRequest},
		"junk":               {[]string{"Bearer junk"}, problem.InvalidToken, invalidToken},
		"junk with dots":     {[]string{"Bearer a.b.c"}, problem.InvalidToken, invalidToken},
		"a JWT of nobody":    {[]string{"Bearer eyJhbGciOiJub25lIn0.e30."}, problem.InvalidToken, invalidToken},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := a.Authenticate(t.Context(), c.headers, Need{})
			want(t, err, c.code, c.challenge)
		})
	}
	// The query and cookies are not even handed over.
	r := httptest.NewRequest(http.MethodGet, "/m2m?access_token=good", nil)
	r.AddCookie(&http.Cookie{Name: "__Host-bff_session", Value: "good"})
	_, _, err := a.Authenticate(t.Context(), r.Header.Values("Authorization"), Need{})
	want(t, err, problem.Unauthenticated, plainChallenge)
	for _, header := range []string{"Bearer good", "bearer good", "BEARER  good"} {
		if who, token, err := a.Authenticate(t.Context(), []string{header}, Need{}); err != nil || who.Account() != "auth:account:main:machine" || string(token.Reveal()) != "good" {
			t.Errorf("%s: %v %v", header, who, err)
		}
	}
}

func TestJWTAccessToken(t *testing.T) {
	s := newSigning(t)
	a := authenticator(t, Options{Entries: []Entry{
		{Name: "else", Issuer: issuer, Provider: "else", Audience: []string{"https://else.example.com"}, Keys: s.keys},
		{Name: "main", Issuer: issuer, Provider: "corp", Audience: []string{"x", ours}, Keys: s.keys,
			Roles: []Claim{{Source: "realm_access.roles"}, {Source: "https://x.example/roles"}}, Permissions: []Claim{{Source: "scope", SpaceDelimited: true}}},
	}})
	who, err := present(t, a, s.token(t, "at+jwt", map[string]any{
		"aud": []string{"other", ours}, "scope": "notes:read notes:write", "auth_time": 1700000000, "email": "ada@example.com", "name": "Ada\r\nX-User-ID: root",
		"realm_access": map[string]any{"roles": []any{"reader", 5, "reader", "bad\nrole"}}, "https://x.example/roles": "admin",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(principal.Principal{Provider: "corp", Subject: "machine", Email: "ada@example.com", AuthTime: time.Unix(1700000000, 0),
		Roles: []string{"reader", "admin"}, Permissions: []string{"notes:read", "notes:write"}, ClientID: "machine", Scopes: []string{"notes:read", "notes:write"}}, who); d != "" {
		t.Error(d)
	}
	if _, err := present(t, a, s.token(t, "application/AT+JWT", nil)); err != nil {
		t.Errorf("the long form of typ: %v", err)
	}
}

// Another kind of token, or one for somebody else, is none, however well signed;
// whether or not the provider calls it active.
func TestAnotherKindOfToken(t *testing.T) {
	s, stranger := newSigning(t), newSigning(t)
	said := newAsked(func(token string) (string, error) { return active("machine", nil), nil })
	// Keycloak's access tokens say JWT: then the provider is asked. So it is made
	// to call everything active.
	entries := map[string]Entry{
		"keys": {Name: "main", Issuer: issuer, Provider: "main", Audience: []string{ours}, Keys: s.keys},
		"both": {Name: "main", Issuer: issuer, Provider: "main", Audience: []string{ours}, Keys: s.keys, Introspect: said.introspect},
	}
	past, future := time.Now().Add(-time.Second).Unix(), time.Now().Add(time.Hour).Unix()
	for name, token := range map[string]string{
		"wrong aud":          s.token(t, "at+jwt", map[string]any{"aud": "https://other.example.com"}),
		"aud longer":         s.token(t, "at+jwt", map[string]any{"aud": ours + "/"}),
		"no aud":             s.token(t, "at+jwt", map[string]any{"aud": nil}),
		"aud no text":        s.token(t, "at+jwt", map[string]any{"aud": 5}),
		"wrong iss":          s.token(t, "at+jwt", map[string]any{"iss": "https://evil.example.com"}),
		"iss with a slash":   s.token(t, "at+jwt", map[string]any{"iss": issuer + "/"}),
		"no iss":             s.token(t, "at+jwt", map[string]any{"iss": nil}),
		"no exp":             s.token(t, "at+jwt", map[string]any{"exp": nil}),
		"past exp":           s.token(t, "at+jwt", map[string]any{"exp": past}),
		"exp no number":      s.token(t, "at+jwt", map[string]any{"exp": "tomorrow"}),
		"nbf to come":        s.token(t, "at+jwt", map[string]any{"nbf": future}),
		"iat to come":        s.token(t, "at+jwt", map[string]any{"iat": future}),
		"no sub":             s.token(t, "at+jwt", map[string]any{"sub": nil}),
		"sub with a break":   s.token(t, "at+jwt", map[string]any{"sub": "a\r\nb"}),
		"ID token":           s.token(t, "JWT", map[string]any{"at_hash": "x", "nonce": "n"}),
		"Keycloak's ID":      s.token(t, "JWT", map[string]any{"typ": "ID"}),
		"Keycloak's refresh": s.token(t, "JWT", map[string]any{"typ": "Refresh"}),
		"logout token":       s.token(t, "logout+jwt", nil),
		"old logout token":   s.token(t, "JWT", map[string]any{"events": map[string]any{"x": map[string]any{}}}),
		"dressed as access":  s.token(t, "at+jwt", map[string]any{"at_hash": "x"}),
		"bound to a key":     s.token(t, "at+jwt", map[string]any{"cnf": map[string]any{"jkt": "x"}}),
		"another's key":      stranger.token(t, "at+jwt", nil),
	} {
		for kind, e := range entries {
			t.Run(name+", "+kind, func(t *testing.T) {
				threat.Covers(t, 44)
				_, err := present(t, authenticator(t, Options{Entries: []Entry{e}}), token)
				want(t, err, problem.InvalidToken, invalidToken)
			})
		}
	}
	t.Run("no typ, keys", func(t *testing.T) {
		threat.Covers(t, 44)
		_, err := present(t, authenticator(t, Options{Entries: []Entry{entries["keys"]}}), s.token(t, "JWT", nil))
		want(t, err, problem.InvalidToken, invalidToken)
	})
	t.Run("no typ, both", func(t *testing.T) {
		if _, err := present(t, authenticator(t, Options{Entries: []Entry{entries["both"]}}), s.token(t, "JWT", nil)); err != nil {
			t.Error(err)
		}
	})
	t.Run("unsigned", func(t *testing.T) {
		threat.Covers(t, 44)
		parts := strings.Split(s.token(t, "at+jwt", nil), ".")
		none := "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + parts[1] + "."
		for _, e := range entries {
			_, err := present(t, authenticator(t, Options{Entries: []Entry{e}}), none)
			want(t, err, problem.InvalidToken, invalidToken)
		}
	})
}

// Keys that can't be had are nobody's fault: 503, and no request at all for what
// is refused anyway.
func TestKeysAway(t *testing.T) {
	s := newSigning(t)
	s.away = true
	a := authenticator(t, Options{Entries: []Entry{{Name: "main", Issuer: issuer, Provider: "main", Audience: []string{ours}, Keys: s.keys}}})
	_, err := present(t, a, s.token(t, "at+jwt", map[string]any{"exp": 1}))
	want(t, err, problem.InvalidToken, invalidToken)
	if s.calls != 0 {
		t.Errorf("%d requests for an expired token", s.calls)
	}
	_, err = present(t, a, s.token(t, "at+jwt", nil))
	want(t, err, problem.IdPUnavailable, "")
}

func TestOptionsAreChecked(t *testing.T) {
	p := newAsked(inactive)
	good := Entry{Name: "main", Issuer: issuer, Audience: []string{ours}, Introspect: p.introspect}
	noAudience, noWay, noIssuer := good, good, good
	noAudience.Audience, noWay.Introspect, noIssuer.Issuer = nil, nil, ""
	for name, entries := range map[string][]Entry{"no audience": {noAudience}, "no way to check": {noWay}, "no issuer": {noIssuer}, "twice": {good, good}} {
		if _, err := New(Options{Entries: entries, Salt: hasher(t, "v1=active"), Cache: newCache(t)}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Options{}); err == nil {
		t.Error("without salt and cache")
	}
}

func FuzzPeek(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.")
	f.Fuzz(func(t *testing.T, token string) {
		p, ok := peek(token)
		if !ok && (p.issuer != "" || p.audience != nil || p.accessToken) {
			t.Errorf("unread, and it says %+v", p)
		}
		if found, err := fromHeaders([]string{"Bearer " + token}); err == nil && (found == "" || slices.ContainsFunc([]byte(found), func(c byte) bool { return c <= ' ' || c >= 0x7f })) {
			t.Errorf("taken for a token: %q", found)
		}
	})
}
