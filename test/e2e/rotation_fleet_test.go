package e2e

import (
	"strings"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/testkit/redisserver"
	"keyway/internal/threat"
)

// crew is a world of replicas on one Redis. Each has its own mount of the
// token-hash salt, which all are given.
type crew struct {
	*world
	t        testing.TB // of the whole crew: replicas outlive the part of a test that starts them
	redis    *redisserver.Server
	replicas []*Process
	mounts   []*mount
	salt     string // handed in at last
}

const saltFile = "token_hash_salt"

func startCrew(t testing.TB, n int, o idp.Options) *crew {
	t.Helper()
	w, _ := atDemo(t, "client_secret_basic", o)
	c := &crew{world: w, t: t, redis: redisserver.Start(t, redisserver.Password(redisPassword), redisserver.KeepData())}
	w.ledger.add("the Redis password", redisPassword)
	w.Env["REDIS_URL"] = c.redis.URL()
	w.Env["BFF_REFRESH_AHEAD"] = "0"
	c.salt = w.Env["TOKEN_HASH_SALT"]
	delete(w.Env, "TOKEN_HASH_SALT")
	for i := range n {
		var own Env
		if i > 0 {
			own = Env{"PORT": "", "BFF_ADMIN_ADDR": ""}
		}
		c.join(c.salt, own)
	}
	return c
}

// join starts one more replica, with a salt in its mount.
func (c *crew) join(salt string, more Env) *Process {
	c.t.Helper()
	m := newMount(c.t, map[string]string{saltFile: salt})
	p := c.serve(c.t, Env{"TOKEN_HASH_SALT_FILE": m.path(saltFile)}.With(more))
	c.replicas, c.mounts = append(c.replicas, p), append(c.mounts, m)
	return p
}

// again starts a replica that has ended, with another environment.
func (c *crew) again(i int, change func(Env)) {
	c.t.Helper()
	p := c.replicas[i]
	env := p.Env.With(nil)
	change(env)
	c.replicas[i] = c.keep(Start(c.t, env, p.args...))
}

// callback is where a sign-in that was begun at one replica comes back to, as a
// path for any of them.
func (c *crew) callback(t testing.TB, b *Browser) string {
	t.Helper()
	return mustURL(t, b.ToCallback(t, "grace", "/there")).RequestURI()
}

// enterAt signs in: begun at one replica, finished at another.
func (c *crew) enterAt(t testing.TB, begin, finish *Process) *Browser {
	t.Helper()
	b := c.browser(begin)
	if a := b.At(finish.URL).Get(t, c.callback(t, b)); a.StatusCode != 303 || a.Header.Get("Location") != "/there" {
		t.Fatalf("callback: %s %s; the gateway said:\n%s", a.Status, a.Text, finish.Output())
	}
	return b
}

// enterEverywhere signs in at each replica, and looks whether all others know the
// session.
func (c *crew) enterEverywhere(t testing.TB) {
	t.Helper()
	for i, p := range c.replicas {
		b := c.enterAt(t, p, c.replicas[(i+1)%len(c.replicas)])
		for _, other := range c.replicas {
			if a := b.At(other.URL).Get(t, "/api/notes"); a.StatusCode != 200 {
				t.Fatalf("a session made at %s, at %s: %s %s", p.URL, other.URL, a.Status, a.Text)
			}
		}
	}
}

