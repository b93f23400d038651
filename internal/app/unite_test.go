package app

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/fleet"
	"keyway/internal/keyring"
	"keyway/internal/secret"
	"keyway/internal/session"
	"keyway/internal/testkit/redisserver"
	"keyway/internal/threat"
)

// ringOf builds a ring from words such as "a:active b:retiring"; the value of a
// live version is made from its id.
func ringOf(t *testing.T, text string) keyring.Ring {
	t.Helper()
	var versions []keyring.Version
	for _, word := range strings.Fields(text) {
		id, state, _ := strings.Cut(word, ":")
		v := keyring.Version{ID: id, State: keyring.State(state)}
		if v.State.Live() {
			v.Value = secret.NewValue([]byte("value of " + id))
		}
		versions = append(versions, v)
	}
	ring, err := keyring.New(nameSessionKey, versions...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func textOf(r keyring.Ring) string {
	var words []string
	for v := range r.All() {
		words = append(words, v.ID+":"+string(v.State))
	}
	return strings.Join(words, " ")
}

func TestTwoRingsBecomeOne(t *testing.T) {
	for name, tc := range map[string]struct{ there, ours, want string }{
		"the same":                        {"a:active", "a:active", ""},
		"two that know nothing in common": {"b:active", "a:active", "b:active a:retiring"},
		"ours lags":                       {"b:active a:retiring", "a:active", ""},
		"the second to come":              {"b:active a:retiring", "a:active", ""},
		"the store fell back a rotation":  {"b:pending a:active", "b:active a:retiring", "b:active a:retiring"},
		"the store fell back, and forgot": {"a:active", "b:active a:retiring", "b:active a:retiring"},
		"ours was rolled back since":      {"b:active a:retiring", "b:pending a:active", ""},
		"what was retired stays so":       {"b:active a:retiring", "b:active a:retired", "b:active a:retired"},
		"retired there":                   {"b:active a:retired", "b:active a:retiring", ""},
		"another began a rotation":        {"c:pending b:active", "d:pending a:active", "c:pending b:active d:retiring a:retiring"},
		"with a past":                     {"b:active", "a:active y:retiring z:retired", "b:active a:retiring y:retiring z:retired"},
	} {
		t.Run(name, func(t *testing.T) {
			there, ours := ringOf(t, tc.there), ringOf(t, tc.ours)
			united, err := unite(there, ours, time.Now())
			if tc.want == "" {
				if !errors.Is(err, fleet.ErrUnchanged) {
					t.Errorf("%v, %v; want no change", textOf(united), err)
				}
				return
			}
			if err != nil || textOf(united) != tc.want {
				t.Fatalf("%v, %v; want %v", textOf(united), err, tc.want)
			}
			// Who comes next, from either side, finds nothing left to do.
			for _, ring := range []keyring.Ring{there, ours, united} {
				if again, err := unite(united, ring, time.Now()); !errors.Is(err, fleet.ErrUnchanged) {
					t.Errorf("then, with %v: %v, %v", textOf(ring), textOf(again), err)
				}
			}
		})
	}
}

// What is known of a version on either side, beyond its state, is known after.
func TestUnitedRingsKeepWhatIsKnownOfAVersion(t *testing.T) {
	mark := func(r keyring.Ring, id string, mark func(*keyring.Version)) keyring.Ring {
		var versions []keyring.Version
		for v := range r.All() {
			if v.ID == id {
				mark(&v)
			}
			versions = append(versions, v)
		}
		marked, err := keyring.New(r.Name(), versions...)
		if err != nil {
			t.Fatal(err)
		}
		return marked
	}
	// The store fell back, and turned once more before anybody noticed.
	there, ours := ringOf(t, "c:active a:retiring"), ringOf(t, "b:active a:retiring")
	united, err := unite(there, mark(ours, "a", func(v *keyring.Version) { v.Compromised = true }), time.Now())
	if v, _ := united.Find("a"); err != nil || !v.Compromised {
		t.Errorf("somebody may have a, and one could go back to it: %v, %+v", err, v)
	}
	// It fell back to before somebody said that the rotation is because of a compromise.
	there = ringOf(t, "b:pending a:active")
	united, err = unite(there, mark(there, "b", func(v *keyring.Version) { v.TakesOver = true }), time.Now())
	if v, _ := united.Find("b"); err != nil || !v.TakesOver {
		t.Errorf("a would be accepted for long yet: %v, %+v", err, v)
	}
	// It fell back to before somebody said that the version in use is compromised.
	there = ringOf(t, "a:active")
	united, err = unite(there, mark(there, "a", func(v *keyring.Version) { v.Exposed = true }), time.Now())
	if err != nil || !united.Urgent() {
		t.Errorf("what comes after a would not take over: %v, %v", err, textOf(united))
	}
}

// What the fleet's ring has forgotten is not brought back by a replica that was
// away, again and again.
func TestUnitedRingsForget(t *testing.T) {
	ours := ringOf(t, "v0:active")
	there := ours
	for n := range 2 * keyring.MaxEnded {
		id := fmt.Sprintf("w%d", n)
		next, err := there.Add(keyring.Candidate{ID: id, Value: secret.NewValue([]byte(id))}, time.Now())
		if err == nil {
			next, err = next.Compromise(id, time.Now())
		}
		if err != nil {
			t.Fatal(err)
		}
		there = next
		if n == 10 {
			ours = there
		}
	}
	if _, known := there.Find("v0"); known {
		t.Fatal("nothing is forgotten")
	}
	if united, err := unite(there, ours, time.Now()); !errors.Is(err, fleet.ErrUnchanged) {
		t.Errorf("%v, %v; want no change", textOf(united), err)
	}
}

// signedIn makes a session on one replica, without a sign-in.
func signedIn(t *testing.T, a *app) (cookies []string) {
	t.Helper()
	cookie, _, err := a.generation().Sessions.Create(t.Context(), session.Record{Provider: "test", Subject: "ada"}, session.Client{})
	if err != nil {
		t.Fatal(err)
	}
	return []string{cookie.Name + "=" + cookie.Value}
}

// look has a replica read the fleet's rings.
func look(t *testing.T, a *app) {
	t.Helper()
	if _, err := a.follower.look(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func knows(t *testing.T, a *app, cookies []string) error {
	t.Helper()
	_, err := a.generation().Sessions.Find(t.Context(), cookies, session.Client{})
	return err
}

func awaitStore(t *testing.T, replicas ...*app) {
	t.Helper()
	for _, a := range replicas {
		until(t, "the store is back", func() bool { return a.resources.store.Ping(t.Context()) == nil })
	}
}

// Redis loses everything, and a replica with an empty folder is the first to put
// rings there. Nobody who signed in since, on whichever replica, is sent away.
func TestRingsOfASplitFleetAreBroughtTogether(t *testing.T) {
	threat.Covers(t, 57)
	server := redisserver.Start(t)
	shared := map[string]string{"REDIS_URL": server.URL(), "TOKEN_HASH_SALT": goodSalt}
	replica := func() *app {
		a, err := opened(t, env(t, shared))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	old, older := replica(), replica()
	server.Restart()
	awaitStore(t, old, older)
	fresh := replica()
	cookies := [][]string{signedIn(t, old), signedIn(t, fresh)}
	if err := knows(t, fresh, cookies[0]); !session.IsUnknownVersion(err) {
		t.Fatalf("the fleet is not split, so this shows nothing: %v", err)
	}

	all := []*app{old, older, fresh}
	for _, a := range all {
		look(t, a)
	}
	for i, a := range all {
		cookies = append(cookies, signedIn(t, a))
		for name, ring := range a.current.Load().rings {
			if want := fresh.current.Load().rings[name]; !keyring.Same(ring, want) {
				t.Errorf("replica %d holds %s as %s, another as %s", i, name, textOf(ring), textOf(want))
			}
		}
	}
	for i, a := range all {
		for j, c := range cookies {
			if err := knows(t, a, c); err != nil {
				t.Errorf("replica %d, session %d: %v", i, j, err)
			}
		}
	}
}

// Who runs when Redis comes back empty gives it the rings again, so that who
// comes later finds them.
func TestAnEmptiedStoreIsGivenItsRingsByWhoRuns(t *testing.T) {
	server := redisserver.Start(t)
	shared := map[string]string{"REDIS_URL": server.URL(), "TOKEN_HASH_SALT": goodSalt}
	first, err := opened(t, env(t, shared))
	if err != nil {
		t.Fatal(err)
	}
	server.Restart()
	awaitStore(t, first)
	look(t, first)
	cookies := signedIn(t, first)
	fresh, err := opened(t, env(t, shared))
	if err != nil {
		t.Fatal(err)
	}
	if err := knows(t, fresh, cookies); err != nil {
		t.Error(err)
	}
	for _, ring := range fresh.heldRings() {
		if n := len(slices.Collect(ring.All())); n != 1 {
			t.Errorf("%s has %d versions, want the one that was there", ring.Name(), n)
		}
	}
}

// A replica with another salt was first after the loss: who runs can't read what
// it wrote, says so once, and goes on.
func TestRingsUnderAnotherSaltAreComplainedOf(t *testing.T) {
	server := redisserver.Start(t)
	o := options(t, env(t, map[string]string{"REDIS_URL": server.URL(), "TOKEN_HASH_SALT": goodSalt}), managed, "")
	lines := make(chan struct{}, 100)
	a := &app{config: o.Config, log: told(lines, "don't agree on a secret")}
	t.Cleanup(func() { a.resources.Close() })
	if err := a.open(t.Context(), o.Env); err != nil {
		t.Fatal(err)
	}
	server.Restart()
	awaitStore(t, a)
	if _, err := opened(t, env(t, map[string]string{"REDIS_URL": server.URL(), "TOKEN_HASH_SALT": otherSalt})); err != nil {
		t.Fatal(err)
	}
	before := a.current.Load()
	for range 3 {
		_, _ = a.follower.look(t.Context())
	}
	if n := len(lines); n != len(before.rings) {
		t.Errorf("complained %d times, want once for each of %d", n, len(before.rings))
	}
	if a.current.Load() != before {
		t.Error("it serves with other rings")
	}
}

// The whole of it, as users see it: three replicas, Redis restarts empty, one
// replica is replaced by one with nothing.
func TestUsersDoNotNoticeThatRedisLostItsData(t *testing.T) {
	threat.Covers(t, 67)
	server := redisserver.Start(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	free.Close()
	callback := "http://127.0.0.1:" + port + "/auth/callback"
	const clientSecret = "a-client-secret-of-the-test"
	provider := idptest.Start(t, idp.Options{Clients: []idp.Client{{
		ID: "gateway", Secrets: []string{clientSecret}, GrantTypes: []string{idp.GrantCode, idp.GrantRefresh},
		RedirectURIs: []string{callback}, Scopes: []string{"openid", "profile", "email"},
	}}})
	replica := func(port string) *running {
		return start(t, options(t, env(t, map[string]string{
			"PORT": port, "BFF_COOKIE_SECURE": "false", "REDIS_URL": server.URL(), "TOKEN_HASH_SALT": goodSalt,
			"OIDC_ISSUER": provider.URL, "AUTH_CLIENT_ID": "gateway", "AUTH_CLIENT_SECRET": clientSecret,
			"MS_BFF_TOKEN_AUTH_METHOD": "client_secret_basic", "BFF_CALLBACK_URL": callback,
		}), managed, ""))
	}
	fleet := []*running{replica("0"), replica("0"), replica(port)}

	server.Kill()
	if err := fleet[2].stop(t); err != nil {
		t.Errorf("stopping: %v", err)
	}
	server.Restart()
	fleet[2] = replica(port) // all sign-ins end here, wherever they began
	c := client(t)
	until(t, "the replicas hold the same keys", func() bool {
		_, first := get(c, fleet[0].Public+"/.well-known/jwks.json")
		for _, r := range fleet[1:] {
			if _, found := get(c, r.Public+"/.well-known/jwks.json"); found != first {
				return false
			}
		}
		return true
	})
	for i, begin := range fleet {
		browser := idptest.NewBrowser(nil)
		defer browser.Client.CloseIdleConnections()
		if page, err := browser.SignIn(t.Context(), begin.Public+"/auth/login?return_to=/auth/session", "ada", "demo"); err != nil || page.Status != 200 {
			t.Fatalf("a sign-in begun at replica %d: %v, %+v", i, err, page)
		}
		for j, other := range fleet {
			page, err := browser.Get(t.Context(), other.Public+"/auth/session")
			if err != nil || !strings.Contains(string(page.Body), `"authenticated":true`) {
				t.Errorf("replica %d of a session begun at %d: %v, %s", j, i, err, fmt.Sprint(page))
			}
		}
	}
}
