package oidc_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"keyway/internal/demo/idp"
	"keyway/internal/dpop"
	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/threat"
)

func proofKeys(t testing.TB, keys ...jwks.Key) *dpop.Keys {
	t.Helper()
	k, err := dpop.New(signingRing(t, keys...), nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// bound makes a world whose tokens are bound to a key, at a provider that gives no
// others.
func bound(t testing.TB, changes ...func(*setup)) (*world, jwks.Key) {
	key := signingKey(t)
	return newWorld(t, append([]func(*setup){func(s *setup) {
		s.us.DPoP = proofKeys(t, key)
		s.client.DPoPBound = true
	}}, changes...)...), key
}

func TestTokensAreBound(t *testing.T) {
	threat.Covers(t, 21)
	w, key := bound(t)
	grant := w.mustSignIn(t)
	if grant.Tokens.Key != key.ID() || grant.UserInfo["email"] == nil {
		t.Errorf("bound to %q; UserInfo %v", grant.Tokens.Key, grant.UserInfo)
	}
	pushed := w.idp.Seen(idp.EndpointPAR)[0]
	if pushed.Form.Get("dpop_jkt") != key.ID() || pushed.ProofClaims["htm"] != "POST" || pushed.ProofClaims["htu"] != w.idp.URL+"/par" {
		t.Errorf("pushed with jkt %q and the proof %v", pushed.Form.Get("dpop_jkt"), pushed.ProofClaims)
	}
	told := w.idp.Seen(idp.EndpointUserinfo)[0]
	if told.AuthMethod != "dpop" || told.ProofClaims["ath"] != dpop.Hash(grant.Tokens.AccessToken) || told.ProofClaims["htm"] != "GET" {
		t.Errorf("UserInfo was asked by %s with the proof %v", told.AuthMethod, told.ProofClaims)
	}
	again, err := w.rp.Refresh(t.Context(), oidc.RefreshRequest{RefreshToken: grant.Tokens.RefreshToken, Subject: grant.Claims.Subject})
	if err != nil || again.Tokens.Key != key.ID() {
		t.Errorf("refreshed: bound to %q, %v", again.Tokens.Key, err)
	}
	machine, err := w.rp.ClientCredentials(t.Context(), "", []string{"profile"})
	if err != nil || machine.Key != key.ID() {
		t.Errorf("client credentials: bound to %q, %v", machine.Key, err)
	}
	ids := map[any]bool{}
	for _, s := range w.idp.Seen(idp.EndpointPAR, idp.EndpointToken, idp.EndpointUserinfo) {
		if s.ProofHeader["typ"] != "dpop+jwt" || s.ProofClaims["jti"] == nil || ids[s.ProofClaims["jti"]] {
			t.Errorf("%s: proof %v %v", s.Endpoint, s.ProofHeader, s.ProofClaims)
		}
		ids[s.ProofClaims["jti"]] = true
	}
	// Nobody asks for a proof where a token is only told of.
	if err := w.rp.Revoke(t.Context(), again.Tokens.RefreshToken, "refresh_token"); err != nil || w.idp.Seen(idp.EndpointRevocation)[0].ProofHeader != nil {
		t.Errorf("revoked with %v: %v", w.idp.Seen(idp.EndpointRevocation)[0].ProofHeader, err)
	}
}

// nonces is a server's choice of nonces: a new one for every call of demand.
type nonces struct {
	mu   sync.Mutex
	at   map[string]int
	ever bool // no proof is ever good
}

func (n *nonces) of(endpoint string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ever {
		n.at[endpoint]++
	}
	return fmt.Sprintf("%s-%d", endpoint, n.at[endpoint])
}

func (n *nonces) turn() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, endpoint := range []string{idp.EndpointPAR, idp.EndpointToken, idp.EndpointUserinfo} {
		n.at[endpoint]++
	}
}

func TestServerDemandsNonce(t *testing.T) {
	threat.Covers(t, 21)
	n := &nonces{at: map[string]int{}}
	w, _ := bound(t, hooks(idp.Hooks{DPoPNonce: n.of}))
	grant := w.mustSignIn(t)
	for endpoint, want := range map[string]int{idp.EndpointPAR: 2, idp.EndpointToken: 2, idp.EndpointUserinfo: 2} {
		seen := w.idp.Seen(endpoint)
		if len(seen) != want {
			t.Fatalf("%s: asked %d times, want one retry", endpoint, len(seen))
		}
		if last := seen[1].ProofClaims; last["nonce"] != n.of(endpoint) || last["jti"] == seen[0].ProofClaims["jti"] {
			t.Errorf("%s: the second proof was %v", endpoint, last)
		}
	}
	w.idp.ForgetSeen()
	n.turn()
	if _, err := w.rp.Refresh(t.Context(), oidc.RefreshRequest{RefreshToken: grant.Tokens.RefreshToken, Subject: grant.Claims.Subject}); err != nil {
		t.Fatal(err)
	}
	if seen := w.idp.Seen(idp.EndpointToken); len(seen) != 2 {
		t.Errorf("after the nonce turned: %d requests", len(seen))
	}
	// The nonce that came with the last success is good for the next request.
	w.idp.ForgetSeen()
	if _, err := w.rp.ClientCredentials(t.Context(), "", []string{"profile"}); err != nil || len(w.idp.Seen(idp.EndpointToken)) != 1 {
		t.Errorf("%d requests, %v", len(w.idp.Seen(idp.EndpointToken)), err)
	}
}

func TestServerDemandsNoncesForEver(t *testing.T) {
	threat.Covers(t, 21)
	for _, endpoint := range []string{idp.EndpointPAR, idp.EndpointToken, idp.EndpointUserinfo} {
		t.Run(endpoint, func(t *testing.T) {
			n := &nonces{at: map[string]int{}, ever: true}
			w, _ := bound(t, hooks(idp.Hooks{DPoPNonce: func(at string) string {
				if at != endpoint {
					return ""
				}
				return n.of(at)
			}}))
			b := newBrowser()
			s, err := w.rp.Begin(t.Context(), oidc.SignInRequest{RedirectURI: callback})
			if err == nil {
				b.ours[s.Cookie.Name] = s.Cookie.Value
				_, err = w.finish(t, b, w.visit(t, b, s))
			}
			if err == nil || w.calls(endpoint) != 2 {
				t.Errorf("%d requests to %s, %v", w.calls(endpoint), endpoint, err)
			}
		})
	}
}

// RFC 9449 section 5 lets a server answer with a bearer token. Then nothing is bound.
func TestBearerTokenWhereItWasToBeBound(t *testing.T) {
	downgrade := func(_ *http.Request, a *idp.Answer) {
		a.Edit(func(m map[string]any) {
			if m["token_type"] != nil {
				m["token_type"] = "Bearer"
			}
		})
	}
	w, _ := bound(t, hooks(idp.Hooks{Token: downgrade}))
	_, err := w.signIn(t, oidc.SignInRequest{})
	wantError(t, err, oidc.ErrAnswer)
	if w.calls(idp.EndpointUserinfo) != 0 {
		t.Error("the token was used")
	}
	// And the other way round: nobody could use it.
	w = newWorld(t, hooks(idp.Hooks{Token: func(_ *http.Request, a *idp.Answer) {
		a.Edit(func(m map[string]any) { m["token_type"] = "DPoP" })
	}}))
	_, err = w.signIn(t, oidc.SignInRequest{})
	wantError(t, err, oidc.ErrAnswer)
}

// The key turns while somebody is at the sign-in page: the code is bound to the version
// of then, and what is renewed afterwards to the new one.
func TestKeyTurnsInMidSignIn(t *testing.T) {
	threat.Covers(t, 64)
	old, young := signingKey(t), signingKey(t)
	versions := func(keys ...jwks.Key) *dpop.Keys {
		var all []keyring.Version
		for i, key := range keys {
			value, _ := key.RingValue()
			state := keyring.Active
			if i > 0 {
				state = keyring.Retiring
			}
			all = append(all, keyring.Version{ID: key.ID(), State: state, Value: value})
		}
		ring, err := keyring.New("dpop-key", all...)
		if err != nil {
			t.Fatal(err)
		}
		k, err := dpop.New(ring, nil)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	var rp func(*dpop.Keys) *oidc.RelyingParty
	w := newWorld(t, func(s *setup) {
		s.us.DPoP, s.client.DPoPBound = versions(old), true
		rp = func(k *dpop.Keys) *oidc.RelyingParty {
			us, o := s.us, s.rp
			us.DPoP = k
			client, err := oidc.NewClient(us)
			if err != nil {
				t.Fatal(err)
			}
			o.Client = client
			made, err := oidc.New(o)
			if err != nil {
				t.Fatal(err)
			}
			return made
		}
	})
	b := newBrowser()
	query := w.visit(t, b, w.begin(t, b, oidc.SignInRequest{}))
	after := rp(versions(young, old))
	grant, err := after.Finish(t.Context(), oidc.CallbackRequest{Params: query, Cookie: b.cookie})
	if err != nil || grant.Tokens.Key != old.ID() {
		t.Fatalf("bound to %q, %v", grant.Tokens.Key, err)
	}
	renewed, err := after.Refresh(t.Context(), oidc.RefreshRequest{RefreshToken: grant.Tokens.RefreshToken, Subject: grant.Claims.Subject})
	if err != nil || renewed.Tokens.Key != young.ID() {
		t.Errorf("after the refresh bound to %q, %v", renewed.Tokens.Key, err)
	}
	// A code whose key is gone for good is of no use to anybody.
	b = newBrowser()
	query = w.visit(t, b, w.begin(t, b, oidc.SignInRequest{}))
	if _, err := rp(versions(young)).Finish(t.Context(), oidc.CallbackRequest{Params: query, Cookie: b.cookie}); !errors.Is(err, dpop.ErrNoKey) || problem.CodeOf(err) != problem.LoginFailed {
		t.Errorf("got %v", err)
	}
}

// What is demanded and not offered is no sign-in, and not a weaker one.
func TestNotOffered(t *testing.T) {
	without := func(names ...string) idp.Hooks {
		return idp.Hooks{Discovery: func(doc map[string]any) {
			for _, name := range names {
				delete(doc, name)
			}
		}}
	}
	key := signingKey(t)
	signing := func(s *setup) { s.us.Signing = signingRing(t, key) }
	for name, c := range map[string]struct {
		hooks  idp.Hooks
		change func(*setup)
		says   string
	}{
		"DPoP":                {without("dpop_signing_alg_values_supported"), func(s *setup) { s.us.DPoP = proofKeys(t, key) }, "dpop_signing_alg_values_supported"},
		"DPoP by another alg": {idp.Hooks{Discovery: func(doc map[string]any) { doc["dpop_signing_alg_values_supported"] = []string{"RS256"} }}, func(s *setup) { s.us.DPoP = proofKeys(t, key) }, "dpop-key"},
		"JARM":                {idp.Hooks{Discovery: func(doc map[string]any) { doc["response_modes_supported"] = []string{"query"} }}, func(s *setup) { s.rp.JARM = true }, "response_modes_supported"},
		"JARM by HS256 only":  {idp.Hooks{Discovery: func(doc map[string]any) { doc["authorization_signing_alg_values_supported"] = []string{"HS256"} }}, func(s *setup) { s.rp.JARM = true }, "asymmetric"},
		"JAR":                 {without("request_object_signing_alg_values_supported"), func(s *setup) { signing(s); s.rp.JAR = oidc.JARRequired }, "request_object_signing_alg_values_supported"},
		"JAR without a key":   {idp.Hooks{}, func(s *setup) { s.rp.JAR = oidc.JARRequired }, "signing key"},
		"JAR off, demanded":   {idp.Hooks{}, func(s *setup) { signing(s); s.idp.RequireSignedRequests = true; s.rp.JAR = oidc.JAROff }, "require_signed_request_object"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, hooks(c.hooks), c.change)
			_, err := w.rp.Begin(t.Context(), oidc.SignInRequest{RedirectURI: callback})
			wantError(t, err, oidc.ErrNotOffered)
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v: does not say %q", err, c.says)
			}
			if w.calls(idp.EndpointPAR) != 0 {
				t.Error("a request was pushed")
			}
		})
	}
}

