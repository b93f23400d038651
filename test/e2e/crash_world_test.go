package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/demo/idp"
)

// everything is what a gateway makes itself.
var everything = []string{signingKeyName, sessionKeyName, tokenHashSaltName, "ua-hash-salt", csrfKeyName, stateKeyName, "key-encryption-key"}

// crash is a gateway alone, with nothing handed in, whose provider knows it by its
// signing key.
type crash struct {
	*world
	p     *Process
	users []*Browser
	away  atomic.Bool // the provider
}

func startCrash(t *testing.T) *crash {
	t.Helper()
	w, demo := atDemo(t, "private_key_jwt", idp.Options{AccessTokenLifetime: time.Hour})
	for _, name := range []string{"TOKEN_HASH_SALT", "UA_HASH_SALT", "CSRF_SECRET_KEY", "STATE_TOKEN_KEY"} {
		delete(w.Env, name)
	}
	w.Env["LOG_LEVEL"] = "info"
	w.settle(t, "secrets: managed\nrotation: {guard: 1s, skew: 0s, poll: 1s}\n")
	c := &crash{world: w}
	demo.SetHooks(&idp.Hooks{Before: func(rw http.ResponseWriter, r *http.Request) bool { return c.provider(t, rw, r) }})
	c.p = w.serve(t, nil)
	c.users = []*Browser{w.enter(t, c.p), w.enter(t, c.p)}
	return c
}

// provider looks, whenever an assertion arrives, whether its key is published.
func (c *crash) provider(t testing.TB, rw http.ResponseWriter, r *http.Request) bool {
	if r.Method != "POST" {
		return false
	}
	if c.away.Load() {
		rw.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	assertion := clientAssertion(r)
	if assertion == "" {
		return false
	}
	c.ledger.add("a client assertion", assertion)
	public := strings.TrimSuffix(c.Env["BFF_CALLBACK_URL"], "/auth/callback")
	a, err := NewBrowser(public).Try("GET", "/.well-known/jwks.json", "", "User-Agent", "Mozilla/5.0")
	if kid := kidOf(t, assertion); err == nil && !strings.Contains(a.Text, kid) {
		t.Errorf("%s: signed with %s, which is not published: %s", r.URL.Path, kid, a.Text)
	}
	return false
}

// again starts the gateway without faults, and sees that nothing is lost.
func (c *crash) again(t testing.TB, after string) {
	t.Helper()
	c.p = c.keep(c.p.Again(t))
	c.wantSane(t)
	c.wantUsers(t)
	c.wantKeys(t, filepath.Join(c.p.Env["BFF_KEYS_DIR"], "jwks.json"))
	rotate(t, c.p, false, everything...)
	c.wantUsers(t)
	c.users = append(c.users[1:], c.enter(t, c.p))
	if t.Failed() {
		t.Fatalf("after %s", after)
	}
}

// wantUsers: whoever was signed in is, with the cookie that they have.
func (c *crash) wantUsers(t testing.TB) {
	t.Helper()
	for _, b := range c.users {
		cookie := b.Jar.Get("__Host-bff_session")
		wantStatus(t, b.Get(t, "/api/notes"), 200)
		wantStatus(t, b.Do(t, "POST", "/api/notes", `{"text":"x"}`, "Content-Type", "application/json", "X-CSRF-Token", b.CSRF(t)), 201)
		if now := b.Jar.Get("__Host-bff_session"); cookie == nil || now == nil || now.Value != cookie.Value {
			t.Error("the session cookie is another one")
		}
	}
}

// wantSane: of each secret one version is active.
func (c *crash) wantSane(t testing.TB) {
	t.Helper()
	there := map[string]bool{}
	for _, s := range fleetOf(t, c.p).Secrets {
		there[s.Name] = true
		active := 0
		for _, v := range s.Versions {
			if v.State == "active" && v.ID == s.Active {
				active++
			} else if v.State == "active" {
				active += 2
			}
		}
		if active != 1 {
			t.Errorf("%s: expected one active version, %s, found %+v", s.Name, s.Active, s.Versions)
		}
	}
	for _, name := range everything {
		if !there[name] {
			t.Errorf("the status does not know %s", name)
		}
	}
}

// wantKeys: the key that is in use is published, by the gateway and by the file for
// others, and nothing private is.
func (c *crash) wantKeys(t testing.TB, file string) {
	t.Helper()
	soon(t, "the key in use is in "+file, func() bool {
		text, err := os.ReadFile(file)
		return err == nil && publishes(text, statusOf(t, c.p, signingKeyName).Active) == nil
	})
	active := statusOf(t, c.p, signingKeyName).Active
	if err := publishes([]byte(c.browser(c.p).Get(t, "/.well-known/jwks.json").Text), active); err != nil {
		t.Errorf("jwks.json: %v", err)
	}
}

// publishes reads a key set as others do.
func publishes(text []byte, kid string) error {
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(text, &set); err != nil {
		return err
	}
	found := false
	for _, key := range set.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} { // RFC 7518 sections 6.2.2, 6.3.2 and 6.4
			if _, there := key[private]; there {
				return fmt.Errorf("it has the private member %s", private)
			}
		}
		found = found || key["kid"] == kid
	}
	if !found {
		return fmt.Errorf("the active key %s is not in %s", kid, text)
	}
	return nil
}
