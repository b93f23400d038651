package oidc_test

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/oidc"
	"keyway/internal/threat"
)

func jarm(s *setup) { s.rp.JARM = true }

func TestSignedResponse(t *testing.T) {
	threat.Covers(t, 10)
	w := newWorld(t, jarm)
	b := newBrowser()
	query := w.visit(t, b, w.begin(t, b, oidc.SignInRequest{ReturnTo: "/after"}))
	if q, _ := url.ParseQuery(query); len(q) != 1 || q.Get("response") == "" {
		t.Fatalf("the response is %v", q)
	}
	grant, err := w.finish(t, b, query)
	if err != nil || grant.Claims.Subject == "" || grant.ReturnTo != "/after" {
		t.Fatalf("%+v, %v", grant.Claims, err)
	}
	if mode := w.idp.Seen(idp.EndpointPAR)[0].Form.Get("response_mode"); mode != "query.jwt" {
		t.Errorf("asked for %q", mode)
	}
	if _, err := w.finish(t, b, query); err == nil {
		t.Error("the response was good twice")
	}
	t.Run("an error, signed", func(t *testing.T) {
		w := newWorld(t, jarm, hooks(idp.Hooks{Response: func(j *idp.JWT) {
			delete(j.Claims, "code")
			j.Claims["error"] = "access_denied"
		}}))
		_, err := w.signIn(t, oidc.SignInRequest{})
		wantError(t, err, oidc.ErrDenied)
	})
	t.Run("not asked for", func(t *testing.T) {
		w := newWorld(t, hooks(idp.Hooks{}))
		b := newBrowser()
		q, _ := url.ParseQuery(w.visit(t, b, w.begin(t, b, oidc.SignInRequest{})))
		token, _ := w.idp.Sign(nil, map[string]any{"iss": w.idp.URL, "aud": clientID, "exp": time.Now().Add(time.Minute).Unix(), "code": q.Get("code"), "state": q.Get("state")})
		_, err := w.finish(t, b, url.Values{"response": {token}}.Encode())
		wantError(t, err, oidc.ErrParameters)
		if w.calls(idp.EndpointToken) != 0 {
			t.Error("a token was asked for")
		}
	})
}

// The eight that the FAPI 2.0 Message Signing plan for clients has, and some more: no
// code is redeemed, whatever of it is right.
func TestSignedResponseRejects(t *testing.T) {
	claim := func(name string, value any) func(*idp.JWT) {
		return func(j *idp.JWT) {
			if j.Claims[name] = value; value == nil {
				delete(j.Claims, name)
			}
		}
	}
	header := func(name string, value any) func(*idp.JWT) { return func(j *idp.JWT) { j.Header[name] = value } }
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	for name, c := range map[string]struct {
		response   func(*idp.JWT)
		serialized func(string) string
		kind       error
	}{
		"wrong iss (mix-up)":  {claim("iss", "https://evil.example"), nil, oidc.ErrIssuer},
		"missing iss":         {claim("iss", nil), nil, oidc.ErrIssuer},
		"wrong aud":           {claim("aud", "another"), nil, oidc.ErrResponse},
		"missing aud":         {claim("aud", nil), nil, oidc.ErrResponse},
		"aud for others, too": {claim("aud", []string{clientID, "another"}), nil, oidc.ErrResponse},
		"past exp":            {claim("exp", time.Now().Add(-2*time.Minute).Unix()), nil, oidc.ErrResponse},
		"missing exp":         {claim("exp", nil), nil, oidc.ErrResponse},
		"exp is text":         {claim("exp", "tomorrow"), nil, oidc.ErrResponse},
		"iat ahead":           {claim("iat", time.Now().Add(time.Hour).Unix()), nil, oidc.ErrResponse},
		"alg none":            {nil, func(token string) string { return none + "." + strings.Split(token, ".")[1] + "." }, oidc.ErrResponse},
		"alg HS256":           {header("alg", "HS256"), nil, oidc.ErrResponse},
		"another alg":         {header("alg", "RS256"), nil, oidc.ErrResponse},
		"bad signature":       {nil, func(token string) string { return token[:len(token)-8] + "AAAAAAAA" }, oidc.ErrResponse},
		"changed claims": {nil, func(token string) string {
			p := strings.Split(token, ".")
			return p[0] + "." + strings.ToUpper(p[1][:1]) + p[1][1:] + "." + p[2]
		}, oidc.ErrResponse},
		"unknown key":           {header("kid", "nobody's"), nil, oidc.ErrResponse},
		"another kind of token": {header("typ", "at+jwt"), nil, oidc.ErrResponse},
		"no JWT":                {nil, func(string) string { return "e30" }, oidc.ErrResponse},
		"encrypted":             {nil, func(string) string { return "e30.e30.e30.e30.e30" }, oidc.ErrResponse},
		"wrong state":           {claim("state", "made up"), nil, oidc.ErrState},
		"missing state":         {claim("state", nil), nil, oidc.ErrState},
		"state is no text":      {claim("state", 7), nil, oidc.ErrResponse},
		"missing code":          {claim("code", nil), nil, oidc.ErrParameters},
		"code is a list":        {claim("code", []string{"a"}), nil, oidc.ErrResponse},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 10)
			w := newWorld(t, jarm, hooks(idp.Hooks{Response: c.response, SerializedResponse: c.serialized}))
			_, err := w.signIn(t, oidc.SignInRequest{})
			wantError(t, err, c.kind)
			if err != nil && strings.Contains(err.Error(), "evil") {
				t.Errorf("the error quotes: %v", err)
			}
			if w.calls(idp.EndpointToken) != 0 {
				t.Error("the code was redeemed")
			}
		})
	}
}

