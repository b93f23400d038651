package oidc_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/jwks"
	"keyway/internal/oidc"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

// withoutKeys is a relying party of the same world that has fetched no key yet.
func (w *world) withoutKeys(t *testing.T, keys jwks.RemoteOptions) *oidc.RelyingParty {
	t.Helper()
	provider, err := oidc.NewProvider(oidc.ProviderOptions{Name: "demo", Issuer: w.idp.URL, Timeout: 5 * time.Second, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	client, err := oidc.NewClient(oidc.ClientOptions{ClientID: clientID, Secret: ring(t, "client-secret", clientSecret), Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	rp, err := oidc.New(oidc.Options{
		Provider: provider, Client: client, OneTime: w.once, StateKey: ring(t, "state-key", stateKey),
		Callback: oidc.Callback{Static: callback}, Cookies: oidc.CookiePolicy{Secure: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	return rp
}

// keysAway answers the request for the key set with f, and all others truly.
func keysAway(f http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	return func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/jwks" {
			return false
		}
		f(rw, r)
		return true
	}
}

// The token endpoint has rotated the refresh token: losing the new one because
// of the keys would end the session.
func TestRefreshWhileKeysAreAway(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"503":      func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(503) },
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"hangs":    func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"other keys": func(rw http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(rw).Encode(publicSet(signingKey(t)))
		},
		"no key left": func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte(`{"keys":[]}`)) },
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 67)
			w := newWorld(t)
			grant := w.mustSignIn(t)
			rp := w.withoutKeys(t, jwks.RemoteOptions{Pause: time.Millisecond, CoolDown: time.Millisecond, Timeout: 300 * time.Millisecond})
			refresh := func(token secret.Value) (oidc.Refreshed, error) {
				return rp.Refresh(t.Context(), oidc.RefreshRequest{RefreshToken: token, Subject: grant.Claims.Subject})
			}
			w.idp.SetHooks(&idp.Hooks{Before: keysAway(answer)})
			current := grant.Tokens.RefreshToken
			for range 2 {
				got, err := refresh(current)
				if err != nil {
					t.Fatal(err)
				}
				if got.Claims != nil || !got.Tokens.IDToken.IsZero() {
					t.Error("an ID token that nobody verified is passed on")
				}
				if got.Tokens.AccessToken.IsZero() || got.Tokens.RefreshToken.Equal(current) {
					t.Error("the new tokens are lost")
				}
				current = got.Tokens.RefreshToken
			}
			// Once the keys are back, the claims are too.
			w.idp.SetHooks(nil)
			for deadline := time.Now().Add(10 * time.Second); ; {
				got, err := refresh(current)
				if err != nil {
					t.Fatal(err)
				}
				current = got.Tokens.RefreshToken
				if got.Claims != nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the keys are back, and the ID token is still left out")
				}
			}
			// Somebody else's tokens are refused though no key is there.
			for member, value := range map[string]string{"sub": "u-grace-1906", "iss": "https://evil.example", "aud": "other"} {
				w.idp.SetHooks(&idp.Hooks{Before: keysAway(answer), IDToken: func(token *idp.JWT) { token.Claims[member] = value }})
				fresh := w.withoutKeys(t, jwks.RemoteOptions{Timeout: 300 * time.Millisecond})
				got, err := fresh.Refresh(t.Context(), oidc.RefreshRequest{RefreshToken: current, Subject: grant.Claims.Subject})
				wantError(t, err, oidc.ErrIDToken)
				wantError(t, err, oidc.ErrTokensDiscarded)
				if !got.Tokens.AccessToken.IsZero() {
					t.Errorf("another %s: tokens came with the error", member)
				}
				w.idp.SetHooks(nil)
				grant = w.mustSignIn(t)
				current = grant.Tokens.RefreshToken
			}
		})
	}
}

// Whoever asked may go away while the keys are fetched: the tokens are kept.
func TestRefreshSurvivesItsCaller(t *testing.T) {
	w := newWorld(t)
	grant := w.mustSignIn(t)
	ctx, leave := context.WithCancel(t.Context())
	rp := w.withoutKeys(t, jwks.RemoteOptions{})
	w.idp.SetHooks(&idp.Hooks{Before: keysAway(func(_ http.ResponseWriter, r *http.Request) {
		leave()
		<-r.Context().Done()
	})})
	got, err := rp.Refresh(ctx, oidc.RefreshRequest{RefreshToken: grant.Tokens.RefreshToken, Subject: grant.Claims.Subject})
	if err != nil || got.Tokens.RefreshToken.IsZero() || got.Tokens.RefreshToken.Equal(grant.Tokens.RefreshToken) {
		t.Fatalf("got %+v, %v, want the new tokens", got.Tokens, err)
	}
}
