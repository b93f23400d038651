package oidc_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/threat"
)

func (w *world) logoutToken(t *testing.T) string {
	t.Helper()
	token, err := w.idp.Sign(map[string]any{"typ": "logout+jwt"}, w.logoutClaims())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (w *world) logoutClaims() map[string]any {
	now := time.Now().Unix()
	return map[string]any{
		"iss": w.idp.URL, "aud": clientID, "iat": now, "exp": now + 120, "jti": "j-1", "sub": "ada", "sid": "s-1",
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
}

// Keys that can't be had decide nothing: the provider may send the token again.
func TestLogoutTokenWithoutKeys(t *testing.T) {
	threat.Covers(t, 52)
	w := newWorld(t)
	if _, err := w.provider.Metadata(t.Context()); err != nil {
		t.Fatal(err)
	}
	token := w.logoutToken(t)
	w.idp.SetHooks(&idp.Hooks{Before: func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}})
	_, err := w.rp.LogoutToken(t.Context(), token)
	if !errors.Is(err, oidc.ErrUnavailable) || problem.CodeOf(err) != problem.IdPUnavailable {
		t.Errorf("got %v", err)
	}
}

// A provider that begins to sign with a new key while a stranger's tokens keep us from
// looking for it is told when to come again. Refused, it would believe that it was
// wrong.
func TestLogoutTokenByANewKeyDuringTheCoolDown(t *testing.T) {
	threat.Covers(t, 8, 52)
	w := newWorld(t)
	w.mustSignIn(t)
	stranger, err := w.idp.Sign(map[string]any{"kid": "made-up"}, w.logoutClaims())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.rp.LogoutToken(t.Context(), stranger); problem.CodeOf(err) != problem.InvalidLogoutToken {
		t.Fatalf("a key that was looked for: %v", err)
	}
	if _, err := w.idp.RotateKey(); err != nil {
		t.Fatal(err)
	}
	_, err = w.rp.LogoutToken(t.Context(), w.logoutToken(t))
	if e, ok := errors.AsType[*problem.Error](err); !ok || e.Code != problem.IdPUnavailable || e.RetryAfter <= 0 || e.RetryAfter > time.Minute {
		t.Errorf("got %v, %+v", err, e)
	}
	if got := w.calls(idp.EndpointJWKS); got != 2 {
		t.Errorf("the key set was fetched %d times, want 2", got)
	}
}

func TestLogoutTokenIsGoodOnce(t *testing.T) {
	threat.Covers(t, 52)
	w := newWorld(t)
	got, err := w.rp.LogoutToken(t.Context(), w.logoutToken(t))
	if err != nil || got.Subject != "ada" || got.SessionID != "s-1" || got.ID != "j-1" || got.Issuer != w.idp.URL {
		t.Fatalf("%+v, %v", got, err)
	}
	claim := func(want problem.Code) {
		t.Helper()
		if err := w.rp.ClaimLogout(t.Context(), got); (err == nil) != (want == "") || err != nil && problem.CodeOf(err) != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	w.once.fail(errors.New("away"))
	claim(problem.StoreUnavailable)
	w.once.fail(nil)
	claim("")
	claim(problem.InvalidLogoutToken)
	if err := w.rp.UnclaimLogout(t.Context(), got); err != nil {
		t.Error(err)
	}
	claim("")
}
