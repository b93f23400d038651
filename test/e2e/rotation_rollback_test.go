package e2e

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/audit"
	"keyway/internal/rotation"
	"keyway/internal/testkit/browser"
	"keyway/internal/threat"
)

// watched has few refusals lead back, and time for them to come.
const watched = `
rotation:
  guard: 20s
  skew: 100ms
  poll: 1s
  secrets:
    client-secret: {limit: 2}
    signing-key: {limit: 2}
`

// rollBack asks for the version before.
func rollBack(t testing.TB, p *Process, name string) Answer {
	t.Helper()
	return operate(t, p, "POST", "/admin/v1/rollbacks", map[string]string{"secret": name})
}

func TestRotationRollbackByTheOperator(t *testing.T) {
	threat.Covers(t, 63)
	t.Parallel()
	w, demo := atDemo(t, "client_secret_basic", shortTokens)
	w.settle(t, watched)
	w.Env["BFF_REFRESH_AHEAD"] = "0"
	old, next := w.Env["AUTH_CLIENT_SECRET"], w.fresh("client secret")
	file := w.inFile(t, "AUTH_CLIENT_SECRET")
	gateway := w.serve(t, nil)
	knows(t, demo.Provider, old, next)
	first := w.enter(t, gateway)
	csrf := first.CSRF(t)
	users := w.work(t, []*Browser{first}, []*Process{gateway})

	for _, name := range []string{sessionKeyName, tokenHashSaltName, csrfKeyName, stateKeyName, clientSecretName} {
		t.Run(name, func(t *testing.T) {
			before := statusOf(t, gateway, name).Active
			if name == clientSecretName {
				write(t, file, next)
				awaitActive(t, name, before, gateway)
			} else {
				rotate(t, gateway, false, name)
			}
			now := statusOf(t, gateway, name).Active
			second, third := w.enter(t, gateway), w.browser(gateway)
			token := second.CSRF(t)
			back := third.ToCallback(t, "grace", "/there")

			wantStatus(t, rollBack(t, gateway, name), 200)
			soon(t, "the one before is in use again", func() bool { return statusOf(t, gateway, name).Active == before })
			s := statusOf(t, gateway, name)
			if v := version(s, now); !v.Withdrawn || v.State != "retiring" {
				t.Errorf("the one that was taken back: %+v", v)
			}
			// What was issued under either is good.
			wantStatus(t, second.Get(t, "/api/notes"), 200)
			for b, token := range map[*Browser]string{first: csrf, second: token} {
				wantStatus(t, b.Do(t, "POST", "/api/notes", `{"text":"x"}`, "Content-Type", "application/json", "X-CSRF-Token", token), 201)
			}
			if a := third.Get(t, back); a.StatusCode != 303 || !third.SignedIn(t) {
				t.Errorf("a sign-in begun before the rollback: %s %s", a.Status, a.Text)
			}
			// There is nothing more to go back to.
			if a := rollBack(t, gateway, name); a.StatusCode != 409 {
				t.Errorf("rolling back again: %s %s", a.Status, a.Text)
			}
		})
	}
	users.end(t)
	// Nor to what is compromised.
	rotate(t, gateway, true, stateKeyName)
	if a := rollBack(t, gateway, stateKeyName); a.StatusCode != 409 || !strings.Contains(a.Text, "compromised") {
		t.Errorf("back to a compromised version: %s %s", a.Status, a.Text)
	}
}

