package oidc_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

func tokenHook(f func(a *idp.Answer)) *idp.Hooks {
	return &idp.Hooks{Token: func(_ *http.Request, a *idp.Answer) { f(a) }}
}

func tokenEdit(f func(m map[string]any)) *idp.Hooks {
	return tokenHook(func(a *idp.Answer) {
		if a.Status == 200 {
			a.Edit(f)
		}
	})
}

func TestHostileTokenEndpoint(t *testing.T) {
	threat.Covers(t, 18)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the redirect was followed, with the code in its body")
	}))
	defer elsewhere.Close()
	patient := newWorld(t)
	impatient := newWorld(t, func(s *setup) { s.us.Timeout = 500 * time.Millisecond })
	for name, c := range map[string]struct {
		h    *idp.Hooks
		kind error // nil: accepted
	}{
		"10 MB":              {tokenEdit(func(m map[string]any) { m["x"] = strings.Repeat("x", 10<<20) }), oidc.ErrAnswer},
		"truncated":          {tokenHook(func(a *idp.Answer) { a.Body = a.Body[:len(a.Body)-20] }), oidc.ErrAnswer},
		"empty":              {tokenHook(func(a *idp.Answer) { a.Body = nil }), oidc.ErrAnswer},
		"HTML":               {tokenHook(func(a *idp.Answer) { a.Body = []byte("<html>") }), oidc.ErrAnswer},
		"302":                {tokenHook(func(a *idp.Answer) { a.Status = 302; a.Header.Set("Location", elsewhere.URL) }), oidc.ErrAnswer},
		"307":                {tokenHook(func(a *idp.Answer) { a.Status = 307; a.Header.Set("Location", elsewhere.URL) }), oidc.ErrAnswer},
		"308, same origin":   {tokenHook(func(a *idp.Answer) { a.Status = 308; a.Header.Set("Location", "/token2") }), oidc.ErrAnswer},
		"201":                {tokenHook(func(a *idp.Answer) { a.Status = 201 }), oidc.ErrAnswer},
		"access_token twice": {tokenHook(func(a *idp.Answer) { a.Body = []byte(`{"access_token":"a",` + string(a.Body[1:])) }), oidc.ErrAnswer},
		"500":                {tokenHook(func(a *idp.Answer) { a.Status = 500 }), oidc.ErrUnavailable},
		"hangs":              {tokenHook(func(a *idp.Answer) { a.Delay = time.Minute }), oidc.ErrUnavailable},
		"400 without JSON":   {tokenHook(func(a *idp.Answer) { a.Status, a.Body = 400, []byte("no") }), oidc.ErrAnswer},
		"no access_token":    {tokenEdit(func(m map[string]any) { delete(m, "access_token") }), oidc.ErrAnswer},
		"access_token with a line break": {tokenEdit(func(m map[string]any) {
			m["access_token"] = "a\r\nX: y"
		}), oidc.ErrAnswer},
		"no id_token":            {tokenEdit(func(m map[string]any) { delete(m, "id_token") }), oidc.ErrAnswer},
		"no token_type":          {tokenEdit(func(m map[string]any) { delete(m, "token_type") }), oidc.ErrAnswer},
		"token_type mac":         {tokenEdit(func(m map[string]any) { m["token_type"] = "mac" }), oidc.ErrAnswer},
		"expires_in negative":    {tokenEdit(func(m map[string]any) { m["expires_in"] = -1 }), oidc.ErrAnswer},
		"expires_in nonsense":    {tokenEdit(func(m map[string]any) { m["expires_in"] = []int{1} }), oidc.ErrAnswer},
		"names in another case":  {tokenEdit(func(m map[string]any) { m["Access_Token"] = m["access_token"]; delete(m, "access_token") }), oidc.ErrAnswer},
		"no expires_in":          {tokenEdit(func(m map[string]any) { delete(m, "expires_in") }), nil},
		"expires_in null":        {tokenEdit(func(m map[string]any) { m["expires_in"] = nil }), nil},
		"expires_in in a string": {tokenEdit(func(m map[string]any) { m["expires_in"] = "300" }), nil},
		"expires_in 1e300":       {tokenEdit(func(m map[string]any) { m["expires_in"] = 1e300 }), nil},
		"BEARER":                 {tokenEdit(func(m map[string]any) { m["token_type"] = "BEARER" }), nil},
		"no refresh_token":       {tokenEdit(func(m map[string]any) { delete(m, "refresh_token") }), nil},
		"members nobody knows":   {tokenEdit(func(m map[string]any) { m["x"] = map[string]any{"access_token": "y"} }), nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := patient
			if name == "hangs" {
				w = impatient // a busy machine may take its time over all others
			}
			w.idp.SetHooks(c.h)
			grant, err := w.signIn(t, oidc.SignInRequest{})
			if c.kind != nil {
				wantError(t, err, c.kind)
				if !grant.Tokens.AccessToken.IsZero() {
					t.Error("tokens came with the error")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			expiry := grant.Tokens.Expiry
			if strings.Contains(name, "no expires_in") != expiry.IsZero() && !strings.Contains(name, "null") {
				t.Errorf("expiry %v", expiry)
			}
			if expiry.After(time.Now().AddDate(1, 1, 0)) {
				t.Errorf("an access token that lives until %v", expiry)
			}
		})
	}
}

