package e2e

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/testkit/realidp"
	"keyway/internal/testkit/redisserver"
	"keyway/internal/threat"
)

const redisPassword = "redis-password-of-a-test"

// fleet is a world with two gateways on one Redis. Each has a folder of keys of
// its own, made before the other could have seen it.
func fleet(t testing.TB, s setup, redis *redisserver.Server) (w *world, one, two *Process) {
	t.Helper()
	w = newWorld(t, s)
	w.ledger.add("the Redis password", redisPassword)
	one = w.serve(t, Env{"REDIS_URL": redis.URL()})
	two = w.serve(t, Env{"REDIS_URL": redis.URL(), "PORT": "", "BFF_ADMIN_ADDR": ""})
	return w, one, two
}

func TestTwoReplicasOnOneRedis(t *testing.T) {
	threat.Covers(t, 23, 27)
	redis := redisserver.Start(t, redisserver.Password(redisPassword))
	w, one, two := fleet(t, setup{Method: "private_key_jwt"}, redis)
	first := w.signedIn(t, one)
	second := first.At(two.URL)
	wantStatus(t, first.Get(t, "/api/notes"), 200)

	t.Run("one session", func(t *testing.T) {
		callAPI(t, second)
		csrf := first.CSRF(t)
		wantStatus(t, second.Do(t, "POST", "/api/notes", `{"text":"x"}`, "Content-Type", "application/json", "X-CSRF-Token", csrf), 201)
	})
	t.Run("one signing key", func(t *testing.T) {
		if a, b := first.Get(t, "/.well-known/jwks.json").Text, second.Get(t, "/.well-known/jwks.json").Text; a != b {
			t.Errorf("one publishes %s\nand the other %s", a, b)
		}
	})
	t.Run("a sign-in goes on elsewhere", func(t *testing.T) {
		b := w.browser(one)
		callback := mustURL(t, b.ToCallback(t, "grace", "/there"))
		a := b.At(two.URL).Get(t, callback.RequestURI())
		if a.StatusCode != 303 || a.Header.Get("Location") != "/there" || !b.SignedIn(t) {
			t.Errorf("callback on the other replica: %s %s", a.Status, a.Text)
		}
		// And it counts once, wherever it is repeated.
		stranger := NewBrowser(one.URL)
		w.browsers = append(w.browsers, stranger)
		if a := stranger.Get(t, callback.RequestURI()); a.StatusCode != 400 || stranger.SignedIn(t) {
			t.Errorf("the same callback in another browser: %s", a.Status)
		}
	})
	t.Run("a logout counts within a second", func(t *testing.T) {
		b := w.signedIn(t, one)
		old := NewBrowser(two.URL)
		w.browsers = append(w.browsers, old)
		old.Jar.SetCookies(mustURL(t, two.URL), []*http.Cookie{b.Jar.Get("__Host-bff_session")})
		wantStatus(t, old.Get(t, "/auth/verify"), 200) // and is in its cache now
		a := b.Do(t, "POST", "/auth/logout", "", "X-CSRF-Token", b.CSRF(t))
		wantStatus(t, a, 303)
		deadline := time.Now().Add(time.Second)
		for old.Get(t, "/auth/verify").StatusCode != 401 {
			if time.Now().After(deadline) {
				t.Fatal("a second after the logout the session still counts on the other replica")
			}
		}
		wantStatus(t, old.Get(t, "/api/notes"), 401)
		wantStatus(t, old.At(one.URL).Get(t, "/api/notes"), 401)
	})
	t.Run("kill -9 of one", func(t *testing.T) {
		one.Kill9()
		wantStatus(t, second.Get(t, "/api/notes"), 200)
		if !second.SignedIn(t) {
			t.Error("signed out")
		}
		one = w.keep(one.Again(t))
		wantStatus(t, first.Get(t, "/api/notes"), 200)
		callAPI(t, w.signedIn(t, one))
	})
	t.Run("Redis holds no id and no token", func(t *testing.T) {
		id := first.Jar.Get("__Host-bff_session").Value
		_, random, _ := strings.Cut(id, ".")
		dump := dumpRedis(t, redis)
		if dump == "" {
			t.Fatal("nothing is in Redis")
		}
		if strings.Contains(dump, random) {
			t.Error("the cookie's value is in Redis")
		}
		for _, token := range w.API.distinctTokens() {
			if strings.Contains(dump, token) {
				t.Error("an access token is in Redis")
			}
		}
		for _, name := range []string{"ada@example.test", "Ada Lovelace", w.Env["TOKEN_HASH_SALT"]} {
			if strings.Contains(dump, name) {
				t.Errorf("%q is in Redis", name)
			}
		}
	})
}

// Refresh tokens that work once, a token endpoint that takes five seconds, and a
// hundred requests over two replicas: the provider is asked once, and nobody is
// signed out.
func TestRefreshStampede(t *testing.T) {
	threat.Covers(t, 65)
	t.Parallel()
	redis := redisserver.Start(t, redisserver.Password(redisPassword))
	w, one, two := fleet(t, setup{IdP: realidp.Options{RotateRefreshToken: true, AccessTokenTTL: 3 * time.Second}}, redis)
	first := w.signedIn(t, one)
	wantStatus(t, first.Get(t, "/api/notes"), 200)
	time.Sleep(3 * time.Second) // until the access token is over: a date that the provider set
	w.IdP.Behave(t, "/token", 5*time.Second, 0)
	asked := len(refreshes(t, w))

	var all sync.WaitGroup
	answers := make(chan Answer, 100)
	for i := range 100 {
		b := first
		if i%2 == 1 {
			b = first.At(two.URL)
		}
		all.Go(func() {
			a, err := b.Try("GET", "/api/notes", "")
			if err != nil {
				t.Errorf("request %d: %v", i, err)
				return
			}
			answers <- a
		})
	}
	all.Wait()
	close(answers)
	for a := range answers {
		if a.StatusCode != 200 {
			t.Errorf("%s: %s", a.Status, a.Text)
		}
	}
	w.IdP.Behave(t, "/token", 0, 0)
	if got := len(refreshes(t, w)) - asked; got != 1 {
		t.Errorf("the provider was asked %d times", got)
	}
	if got := len(w.API.distinctTokens()); got != 2 {
		t.Errorf("%d access tokens reached the API, want the first and the refreshed one", got)
	}
	if !first.SignedIn(t) || !first.At(two.URL).SignedIn(t) {
		t.Error("signed out")
	}
	// The new refresh token was kept: the next refresh works, too.
	eventually(t, "the session is refreshed again", func() bool {
		wantStatus(t, first.At(two.URL).Get(t, "/api/notes"), 200)
		return len(w.API.distinctTokens()) >= 3
	})
}

func refreshes(t testing.TB, w *world) []realidp.Request {
	t.Helper()
	var some []realidp.Request
	for _, r := range w.IdP.Requests(t, "/token") {
		if r.Body["grant_type"] == "refresh_token" {
			some = append(some, r)
		}
	}
	return some
}