// Whoever demands signed responses takes no other, though it says the same.
func TestPlainResponseWhereASignedOneIsDue(t *testing.T) {
	threat.Covers(t, 10)
	inside := func(t *testing.T, w *world, b *browser) url.Values {
		q, _ := url.ParseQuery(w.visit(t, b, w.begin(t, b, oidc.SignInRequest{})))
		raw, err := base64.RawURLEncoding.DecodeString(strings.Split(q.Get("response"), ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		plain := url.Values{}
		for _, name := range []string{"code", "state", "iss"} {
			_, rest, _ := strings.Cut(string(raw), `"`+name+`":"`)
			value, _, _ := strings.Cut(rest, `"`)
			plain.Set(name, value)
		}
		plain.Set("whole", q.Get("response"))
		return plain
	}
	for name, change := range map[string]func(url.Values){
		"plain":                        func(v url.Values) { v.Del("whole") },
		"plain, and an empty response": func(v url.Values) { v.Del("whole"); v.Set("response", "") },
		"both":                         func(v url.Values) { v.Set("response", v.Get("whole")); v.Del("whole") },
		"signed, and a code":           func(v url.Values) { v.Set("response", v.Get("whole")); v.Del("whole"); v.Del("state"); v.Del("iss") },
		"signed twice": func(v url.Values) {
			v["response"] = []string{v.Get("whole"), v.Get("whole")}
			v.Del("whole")
			v.Del("code")
			v.Del("state")
			v.Del("iss")
		},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 10)
			w := newWorld(t, jarm)
			b := newBrowser()
			v := inside(t, w, b)
			change(v)
			if _, err := w.finish(t, b, v.Encode()); err == nil {
				t.Error("it was accepted")
			} else {
				wantError(t, err, err, v.Get("code"))
			}
			if w.calls(idp.EndpointToken) != 0 {
				t.Error("the code was redeemed")
			}
		})
	}
	t.Run("another browser's", func(t *testing.T) {
		threat.Covers(t, 10)
		w := newWorld(t, jarm)
		b := newBrowser()
		query := w.visit(t, b, w.begin(t, b, oidc.SignInRequest{}))
		_, err := w.finish(t, newBrowser(), query)
		wantError(t, err, oidc.ErrState)
	})
}

// A sign-in that was begun before a restart with other settings ends as strictly as
// either demands.
func TestSettingsChangeInMidSignIn(t *testing.T) {
	threat.Covers(t, 10)
	key := signingKey(t)
	var options oidc.Options
	var us oidc.ClientOptions
	w := newWorld(t, func(s *setup) { options, us = s.rp, s.us })
	strict := func() *oidc.RelyingParty {
		us.DPoP = proofKeys(t, key)
		client, err := oidc.NewClient(us)
		if err != nil {
			t.Fatal(err)
		}
		options.Provider, options.Client = w.provider, client
		rp, err := oidc.New(options)
		if err != nil {
			t.Fatal(err)
		}
		return rp
	}
	b := newBrowser()
	query := w.visit(t, b, w.begin(t, b, oidc.SignInRequest{}))
	options.JARM = true
	_, err := strict().Finish(t.Context(), oidc.CallbackRequest{Params: query, Cookie: b.cookie})
	wantError(t, err, oidc.ErrResponse)
	options.JARM = false
	grant, err := strict().Finish(t.Context(), oidc.CallbackRequest{Params: query, Cookie: b.cookie})
	if err != nil || grant.Tokens.Key != key.ID() {
		t.Errorf("bound to %q, %v", grant.Tokens.Key, err)
	}
}

// Whoever sends made-up responses by the thousand does not have keys fetched.
func TestMadeUpResponsesFetchNothing(t *testing.T) {
	threat.Covers(t, 10)
	w := newWorld(t, jarm)
	w.mustSignIn(t)
	before := w.calls(idp.EndpointJWKS)
	for range 100 {
		token, _ := w.idp.Sign(map[string]any{"kid": "made-up"}, map[string]any{"iss": w.idp.URL, "aud": clientID, "exp": time.Now().Add(time.Minute).Unix(), "code": "c", "state": "s"})
		_, err := w.finish(t, newBrowser(), url.Values{"response": {token}}.Encode())
		wantError(t, err, oidc.ErrState)
	}
	if n := w.calls(idp.EndpointJWKS) - before; n != 0 {
		t.Errorf("%d fetches of keys", n)
	}
}
