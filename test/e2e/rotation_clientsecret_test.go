package e2e

import (
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/testkit/realidp"
	"keyway/internal/threat"
)

// shortTokens has a session refreshed every other second.
var shortTokens = idp.Options{AccessTokenLifetime: 2 * time.Second}

// Both secrets are good at the provider, and the gateway's file is replaced.
func clientSecretBothLive(t *testing.T) {
	threat.Covers(t, 62)
	w, demo := atDemo(t, "client_secret_basic", shortTokens)
	w.Env["BFF_REFRESH_AHEAD"] = "0"
	old, next := w.Env["AUTH_CLIENT_SECRET"], w.fresh("client secret")
	file := w.inFile(t, "AUTH_CLIENT_SECRET")
	gateway := w.serve(t, nil)
	users := w.work(t, []*Browser{w.enter(t, gateway)}, []*Process{gateway})
	oldID, newID := fingerprint(clientSecretName, old), fingerprint(clientSecretName, next)
	if got := statusOf(t, gateway, clientSecretName).Active; got != oldID {
		t.Fatalf("in use: %s, want %s", got, oldID)
	}

	knows(t, demo.Provider, old, next)
	write(t, file, next)
	awaitState(t, gateway, clientSecretName, newID, "active")
	s := statusOf(t, gateway, clientSecretName)
	if text := said(s); !strings.Contains(text, "proved") || !strings.Contains(text, "handed_in") {
		t.Errorf("what happened: %s", text)
	}
	if v := version(s, oldID); v.State != "retiring" || v.RetiresAt == nil || time.Until(*v.RetiresAt) > 2*time.Minute {
		t.Errorf("the old one: %+v", v)
	}
	w.enter(t, gateway)
	// Refreshes go by the new one, so that the operator can take the old one away.
	knows(t, demo.Provider, next)
	used := clientAuths(t, gateway, newID, "accepted")
	soon(t, "sessions are refreshed with the new one", func() bool { return clientAuths(t, gateway, newID, "accepted") > used+1 })
	users.end(t)
	if n := clientAuths(t, gateway, "", "refused"); n != 0 {
		t.Errorf("%d refusals", n)
	}
}

func knows(t testing.TB, p *idp.Provider, secrets ...string) {
	t.Helper()
	if err := p.SetClientSecrets(clientID, secrets...); err != nil {
		t.Fatal(err)
	}
}

// The operator gives the gateway a secret that the provider does not know yet.
func clientSecretGatewayFirst(t *testing.T) {
	threat.Covers(t, 62)
	w := newWorld(t, setup{IdP: realidp.Options{AccessTokenTTL: 2 * time.Second}})
	w.settle(t, quick)
	w.Env["BFF_REFRESH_AHEAD"] = "0"
	old, next := w.Env["AUTH_CLIENT_SECRET"], w.fresh("client secret")
	file := w.inFile(t, "AUTH_CLIENT_SECRET")
	gateway := w.serve(t, nil)
	users := w.work(t, []*Browser{w.enter(t, gateway)}, []*Process{gateway})
	oldID, newID := fingerprint(clientSecretName, old), fingerprint(clientSecretName, next)

	write(t, file, next)
	awaitState(t, gateway, clientSecretName, newID, "pending")
	soon(t, "the status says what to do", func() bool {
		text := said(statusOf(t, gateway, clientSecretName))
		return strings.Contains(text, "register the new client secret at "+w.IdP.Issuer)
	})
	if s := statusOf(t, gateway, clientSecretName); s.Active != oldID {
		t.Errorf("in use: %+v", s)
	}
	w.enter(t, gateway) // by the old one

	// One at a time, as most providers have it.
	acceptOnly(t, w.IdP, next)
	awaitState(t, gateway, clientSecretName, newID, "active")
	w.enter(t, gateway)
	users.end(t)
}

// acceptOnly has oidc-provider know these client secrets and no other.
func acceptOnly(t testing.TB, p *realidp.Server, secrets ...string) {
	t.Helper()
	resp, err := http.PostForm(p.Issuer+"/test/secrets", url.Values{"client_id": {clientID}, "secret": secrets})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("changing the client's secrets: %s", resp.Status)
	}
}