func TestScopesAreWhatWasGranted(t *testing.T) {
	threat.Covers(t, 19)
	w := newWorld(t)
	for name, c := range map[string]struct {
		scope    any
		want     []string
		stated   bool
		userInfo bool
	}{
		"empty":    {"", nil, true, false},
		"narrower": {"openid email", []string{"openid", "email"}, true, true},
		"only others": {"admin  superuser",
			[]string{"admin", "superuser"}, true, false},
		// RFC 6749 section 5.1: left out means that it is what was asked for.
		"not said": {nil, []string{"openid", "profile", "email"}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			w.idp.SetHooks(tokenEdit(func(m map[string]any) { m["scope"] = c.scope }))
			before := w.calls(idp.EndpointUserinfo)
			grant := w.mustSignIn(t)
			if !slices.Equal(grant.Tokens.Scopes, c.want) || grant.Tokens.ScopesStated != c.stated {
				t.Errorf("scopes %q, stated %v", grant.Tokens.Scopes, grant.Tokens.ScopesStated)
			}
			if asked := w.calls(idp.EndpointUserinfo) > before; asked != c.userInfo {
				t.Errorf("userinfo asked: %v", asked)
			}
		})
	}
	t.Run("a scope of another type", func(t *testing.T) {
		w.idp.SetHooks(tokenEdit(func(m map[string]any) { m["scope"] = []string{"openid"} }))
		_, err := w.signIn(t, oidc.SignInRequest{})
		wantError(t, err, oidc.ErrAnswer)
	})
}

