package e2e

import (
	"strings"
	"testing"
	"time"

	"keyway/internal/testkit/realidp"
	"keyway/internal/threat"
)

// The whole way at a provider that we did not write, by each method of client
// authentication, with and without pushed authorization requests.
func TestSignInAtOIDCProvider(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"client_secret_basic", "client_secret_post", "private_key_jwt"} {
		for _, par := range []realidp.PAR{realidp.PAROff, realidp.PARRequired} {
			t.Run(method+"/PAR "+string(par), func(t *testing.T) {
				threat.Covers(t, 23)
				w := newWorld(t, setup{Method: method, IdP: realidp.Options{PAR: par}})
				gateway := w.serve(t, nil)
				b := w.browser(gateway)

				wantStatus(t, b.SignIn(t, "ada", "/somewhere?x=1"), 303)
				session := b.Session(t)
				user, _ := session["user"].(map[string]any)
				if user["sub"] != "ada" || user["name"] != "Ada Lovelace" || user["email"] != "ada@example.test" {
					t.Errorf("session: %v", session)
				}
				callAPI(t, b)
				readTicks(t, b, 2)
				if got := w.API.lastHeader(); got.Get("X-Original-User") != "auth:account:oidc:ada" || got.Get("X-User-Email") != "ada@example.test" {
					t.Errorf("the API saw %v", got)
				}
				wantFrontChannel(t, w, b, par)
				wantClientAuth(t, w, method)

				wantStatus(t, b.SignOut(t), 303)
				wantStatus(t, b.Get(t, "/api/notes"), 401)
				wantSignedOutThere(t, w)
			})
		}
	}
}

// wantFrontChannel looks at what went through the browser to the provider.
func wantFrontChannel(t testing.TB, w *world, b *Browser, par realidp.PAR) {
	t.Helper()
	for _, e := range b.Trace.Exchanges(mustURL(t, w.IdP.Issuer).Host) {
		q := e.URL.Query()
		if q.Get("client_id") == "" || e.Method != "GET" {
			continue
		}
		if par != realidp.PAROff {
			if len(q) != 2 || q.Get("request_uri") == "" {
				t.Errorf("with PAR the browser carried %v", q)
			}
		} else if q.Get("code_challenge_method") != "S256" || q.Get("state") == "" || q.Get("nonce") == "" {
			t.Errorf("without PAR the browser carried %v", q)
		}
		return
	}
	t.Error("no authorization request")
}

func wantClientAuth(t testing.TB, w *world, method string) {
	t.Helper()
	requests := w.IdP.Requests(t, "/token")
	if len(requests) == 0 {
		t.Fatal("no token request")
	}
	for _, r := range requests {
		var used string
		switch {
		case r.Authorization == "Basic":
			used = "client_secret_basic"
		case r.Body["client_assertion"] != "":
			used = "private_key_jwt"
		case r.Body["client_secret"] != "":
			used = "client_secret_post"
		}
		if used != method || r.Status != 200 {
			t.Errorf("token request by %q, answered %d", used, r.Status)
		}
	}
}

// wantSignedOutThere waits until the provider has ended the session and taken
// back the refresh token, which happens beside the response.
func wantSignedOutThere(t testing.TB, w *world) {
	t.Helper()
	if len(w.IdP.Requests(t, "/session/end/confirm")) == 0 {
		t.Error("the provider's session was not ended")
	}
	eventually(t, "the refresh token is revoked", func() bool {
		revoked := w.IdP.Requests(t, "/token/revocation")
		return len(revoked) == 1 && revoked[0].Status == 200
	})
}

// Access tokens of two seconds, and refresh tokens that work once: for as long
// as the test runs, the user notices nothing.
func TestRefreshAtOIDCProvider(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{Method: "private_key_jwt", IdP: realidp.Options{
		PAR: realidp.PAROn, RotateRefreshToken: true, AccessTokenTTL: 2 * time.Second,
	}})
	gateway := w.serve(t, nil)
	b := w.signedIn(t, gateway)
	eventually(t, "three access tokens have been used", func() bool {
		wantStatus(t, b.Get(t, "/api/notes"), 200)
		return len(w.API.distinctTokens()) >= 3
	})
	used := map[string]bool{}
	for _, r := range w.IdP.Requests(t, "/token") {
		if r.Body["grant_type"] != "refresh_token" {
			continue
		}
		if token := r.Body["refresh_token"]; used[token] || r.Status != 200 {
			t.Errorf("a refresh was answered %d; the token had been used before: %v", r.Status, used[token])
		} else {
			used[token] = true
		}
	}
	if len(used) < 2 {
		t.Errorf("%d refresh tokens were used", len(used))
	}
}

// A refresh token that the provider has taken back ends the session, and no
// other thing does.
func TestGrantThatIsGoneEndsTheSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{IdP: realidp.Options{AccessTokenTTL: 2 * time.Second, RefreshTokenTTL: 3 * time.Second}})
	b := w.signedIn(t, w.serve(t, nil))
	wantStatus(t, b.Get(t, "/api/notes"), 200)
	var last Answer
	eventually(t, "the session is over", func() bool {
		last = b.Get(t, "/api/notes")
		if last.StatusCode >= 500 {
			t.Fatalf("%s %s", last.Status, last.Text)
		}
		return last.StatusCode == 401
	})
	wantProblem(t, last, 401, "session_ended")
	if b.SignedIn(t) {
		t.Error("/auth/session says otherwise")
	}
	if a := b.SignIn(t, "ada", "/again"); a.Header.Get("Location") != "/again" || !b.SignedIn(t) {
		t.Errorf("signing in again: %s", a.Status)
	}
}

func TestIdentityProviderCookiesAreNotOurs(t *testing.T) {
	threat.Covers(t, 42)
	w := newWorld(t, setup{})
	b := w.signedIn(t, w.serve(t, nil))
	wantStatus(t, b.Get(t, "/api/echo"), 200)
	if got := w.API.lastHeader().Get("Cookie"); strings.Contains(got, "bff_") {
		t.Errorf("the API got %q", got)
	}
}