// Three replicas, users at work at all of them, and each secret that we issue with
// turned under their hands.
func fleetIssues(t *testing.T) {
	c := startCrew(t, 3, shortTokens)
	one, two, three := c.replicas[0], c.replicas[1], c.replicas[2]
	staff := []*Browser{c.enterAt(t, one, two), c.enterAt(t, three, three)}
	users := c.work(t, staff, c.replicas)

	t.Run("state key in the middle of a sign-in", func(t *testing.T) {
		threat.Covers(t, 61)
		b := c.browser(one)
		back := c.callback(t, b)
		rotate(t, one, false, stateKeyName)
		if a := b.At(two.URL).Get(t, back); a.StatusCode != 303 || a.Header.Get("Location") != "/there" || !b.At(three.URL).SignedIn(t) {
			t.Errorf("finished on another replica, after the rotation: %s %s", a.Status, a.Text)
		}
		c.enterEverywhere(t)
	})
	t.Run("session key under refreshes", func(t *testing.T) {
		threat.Covers(t, 61)
		for range 3 {
			tokens := len(c.API.distinctTokens())
			rotate(t, two, false, sessionKeyName)
			soon(t, "sessions are refreshed", func() bool { return len(c.API.distinctTokens()) > tokens })
		}
		c.enterEverywhere(t)
	})
	t.Run("session key, compromised", func(t *testing.T) {
		old := statusOf(t, one, sessionKeyName).Active
		began := time.Now()
		rotate(t, three, true, sessionKeyName)
		awaitState(t, one, sessionKeyName, old, "retired")
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("retired after %v", took)
		}
		if v := version(statusOf(t, one, sessionKeyName), old); !v.Compromised {
			t.Errorf("the old one: %+v", v)
		}
		c.enterEverywhere(t)
	})
	t.Run("state key, compromised", func(t *testing.T) {
		threat.Covers(t, 61)
		b := c.browser(one)
		back := c.callback(t, b)
		old := statusOf(t, one, stateKeyName).Active
		rotate(t, one, true, stateKeyName)
		awaitState(t, two, stateKeyName, old, "retired")
		a := b.At(two.URL).Get(t, back)
		if a.StatusCode != 400 || a.Header.Get("Location") != "" || b.SignedIn(t) {
			t.Errorf("a sign-in begun under the compromised key: %s to %q: %s", a.Status, a.Header.Get("Location"), a.Text)
		}
		if ct := a.Header.Get("Content-Type"); !strings.Contains(ct, "problem+json") && !strings.Contains(ct, "text/html") {
			t.Errorf("it says so as %s", ct)
		}
		t.Logf("it says: %.300s", a.Text)
		// The same browser, from the beginning: no loop.
		if a := b.At(three.URL).Get(t, c.callback(t, b)); a.StatusCode != 303 || !b.SignedIn(t) {
			t.Errorf("a fresh sign-in: %s %s", a.Status, a.Text)
		}
	})
	t.Run("token-hash salt without a maintenance window", func(t *testing.T) {
		threat.Covers(t, 59)
		old, next := c.salt, c.fresh("TOKEN_HASH_SALT")
		oldID, newID := fingerprint(tokenHashSaltName, old), fingerprint(tokenHashSaltName, next)
		for i, m := range c.mounts {
			m.swap(t, map[string]string{saltFile: next})
			soon(t, "the replica has found it", func() bool { return strings.Count(c.replicas[i].Output(), newID) > 0 })
			c.enterEverywhere(t)
			if i == 0 { // the others know it from the first one, long before their mounts follow
				awaitActive(t, tokenHashSaltName, oldID, c.replicas...)
				c.enterEverywhere(t)
			}
		}
		if v := version(statusOf(t, two, tokenHashSaltName), oldID); v.State != "retiring" {
			t.Errorf("the old one: %+v", v)
		}
		c.enterEverywhere(t)

		// In the overlap: one that has the newest only, and one that comes back with
		// the old one.
		c.join(next, Env{"PORT": "", "BFF_ADMIN_ADDR": ""})
		c.enterEverywhere(t)
		wantStatus(t, staff[0].At(c.replicas[3].URL).Get(t, "/api/notes"), 200)
		c.replicas[3].Kill9()
		c.mounts[3].swap(t, map[string]string{saltFile: old})
		c.again(3, func(Env) {})
		c.enterEverywhere(t)
		if got := statusOf(t, c.replicas[3], tokenHashSaltName).Active; got != newID {
			t.Errorf("in use at the one that came back: %s", got)
		}
		c.replicas[3].Terminate(t)
		c.replicas, c.mounts = c.replicas[:3], c.mounts[:3]
		c.salt = next
	})
	users.end(t)
	t.Run("token-hash salt in the environment, by a rolling restart", func(t *testing.T) {
		next := c.fresh("TOKEN_HASH_SALT")
		newID, oldID := fingerprint(tokenHashSaltName, next), fingerprint(tokenHashSaltName, c.salt)
		for i := range c.replicas {
			c.replicas[i].Terminate(t)
			c.again(i, func(env Env) {
				delete(env, "TOKEN_HASH_SALT_FILE")
				env["TOKEN_HASH_SALT"], env["TOKEN_HASH_SALT_PREVIOUS"] = next, c.salt
			})
			c.enterEverywhere(t)
			for _, b := range staff {
				for _, p := range c.replicas {
					wantStatus(t, b.At(p.URL).Get(t, "/api/notes"), 200)
				}
			}
		}
		awaitActive(t, tokenHashSaltName, oldID, c.replicas...)
		if got := statusOf(t, c.replicas[0], tokenHashSaltName).Active; got != newID {
			t.Errorf("in use: %s", got)
		}
		c.enterEverywhere(t)
		for _, b := range staff {
			wantStatus(t, b.At(c.replicas[2].URL).Get(t, "/api/notes"), 200)
		}
		c.salt = next
	})
	t.Run("token-hash salt, compromised", func(t *testing.T) {
		rotate(t, c.replicas[1], true, tokenHashSaltName)
		soon(t, "all are signed out everywhere", func() bool {
			for _, b := range staff {
				for _, p := range c.replicas {
					if b.At(p.URL).Get(t, "/api/notes").StatusCode != 401 {
						return false
					}
				}
			}
			return true
		})
		for _, b := range staff {
			wantStatus(t, b.At(c.replicas[0].URL).Get(t, "/auth/verify"), 401)
			if a := b.At(c.replicas[2].URL).Get(t, c.callback(t, b.At(c.replicas[0].URL))); a.StatusCode != 303 || !b.At(c.replicas[1].URL).SignedIn(t) {
				t.Errorf("signing in again: %s %s", a.Status, a.Text)
			}
		}
		c.enterEverywhere(t)
	})
}