func TestRefresh(t *testing.T) {
	w := newWorld(t)
	grant := w.mustSignIn(t)
	refresh := func(token secret.Value) (oidc.Refreshed, error) {
		return w.rp.Refresh(t.Context(), oidc.RefreshRequest{RefreshToken: token, Subject: grant.Claims.Subject})
	}
	first, err := refresh(grant.Tokens.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	if first.Tokens.RefreshToken.Equal(grant.Tokens.RefreshToken) || first.Tokens.AccessToken.Equal(grant.Tokens.AccessToken) {
		t.Error("the tokens did not change")
	}
	if first.Claims == nil || first.Claims.Subject != grant.Claims.Subject {
		t.Errorf("claims: %+v", first.Claims)
	}
	current := first.Tokens.RefreshToken
	next := func(h *idp.Hooks) (oidc.Refreshed, error) {
		w.idp.SetHooks(h)
		return refresh(current)
	}
	// What decides nothing must not end a session, and says when to come back.
	for name, c := range map[string]struct {
		h     *idp.Hooks
		kind  error
		code  problem.Code
		after time.Duration
	}{
		"503": {&idp.Hooks{Before: func(rw http.ResponseWriter, r *http.Request) bool {
			rw.Header().Set("Retry-After", "7")
			rw.WriteHeader(503)
			return true
		}}, oidc.ErrUnavailable, problem.IdPUnavailable, 7 * time.Second},
		"429": {&idp.Hooks{Before: func(rw http.ResponseWriter, r *http.Request) bool {
			rw.Header().Set("Retry-After", "999999999")
			rw.WriteHeader(429)
			return true
		}}, oidc.ErrUnavailable, problem.IdPUnavailable, time.Hour},
		"hangs up": {&idp.Hooks{Before: func(rw http.ResponseWriter, r *http.Request) bool {
			panic(http.ErrAbortHandler)
		}}, oidc.ErrUnavailable, problem.IdPUnavailable, 0},
		"temporarily_unavailable": {&idp.Hooks{Before: func(rw http.ResponseWriter, r *http.Request) bool {
			rw.WriteHeader(400)
			_, _ = rw.Write([]byte(`{"error":"temporarily_unavailable"}`))
			return true
		}}, oidc.ErrUnavailable, problem.IdPUnavailable, 0},
		"invalid_client": {&idp.Hooks{Before: func(rw http.ResponseWriter, r *http.Request) bool {
			rw.WriteHeader(401)
			_, _ = rw.Write([]byte(`{"error":"invalid_client"}`))
			return true
		}}, oidc.ErrClientRefused, problem.IdPFailed, 0},
		"invalid_request": {&idp.Hooks{Before: func(rw http.ResponseWriter, r *http.Request) bool {
			rw.WriteHeader(400)
			_, _ = rw.Write([]byte(`{"error":"invalid_request"}`))
			return true
		}}, oidc.ErrRefused, problem.IdPFailed, 0},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := next(c.h)
			wantError(t, err, c.kind)
			if problem.CodeOf(err) != c.code || strings.Contains(err.Error(), string(current.Reveal())) {
				t.Errorf("code %s: %v", problem.CodeOf(err), err)
			}
			if away, ok := asUnavailable(err); ok && away.RetryAfter != c.after {
				t.Errorf("retry after %v, want %v", away.RetryAfter, c.after)
			}
		})
	}
	t.Run("no new refresh token keeps the old one", func(t *testing.T) {
		w := newWorld(t, func(s *setup) { s.idp.KeepRefreshTokens = true })
		grant := w.mustSignIn(t)
		got, err := w.rp.Refresh(t.Context(), oidc.RefreshRequest{RefreshToken: grant.Tokens.RefreshToken, Subject: grant.Claims.Subject})
		if err != nil || !got.Tokens.RefreshToken.Equal(grant.Tokens.RefreshToken) {
			t.Errorf("got %+v, %v", got.Tokens, err)
		}
	})
	t.Run("no id_token, no scope", func(t *testing.T) {
		got, err := next(tokenEdit(func(m map[string]any) { delete(m, "id_token"); delete(m, "scope") }))
		if err != nil || got.Claims != nil || got.Tokens.Scopes != nil || got.Tokens.ScopesStated {
			t.Fatalf("got %+v, %v", got, err)
		}
		current = got.Tokens.RefreshToken
	})
	for name, claims := range map[string]map[string]any{
		"another sub": {"sub": "u-grace-1906"}, "another iss": {"iss": "https://evil.example"}, "another aud": {"aud": "other"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			grant := w.mustSignIn(t)
			w.idp.SetHooks(lie(func(t *idp.JWT) {
				for name, value := range claims {
					t.Claims[name] = value
				}
			}))
			_, err := w.rp.Refresh(t.Context(), oidc.RefreshRequest{RefreshToken: grant.Tokens.RefreshToken, Subject: grant.Claims.Subject})
			wantError(t, err, oidc.ErrIDToken)
		})
	}
	t.Run("the grant is gone", func(t *testing.T) {
		w.idp.SetHooks(nil)
		w.idp.Revoke(grant.Claims.Subject)
		_, err := refresh(current)
		wantError(t, err, oidc.ErrGrantGone, string(current.Reveal()))
		if problem.CodeOf(err) != problem.SessionEnded {
			t.Errorf("code %s", problem.CodeOf(err))
		}
	})
}

