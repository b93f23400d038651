package e2e

import (
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"keyway/internal/testkit/realidp"
	"keyway/internal/testkit/redisserver"
	"keyway/internal/threat"
)

// Every test on a world looks at its end for the secrets that it has used. This
// one goes where secrets slip out: what fails half way, what is counted, and
// what a process leaves behind when it dies.
func TestNothingLeaks(t *testing.T) {
	threat.Covers(t, 23)
	t.Parallel()
	for _, method := range []string{"client_secret_post", "private_key_jwt"} {
		t.Run(method, func(t *testing.T) {
			redis := redisserver.Start(t, redisserver.Password(redisPassword))
			w := newWorld(t, setup{Method: method, IdP: realidp.Options{PAR: realidp.PAROn, RotateRefreshToken: true, AccessTokenTTL: 2 * time.Second}})
			w.ledger.add("the Redis password", redisPassword)
			w.crashes = true
			gateway := w.serve(t, Env{"REDIS_URL": redis.URL()})
			b := w.signedIn(t, gateway)
			callAPI(t, b)
			eventually(t, "a refresh", func() bool { b.Get(t, "/api/echo"); return len(w.API.distinctTokens()) > 1 })

			// Codes that can't be redeemed, by this side's doing and by the other's.
			late := w.browser(gateway)
			callback := late.ToCallback(t, "ada", "/")
			code := mustURL(t, callback).Query().Get("code")
			w.ledger.add("a code", code)
			late.Get(t, strings.Replace(callback, "state=", "state=x", 1))
			late.Get(t, callback+"&code="+code)
			late.Do(t, "POST", "/auth/callback", url.Values{"code": {code}, "state": {"x"}}.Encode(), "Content-Type", "application/x-www-form-urlencoded")
			NewBrowser(gateway.URL).Get(t, callback)
			w.IdP.Behave(t, "/token", 0, 500)
			if a := late.Get(t, callback); a.StatusCode < 500 {
				t.Errorf("a callback without a token endpoint: %s", a.Status)
			}
			eventually(t, "a refresh fails", func() bool { return b.Get(t, "/api/notes").StatusCode == 503 })
			w.IdP.Behave(t, "/token", 0, 0)
			b.Get(t, "/api/nobody")
			b.Get(t, "/api/notes?access_token="+w.API.distinctTokens()[0])

			admin := w.browser(gateway)
			for _, path := range []string{"/metrics", "/health", "/", "/debug/pprof/"} {
				if what := w.ledger.find(admin.Get(t, gateway.AdminURL+path).Text); what != "" {
					t.Errorf("%s on the admin side holds %s", path, what)
				}
			}
			w.ledger.learn(b.Trace)
			if what := w.ledger.find(admin.Get(t, gateway.AdminURL+"/metrics").Text); what != "" {
				t.Errorf("the metrics hold %s", what)
			}

			redis.Kill()
			eventually(t, "Redis is missed", func() bool { return b.Get(t, "/api/notes").StatusCode == 503 })
			b.Do(t, "POST", "/auth/logout", "")
			// The dump of all goroutines that an operator asks for when it hangs.
			gateway.Signal(syscall.SIGQUIT)
			if _, err := gateway.ExitCode(stopWithin); err != nil {
				t.Error(err)
			}
			if !strings.Contains(gateway.Output(), "goroutine ") {
				t.Errorf("no dump in:\n%s", gateway.Output())
			}
		})
	}
}

// The search finds what it looks for.
func TestLedgerFinds(t *testing.T) {
	var l ledger
	l.add("a password", "hunter22+/")
	l.add("nothing", "")
	for text, want := range map[string]bool{
		"…hunter22+/…": true, "?p=hunter22%2B%2F": true, "hunter": false, "": false,
		`"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"`: true,
	} {
		if got := l.find(text) != ""; got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