// The provider has accepted the new client secret when it was asked, and refuses it
// afterwards.
func clientSecretRollsBackByItself(t *testing.T) {
	threat.Covers(t, 62)
	w, demo := atDemo(t, "client_secret_basic", shortTokens)
	w.settle(t, watched)
	w.Env["BFF_REFRESH_AHEAD"] = "0"
	old, next := w.Env["AUTH_CLIENT_SECRET"], w.fresh("client secret")
	file := w.inFile(t, "AUTH_CLIENT_SECRET")
	gateway := w.serve(t, nil)
	knows(t, demo.Provider, old, next)
	users := w.work(t, []*Browser{w.enter(t, gateway), w.enter(t, gateway), w.enter(t, gateway)}, []*Process{gateway})
	oldID, newID := fingerprint(clientSecretName, old), fingerprint(clientSecretName, next)
	write(t, file, next)
	awaitState(t, gateway, clientSecretName, newID, "active")
	knows(t, demo.Provider, old)
	wantRolledBack(t, gateway, clientSecretName, oldID, newID)
	w.enter(t, gateway)
	users.end(t)
	// It stays away from what was rejected, although that is still handed in.
	time.Sleep(2 * time.Second) // two polls
	if got := statusOf(t, gateway, clientSecretName).Active; got != oldID {
		t.Errorf("in use: %s", got)
	}
}

// The same of a signing key, at a provider that holds the keys itself.
func signingKeyRollsBackByItself(t *testing.T) {
	threat.Covers(t, 54)
	w, demo := atDemo(t, "private_key_jwt", shortTokens)
	w.settle(t, watched)
	w.Env["BFF_REFRESH_AHEAD"] = "0"
	gateway := w.serve(t, nil)
	users := w.work(t, []*Browser{w.enter(t, gateway), w.enter(t, gateway), w.enter(t, gateway)}, []*Process{gateway})
	before := statusOf(t, gateway, signingKeyName).Active
	rotate(t, gateway, false, signingKeyName)
	now := statusOf(t, gateway, signingKeyName).Active
	register(t, w, demo.Provider, gateway, now)
	wantRolledBack(t, gateway, signingKeyName, before, now)
	users.end(t)
	if algorithm(t, gateway, before) == "" {
		t.Errorf("%s is not published", before)
	}
	// And so does the page.
	r := browser.Run(t, `
		await page.setViewportSize({ width: 1440, height: 900 });
		await page.goto(args.url);
		await page.getByText('went back').first().waitFor();
		await page.getByText('rolled back', { exact: true }).first().waitFor();
		await shot('console-rolled-back');
	`, map[string]any{"url": gateway.AdminURL})
	wantConsole(t, r, "404")
}

// wantRolledBack waits until a version was taken back, and looks at what is said
// of it.
func wantRolledBack(t testing.TB, p *Process, name, before, now string) {
	t.Helper()
	awaitState(t, p, name, before, "active")
	s := statusOf(t, p, name)
	if v := version(s, now); !v.Withdrawn {
		t.Errorf("the new one: %+v", v)
	}
	soon(t, "the record says so", func() bool {
		s = statusOf(t, p, name)
		return s.Rotation != nil && s.Rotation.Outcome == rotation.OutcomeRolledBack
	})
	// Users' requests tell, or the checklist that is gone through after each rotation:
	// whichever comes first.
	if text := said(s); !strings.Contains(text, "refusals since the activation") && !strings.Contains(text, "verification: credentials") {
		t.Errorf("the status says: %s", text)
	}
	if n := clientAuths(t, p, now, "refused"); n < 2 {
		t.Errorf("%d refusals counted", n)
	}
	soon(t, "the metrics say so", func() bool {
		text := NewBrowser(p.AdminURL).Get(t, "/metrics").Text
		return regexp.MustCompile(`(?m)^bff_rotations_total\{outcome="rolled_back",secret="` + name + `"\} 1$`).MatchString(text)
	})
	soon(t, "the chain says so", func() bool {
		var page audit.Page
		if err := json.Unmarshal([]byte(NewBrowser(p.AdminURL).Get(t, "/admin/v1/audit?most=1000").Text), &page); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(page.Lines, func(line string) bool {
			return strings.Contains(line, `"type":"rotation.rolled_back"`) && strings.Contains(line, `"secret":"`+name+`"`) && strings.Contains(line, `"to":"`+now+`"`)
		})
	})
}
