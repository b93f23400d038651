package e2e

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"keyway/internal/testkit/realidp"
	"keyway/internal/testkit/redisserver"
	"keyway/internal/threat"
)

// signOutThere signs the browser out at the provider, as its user would do it there.
// When it returns, the provider has told the gateway.
func signOutThere(t testing.TB, w *world, b *Browser) {
	t.Helper()
	// There is no post_logout_redirect_uri: the walk ends on a page of the provider's own.
	_, err := realidp.Walk(b.client, w.IdP.Issuer+"/session/end", nil)
	if err == nil || !strings.Contains(err.Error(), "no form") {
		t.Fatalf("sign-out at the provider: %v\n%s", err, w.IdP.Output())
	}
}

// wantRefused polls a path until it is 401, for a second at most, and says how long
// that took.
func wantRefused(t testing.TB, b *Browser, path string, since time.Time) time.Duration {
	t.Helper()
	for {
		a := b.Get(t, path)
		took := time.Since(since)
		if a.StatusCode == http.StatusUnauthorized {
			return took
		}
		if took > time.Second {
			t.Fatalf("%s at %s: still %s %s after the sign-out at the provider", path, b.Base, a.Status, took)
		}
	}
}

func TestBackchannelLogoutAtOIDCProvider(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"sid", "sub"} {
		t.Run(by, func(t *testing.T) {
			threat.Covers(t, 52, 53)
			redis := redisserver.Start(t, redisserver.Password(redisPassword))
			w, one, two := fleet(t, setup{Backchannel: by}, redis)
			laptop, phone := w.signedIn(t, one), w.signedIn(t, two)
			grace := w.browser(one)
			wantStatus(t, grace.SignIn(t, "grace", "/"), 303)
			everywhere := []string{one.URL, two.URL}
			for _, b := range []*Browser{laptop, phone, grace} {
				for _, at := range everywhere { // and is in its cache now
					wantStatus(t, b.At(at).Get(t, "/auth/verify"), 200)
					wantStatus(t, b.At(at).Get(t, "/api/notes"), 200)
				}
			}
			events := phone.At(two.URL).Open(t, "/api/ticks")
			defer events.Body.Close()
			streamEnds := make(chan struct{})
			go func() {
				defer close(streamEnds)
				_, _ = io.Copy(io.Discard, events.Body)
			}()

			signOutThere(t, w, laptop)
			since := time.Now()
			for _, at := range everywhere {
				t.Logf("laptop refused at %s after %s", at, wantRefused(t, laptop.At(at), "/auth/verify", since))
				wantStatus(t, laptop.At(at).Get(t, "/api/notes"), 401)
			}
			for _, at := range everywhere {
				if by == "sub" {
					t.Logf("phone refused at %s after %s", at, wantRefused(t, phone.At(at), "/auth/verify", since))
				} else {
					wantStatus(t, phone.At(at).Get(t, "/api/notes"), 200)
				}
				wantStatus(t, grace.At(at).Get(t, "/api/notes"), 200)
			}
			if by == "sub" {
				select {
				case <-streamEnds:
					t.Logf("phone's stream ended at most %s after", time.Since(since))
				case <-time.After(5 * time.Second):
					t.Error("the phone's stream goes on")
				}
			}
			if !strings.Contains(one.Output(), "the identity provider signed somebody out") {
				t.Errorf("the gateway's log does not say so:\n%s", one.Output())
			}
			// Whoever signs in again is signed in, once the provider's clock, which tells
			// seconds, is past the one of the sign-out.
			eventually(t, "ada is signed in again", func() bool {
				return laptop.SignIn(t, "ada", "/again").Header.Get("Location") == "/again"
			})
			if !laptop.At(two.URL).SignedIn(t) {
				t.Error("not at the other replica")
			}
		})
	}
}

// The provider signs somebody out while a refresh of the same session is under way
// on the other replica: what the refresh brings is not kept.
func TestBackchannelLogoutDuringARefresh(t *testing.T) {
	threat.Covers(t, 53)
	t.Parallel()
	redis := redisserver.Start(t, redisserver.Password(redisPassword))
	w, one, two := fleet(t, setup{Backchannel: "sid", IdP: realidp.Options{AccessTokenTTL: 2 * time.Second}}, redis)
	b := w.signedIn(t, one)
	other := w.signedIn(t, one)
	wantStatus(t, b.At(two.URL).Get(t, "/auth/verify"), 200)
	w.IdP.Behave(t, "/token", 8*time.Second, 0) // as long as a sign-out may take on a busy machine
	answered := make(chan error, 1)
	go func() {
		for { // served until the access token is over
			a, err := b.At(two.URL).Try("GET", "/api/notes", "")
			if err == nil && a.StatusCode == http.StatusOK {
				continue
			}
			if err == nil && a.StatusCode != http.StatusUnauthorized {
				err = errors.New(a.Status + " " + a.Text)
			}
			answered <- err
			return
		}
	}()
	underWay := func() bool { return strings.Contains(dumpRedis(t, redis), ":l:refresh:") }
	eventually(t, "the refresh is under way", underWay)
	signOutThere(t, w, b)
	since := time.Now()
	for _, p := range []*Process{one, two} {
		t.Logf("refused at %s after %s", p.URL, wantRefused(t, b.At(p.URL), "/auth/verify", since))
	}
	if !underWay() {
		t.Fatal("the refresh was over before the sign-out")
	}
	if err := <-answered; err != nil {
		t.Errorf("the request that waited for the refresh: %v", err)
	}
	w.IdP.Behave(t, "/token", 0, 0)
	for _, p := range []*Process{one, two} {
		wantStatus(t, b.At(p.URL).Get(t, "/auth/verify"), 401)
		wantStatus(t, b.At(p.URL).Get(t, "/api/notes"), 401)
	}
	wantStatus(t, other.Get(t, "/api/notes"), 200)
}