func TestSignedRequests(t *testing.T) {
	key := signingKey(t)
	for name, change := range map[string]func(*setup){
		"pushed":               func(s *setup) { s.rp.JAR = oidc.JARRequired },
		"by the browser":       func(s *setup) { s.rp.JAR = oidc.JARRequired; s.idp.DisablePAR = true },
		"the provider demands": func(s *setup) { s.idp.RequireSignedRequests = true },
		"by secret":            func(s *setup) { s.rp.JAR, s.us.Method = oidc.JARRequired, oidc.ClientSecretBasic },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(s *setup) {
				s.client.JWKS, s.us.Signing = publicSet(key), signingRing(t, key)
				s.client.AuthMethods = []string{idp.AuthPrivateKeyJWT, idp.AuthSecretBasic, idp.AuthSecretPost}
				s.us.Method = oidc.PrivateKeyJWT
				change(s)
			})
			ids := map[any]bool{}
			for range 2 {
				w.idp.ForgetSeen()
				b := newBrowser()
				s := w.begin(t, b, oidc.SignInRequest{})
				grant, err := w.finish(t, b, w.visit(t, b, s))
				if err != nil || grant.Tokens.AccessToken.IsZero() {
					t.Fatal(err)
				}
				front, _ := url.Parse(s.URL)
				sent, carries := front.Query(), "request_uri"
				seen := w.idp.Seen(idp.EndpointPAR)
				if name == "by the browser" {
					seen, carries = w.idp.Seen(idp.EndpointAuthorize), "request"
				}
				if len(sent) != 2 || sent.Get("client_id") != clientID || sent.Get(carries) == "" {
					t.Errorf("the browser carries %v", sent)
				}
				r := seen[0]
				for _, inside := range []string{"redirect_uri", "state", "nonce", "code_challenge", "scope", "response_type"} {
					if r.Form.Has(inside) || r.Query.Has(inside) || r.RequestClaims[inside] == nil {
						t.Errorf("%s is not in the request object alone", inside)
					}
				}
				c := r.RequestClaims
				if r.RequestHeader["typ"] != "oauth-authz-req+jwt" || c["iss"] != clientID || c["aud"] != w.idp.URL || c["client_id"] != clientID ||
					c["exp"].(float64)-c["nbf"].(float64) > 60 || ids[c["jti"]] {
					t.Errorf("request object %v %v", r.RequestHeader, c)
				}
				ids[c["jti"]] = true
			}
		})
	}
}