// The provider takes one secret at a time. It has gone over to the new one, which
// the gateway was handed before, and sessions have to be refreshed at that moment.
func clientSecretProviderFirst(t *testing.T) {
	threat.Covers(t, 62)
	w := newWorld(t, setup{IdP: realidp.Options{AccessTokenTTL: 2 * time.Second, RotateRefreshToken: true}})
	w.settle(t, quick)
	w.Env["BFF_REFRESH_AHEAD"] = "0"
	old, next := w.Env["AUTH_CLIENT_SECRET"], w.fresh("client secret")
	file := w.inFile(t, "AUTH_CLIENT_SECRET")
	gateway := w.serve(t, nil)
	b := w.enter(t, gateway)
	oldID, newID := fingerprint(clientSecretName, old), fingerprint(clientSecretName, next)
	write(t, file, next)
	awaitState(t, gateway, clientSecretName, newID, "pending")
	soon(t, "the provider has refused it", func() bool { return clientAuths(t, gateway, newID, "refused") > 0 })

	// From one request to the next the old one stops to work, in the middle of
	// refreshes that are slow.
	w.IdP.Behave(t, "/token", 300*time.Millisecond, 0)
	users := w.work(t, []*Browser{b}, []*Process{gateway})
	tokens := len(w.API.distinctTokens())
	soon(t, "a refresh is under way", func() bool { return len(w.API.distinctTokens()) > tokens })
	acceptOnly(t, w.IdP, next)
	tokens = len(w.API.distinctTokens())
	soon(t, "sessions are refreshed", func() bool { return len(w.API.distinctTokens()) > tokens+1 })
	w.IdP.Behave(t, "/token", 0, 0)
	if n := clientAuths(t, gateway, newID, "accepted"); n == 0 {
		t.Error("no use of the new one is counted")
	}
	awaitState(t, gateway, clientSecretName, newID, "active")
	users.end(t)
	t.Logf("old: %d refused; new: %d accepted", clientAuths(t, gateway, oldID, "refused"), clientAuths(t, gateway, newID, "accepted"))
	w.enter(t, gateway)
}

// A file that cannot be read, is empty, or is half written, at run time and at the
// start.
func clientSecretFileIsBad(t *testing.T) {
	threat.Covers(t, 59, 62)
	w, demo := atDemo(t, "client_secret_basic", shortTokens)
	w.Env["BFF_REFRESH_AHEAD"] = "0"
	old := w.Env["AUTH_CLIENT_SECRET"]
	file := w.inFile(t, "AUTH_CLIENT_SECRET")
	gateway := w.serve(t, nil)
	users := w.work(t, []*Browser{w.enter(t, gateway)}, []*Process{gateway})
	oldID := fingerprint(clientSecretName, old)
	for name, spoil := range map[string]func() error{
		"empty": func() error { return os.WriteFile(file, nil, 0o600) },
		"gone":  func() error { return os.Remove(file) },
		"a folder": func() error {
			_ = os.Remove(file)
			return os.Mkdir(file, 0o700)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			soon(t, "the status speaks of trouble", func() bool { return statusOf(t, gateway, clientSecretName).Trouble != "" })
			if got := statusOf(t, gateway, clientSecretName).Active; got != oldID {
				t.Errorf("in use: %s", got)
			}
			if out := gateway.Output(); !strings.Contains(out, file) {
				t.Errorf("the log does not name %s:\n%s", file, out)
			}
			w.enter(t, gateway)
			t.Run("at the start", func(t *testing.T) {
				code, out := Run(t, w.Env.With(Env{"PORT": "", "BFF_ADMIN_ADDR": ""}), "serve")
				if code != 1 || !strings.Contains(out, file) || strings.Contains(out, old) {
					t.Errorf("exit code %d; it said:\n%s", code, out)
				}
			})
			if err := os.RemoveAll(file); err != nil {
				t.Fatal(err)
			}
			write(t, file, old)
			soon(t, "the trouble is over", func() bool { return statusOf(t, gateway, clientSecretName).Trouble == "" })
		})
	}
	t.Run("torn", func(t *testing.T) {
		// Written in two halves, in place: the half is never tried.
		next := w.fresh("client secret")
		knows(t, demo.Provider, old, next)
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{next[:20], next[20:]} {
			if _, err := f.WriteString(part); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond) // a slow writer, but not one that stops
		}
		f.Close()
		awaitState(t, gateway, clientSecretName, fingerprint(clientSecretName, next), "active")
		s := statusOf(t, gateway, clientSecretName)
		if half := version(s, fingerprint(clientSecretName, next[:20])); half.ID != "" {
			t.Errorf("the half was taken: %+v", half)
		}
		if n := clientAuths(t, gateway, "", "refused"); n != 0 {
			t.Errorf("%d refusals", n)
		}
	})
	users.end(t)
}