func TestClientCredentialsRevokeAndEndSession(t *testing.T) {
	w := newWorld(t, func(s *setup) {
		s.client.Audiences = []string{"api://notes"}
		s.client.Scopes = []string{"openid", "profile", "email", "notes:read"}
		s.client.PostLogoutRedirectURIs = []string{"https://app.example/bye"}
	})
	tokens, err := w.rp.ClientCredentials(t.Context(), "api://notes", []string{"notes:read"})
	if err != nil || tokens.AccessToken.IsZero() || !slices.Equal(tokens.Scopes, []string{"notes:read"}) {
		t.Fatalf("got %+v, %v", tokens, err)
	}
	forms := make(chan url.Values, 1)
	w.idp.SetHooks(&idp.Hooks{Before: func(rw http.ResponseWriter, r *http.Request) bool {
		_ = r.ParseForm()
		forms <- r.PostForm
		rw.WriteHeader(503)
		return true
	}})
	for audience, resource := range map[string]bool{
		"api://notes": true, "https://notes.example": true, "https://notes.example/v1?x=y": true, "urn:example:notes": true,
		"": false, "notes": false, "/notes": false, "https://notes.example/#x": false, "https://": false, "notes api": false, "://": false,
	} {
		_, err := w.rp.ClientCredentials(t.Context(), audience, nil)
		wantError(t, err, oidc.ErrUnavailable)
		form := <-forms
		if form.Get("audience") != audience || form.Has("resource") != resource || resource && form.Get("resource") != audience {
			t.Errorf("%q: sent audience %q, resource %q", audience, form["audience"], form["resource"])
		}
	}
	w.idp.SetHooks(nil)
	_, err = w.rp.ClientCredentials(t.Context(), "", []string{"admin"})
	wantError(t, err, oidc.ErrRefused)
	if problem.CodeOf(err) != problem.UpstreamAuthFailed {
		t.Errorf("code %s", problem.CodeOf(err))
	}

	grant := w.mustSignIn(t)
	if err := w.rp.Revoke(t.Context(), grant.Tokens.RefreshToken, "refresh_token"); err != nil {
		t.Fatal(err)
	}
	_, err = w.rp.Refresh(t.Context(), oidc.RefreshRequest{RefreshToken: grant.Tokens.RefreshToken})
	wantError(t, err, oidc.ErrGrantGone)

	where, err := w.rp.EndSessionURL(t.Context(), grant.Tokens.IDToken, "https://app.example/bye", "s")
	if err != nil {
		t.Fatal(err)
	}
	q := mustQuery(t, where[strings.IndexByte(where, '?')+1:])
	if q.Get("client_id") != clientID || q.Get("id_token_hint") == "" || q.Get("post_logout_redirect_uri") != "https://app.example/bye" || q.Get("state") != "s" {
		t.Errorf("end session: %v", q)
	}
	if where, _ := w.rp.EndSessionURL(t.Context(), secret.Value{}, "", ""); strings.Contains(where, "id_token_hint") {
		t.Error("an empty hint is sent")
	}

	w = newWorld(t, hooks(idp.Hooks{Discovery: func(doc map[string]any) {
		delete(doc, "end_session_endpoint")
		delete(doc, "revocation_endpoint")
	}}))
	_, err = w.rp.EndSessionURL(t.Context(), secret.Value{}, "", "")
	wantError(t, err, oidc.ErrNotOffered)
	wantError(t, w.rp.Revoke(t.Context(), secret.NewValue([]byte("x")), "access_token"), oidc.ErrNotOffered)
}

func TestErrorsHideWhatWasSent(t *testing.T) {
	threat.Covers(t, 23)
	w := newWorld(t)
	b := newBrowser()
	query := w.visit(t, b, w.begin(t, b, oidc.SignInRequest{}))
	code := mustQuery(t, query).Get("code")
	w.idp.SetHooks(&idp.Hooks{Before: func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/.well-known/openid-configuration" || r.Method != http.MethodPost {
			return false
		}
		_ = r.ParseForm()
		_, password, _ := r.BasicAuth()
		rw.WriteHeader(400)
		_, _ = rw.Write([]byte(`{"error":"invalid_grant","error_description":"bad code ` + r.PostForm.Get("code") + ` from ` + password + ` with ` + r.PostForm.Get("code_verifier") + `"}`))
		return true
	}})
	_, err := w.finish(t, b, query)
	wantError(t, err, oidc.ErrGrantGone, code)
	if err == nil || !strings.Contains(err.Error(), "[hidden]") {
		t.Errorf("got %v", err)
	}
}

func TestSignInByEachMethod(t *testing.T) {
	key := signingKey(t)
	for _, method := range []string{oidc.PrivateKeyJWT, oidc.ClientSecretBasic, oidc.ClientSecretPost} {
		t.Run(method, func(t *testing.T) {
			w := newWorld(t, func(s *setup) {
				s.client.JWKS = publicSet(key)
				s.client.AuthMethods = []string{method}
				s.us.Method, s.us.Signing = method, signingRing(t, key)
			})
			grant := w.mustSignIn(t)
			if _, err := w.rp.Refresh(t.Context(), oidc.RefreshRequest{RefreshToken: grant.Tokens.RefreshToken}); err != nil {
				t.Error(err)
			}
			for _, seen := range w.idp.Seen(idp.EndpointToken, idp.EndpointPAR) {
				if seen.AuthMethod != method {
					t.Errorf("%s: authenticated by %s", seen.Endpoint, seen.AuthMethod)
				}
			}
		})
	}
}

