package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/testkit/realidp"
)

// At a provider that we did not write: nothing is accused that is good, and its own
// words for what is not are understood.
func TestVerifyAtAnotherProvider(t *testing.T) {
	t.Parallel()
	password := filepath.Join(t.TempDir(), "password")
	write(t, password, "demo")
	stories := map[string]func(*testing.T){"an old key set at the provider": oldKeySetAtTheProvider}
	for name, s := range map[string]setup{
		"client secret":        {Method: "client_secret_basic"},
		"private key, and PAR": {Method: "private_key_jwt", IdP: realidp.Options{PAR: realidp.PARRequired}},
	} {
		stories[name] = func(t *testing.T) {
			w := newWorld(t, s)
			p := w.serve(t, nil)
			r := w.checklist(t, p, "--username", "ada", "--password-file", password)
			allGood(t, r)
			for _, id := range []string{"credentials.sign-in", "idp.discovery.sign-in", "outside.signin.account", "outside.signin", "outside.cookies"} {
				if c, found := r.Find(id); !found || c.Skipped {
					t.Errorf("%s: %+v", id, c)
				}
			}
			if s.Method == "private_key_jwt" { // another gateway has another key
				return
			}
			other := w.serve(t, Env{"PORT": "", "BFF_ADMIN_ADDR": "", "BFF_CALLBACK_URL": "http://127.0.0.1:1/auth/callback"})
			names(t, w.checklist(t, other, "--inside"), "signin.127.0.0.1:1", []string{"http://127.0.0.1:1/auth/callback is not registered"},
				"jwks.public", "admin.hidden")
			w.IdP.Pause()
			defer w.IdP.Resume()
			names(t, w.checklist(t, p, "--inside"), "idp.discovery.sign-in", []string{"timed out", "away"}, "credentials.sign-in", "signin."+mustURL(t, p.URL).Host)
		}
	}
	together(t, stories)
}

// A provider that keeps the key set for an hour, whatever max-age says: the checklist
// says what it holds, of when.
func oldKeySetAtTheProvider(t *testing.T) {
	d := deploy(t, idp.AuthPrivateKeyJWT, "", idp.Options{ClientKeysFloor: time.Hour, ClientKeysCeiling: time.Hour})
	d.One = d.serve(t, nil)
	allGood(t, d.checklist(t, d.One)) // and by that, the provider has our key set
	asked := ask(t, d.One, false, signingKeyName)
	r := d.checklist(t, d.One)
	allGood(t, r)
	c, _ := r.Find("credentials.sign-in")
	for _, word := range []string{"accepted, pending " + asked[0].To + " refused", "the IdP still holds the JWKS of ", "it may be so until "} {
		if !strings.Contains(c.Saw, word) {
			t.Errorf("expected %q in %s", word, c.Saw)
		}
	}
}