func TestClientAssertions(t *testing.T) {
	threat.Covers(t, 20)
	key := signingKey(t)
	w := newWorld(t, func(s *setup) {
		s.client.JWKS, s.client.AuthMethods = publicSet(key), []string{oidc.PrivateKeyJWT}
		s.client.Audiences = []string{"api"}
		s.client.Scopes = []string{"openid", "profile", "email", "a"}
		s.us.Secret, s.us.Signing = keyring.Ring{}, signingRing(t, key)
		s.idp.MaxRecords = 2000
	})
	for range 1000 {
		if _, err := w.rp.ClientCredentials(t.Context(), "", []string{"a"}); err != nil {
			t.Fatal(err)
		}
	}
	jtis := map[any]bool{}
	now := float64(time.Now().Unix())
	for _, seen := range w.idp.Seen(idp.EndpointToken) {
		c := seen.AssertionClaims
		if c["aud"] != w.idp.URL { // a string, not a list
			t.Fatalf("aud is %v", c["aud"])
		}
		exp, iat, nbf := number(c["exp"]), number(c["iat"]), number(c["nbf"])
		if c["iss"] != clientID || c["sub"] != clientID || exp-iat > 60 || exp > now+60 || iat > now || nbf > now || exp < now {
			t.Fatalf("claims %v", c)
		}
		if seen.AssertionHeader["alg"] != "ES256" || seen.AssertionHeader["kid"] != key.ID() {
			t.Fatalf("header %v", seen.AssertionHeader)
		}
		if jtis[c["jti"]] || c["jti"] == "" {
			t.Fatal("a jti twice")
		}
		jtis[c["jti"]] = true
	}
	if len(jtis) != 1000 {
		t.Errorf("inspected %d", len(jtis))
	}
}

func TestOtherLiveCredentialIsTriedOnce(t *testing.T) {
	threat.Covers(t, 20, 62)
	known, unknown := signingKey(t), signingKey(t)
	for name, c := range map[string]struct {
		change func(*setup)
		want   string
		kind   error
	}{
		"secret: the IdP knows the other": {func(s *setup) {
			s.us.Secret = ring(t, "client-secret", "another secret", clientSecret)
		}, "a refused, b accepted", nil},
		"secret: the IdP knows none": {func(s *setup) {
			s.us.Secret = ring(t, "client-secret", "one", "two", "three", "four")
		}, "a refused, b refused, c refused", oidc.ErrClientRefused},
		"secret: the IdP knows what was found last": {func(s *setup) {
			s.us.Secret, s.us.Next = ring(t, "client-secret", "one", "two", "three", "four", clientSecret), "e"
		}, "a refused, e accepted", nil},
		"key: the IdP knows the other": {func(s *setup) {
			s.client.JWKS, s.client.AuthMethods = publicSet(known), []string{oidc.PrivateKeyJWT}
			s.us.Method, s.us.Signing = oidc.PrivateKeyJWT, signingRing(t, unknown, known)
		}, unknown.ID() + " refused, " + known.ID() + " accepted", nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.change)
			s, err := w.rp.Begin(t.Context(), oidc.SignInRequest{RedirectURI: callback})
			if got := w.observer.outcomes(); got != c.want {
				t.Errorf("observed %q, want %q", got, c.want)
			}
			if c.kind != nil {
				wantError(t, err, c.kind)
				return
			}
			if err != nil || s.URL == "" {
				t.Fatal(err)
			}
			seen := w.idp.Seen(idp.EndpointPAR)
			if len(seen) != 2 {
				t.Errorf("%d attempts", len(seen))
			}
			if jti := seen[0].AssertionClaims["jti"]; jti != nil && jti == seen[1].AssertionClaims["jti"] {
				t.Error("the retry has the same jti")
			}
		})
	}
}

func number(v any) float64 {
	f, _ := v.(float64)
	return f
}
