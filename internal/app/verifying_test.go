package app

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/config"
	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/keyring"
	"keyway/internal/secret"
	"keyway/internal/testkit/logbuffer"
	"keyway/internal/verify"
)

// post asks the admin API for the checklist.
func post(t testing.TB, c *http.Client, url, body string) verify.Report {
	t.Helper()
	r, err := c.Post(url+"/admin/v1/verify", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var report verify.Report
	if err := json.NewDecoder(r.Body).Decode(&report); err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", r.Status, err)
	}
	return report
}

func TestChecklistWithoutAnIdentityProvider(t *testing.T) {
	gateway, c := start(t, options(t, env(t, nil), managed, "")), client(t)
	r := post(t, c, gateway.Admin, `{}`)
	if !r.OK || r.Deployment == nil || r.Deployment.Public != "" || r.Deployment.ActiveKey == "" {
		t.Fatalf("%+v", r)
	}
	for _, id := range []string{"jwks.served", "issued.session-key", "fleet.versions", "store", "rotations"} {
		if check, found := r.Find(id); !found || check.Skipped {
			t.Errorf("%s: %+v", id, check)
		}
	}
	if r = post(t, c, gateway.Admin, `{"secrets":["csrf-key"]}`); r.Deployment != nil || len(r.Checks) == 0 {
		t.Errorf("%+v", r)
	}
	for _, check := range r.Checks {
		if !slices.Contains(check.Secrets, "csrf-key") {
			t.Errorf("%s is not about it", check.ID)
		}
	}
	if status, body := get(c, gateway.Admin+"/metrics"); status != 200 || !strings.Contains(body, `bff_verify_checks{check="store",ok="true"} 1`) {
		t.Errorf("metrics: %d, without the checks", status)
	}
	if status, body := get(c, gateway.Admin+"/admin/v1/verify"); status != 200 || !strings.Contains(body, "issued.csrf-key") {
		t.Errorf("the last one: %d %s", status, body)
	}
	answer, err := c.Post(gateway.Admin+"/admin/v1/verify", "application/json", strings.NewReader(`{"secrets":["nothing"]}`))
	if err != nil || answer.StatusCode != http.StatusNotFound {
		t.Fatalf("an unknown secret: %v %v", answer, err)
	}
	_ = answer.Body.Close()
}

func TestVerifiedAfterARotation(t *testing.T) {
	log := &logbuffer.Buffer{}
	o := options(t, env(t, nil), managed, "")
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	gateway, c := start(t, o), client(t)
	answer, err := c.Post(gateway.Admin+"/admin/v1/rotations", "application/json", strings.NewReader(`{"secrets":["csrf-key"]}`))
	if err != nil || answer.StatusCode != http.StatusAccepted {
		t.Fatalf("%v %v", answer, err)
	}
	_ = answer.Body.Close()
	until(t, "it is verified", func() bool { return strings.Contains(log.String(), `msg="verified after a rotation" secret=csrf-key`) })
}

func TestNothingIsVerifiedByItself(t *testing.T) {
	t.Run("when that is off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			(&app{config: &config.Config{}}).verifications(ctx) // it looks at nothing: there is nothing in it
		})
	})
	ring := func(versions ...keyring.Version) keyring.Ring {
		for i := range versions {
			versions[i].Value = secret.NewValue([]byte("x"))
		}
		r, err := keyring.New(nameCSRFKey, versions...)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	now := time.Now()
	for name, r := range map[string]keyring.Ring{
		"at the first start": ring(keyring.Version{ID: "k1", State: keyring.Active, ActivatedAt: now}),
		"for long":           ring(keyring.Version{ID: "k2", State: keyring.Active, ActivatedAt: now.Add(-time.Hour)}, keyring.Version{ID: "k1", State: keyring.Retiring}),
		"before it turns":    ring(keyring.Version{ID: "k2", State: keyring.Pending}, keyring.Version{ID: "k1", State: keyring.Active, ActivatedAt: now}),
	} {
		t.Run(name, func(t *testing.T) {
			a := &app{config: &config.Config{}} // without anybody who could be asked
			a.verifyTurned(t.Context(), nameCSRFKey, r, &turned{active: r.Active().ID, fails: map[string]int{}})
		})
	}
}

// A provider that is away, or answers nonsense, is no reason to go back.
func TestNobodyGoesBackBecauseAProviderIsAway(t *testing.T) {
	for name, c := range map[string]verify.Check{
		"away":             {ID: "credentials.x", Saw: "away"},
		"another's":        {ID: "credentials.x", Definite: true, Blames: "k1", Spares: "k2"},
		"all are refused":  {ID: "credentials.x", Definite: true, Blames: "k2"},
		"it is good again": {ID: "credentials.x", OK: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := &turned{active: "k2", fails: map[string]int{}}
			w.count(verify.Report{Checks: []verify.Check{c}})
			w.count(verify.Report{Checks: []verify.Check{c}})
			if goes := w.fails[c.ID] >= verifyTwice && c.Spares != ""; goes {
				t.Errorf("it would go back: %v", w.fails)
			}
		})
	}
	w, refused := &turned{active: "k2", fails: map[string]int{}}, verify.Check{ID: "credentials.x", Definite: true, Blames: "k2", Spares: "k1"}
	for i, c := range []verify.Check{refused, {ID: "credentials.x", OK: true}, refused, {ID: "credentials.x", Saw: "away"}, refused} {
		if w.count(verify.Report{Checks: []verify.Check{c}}); w.fails[c.ID] >= verifyTwice {
			t.Errorf("after %d: not twice in a row, and counted so", i)
		}
	}
	w.count(verify.Report{Checks: []verify.Check{refused}})
	if w.fails["credentials.x"] != verifyTwice {
		t.Errorf("%v", w.fails)
	}
}

// "Twice in a row" is twice some time apart: a provider's node with an old copy of
// what it knows of us has no second vote at once.
func TestASecondRefusalIsOfAnotherTime(t *testing.T) {
	refused := verify.Report{Checks: []verify.Check{{ID: "credentials.x", Definite: true, Blames: "k2", Spares: "k1"}}}
	now := time.Now()
	for guard, want := range map[time.Duration]time.Duration{
		0: 10 * time.Second, 6 * time.Second: 2 * time.Second, 20 * time.Second: 20 * time.Second / 3,
		30 * time.Second: 10 * time.Second, 10 * time.Minute: 10 * time.Second, 24 * time.Hour: 10 * time.Second,
	} {
		w := &turned{active: "k2", fails: map[string]int{}}
		w.schedule(refused, guard, now)
		if got := w.next.Sub(now); got != want || w.fails["credentials.x"] != 1 {
			t.Errorf("guarded for %s: asked again after %s, %v", guard, got, w.fails)
		}
	}
}

func TestPublicAddressAndCallbacks(t *testing.T) {
	at := func(text string) *url.URL {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for _, c := range []struct {
		callback config.Callback
		public   string
		all      []string
	}{
		{config.Callback{}, "", nil},
		{config.Callback{URL: at("https://App.example/auth/callback")}, "https://app.example", []string{"https://App.example/auth/callback"}},
		{config.Callback{DefaultHost: "app.example:8443", DefaultScheme: "https"}, "https://app.example:8443", []string{"https://app.example:8443/auth/callback"}},
		{config.Callback{Dynamic: true, DefaultScheme: "https", AllowedRedirectHosts: []string{"A.example", "b.example"}}, "https://a.example",
			[]string{"https://a.example/auth/callback", "https://b.example/auth/callback"}},
		{config.Callback{Dynamic: true, DefaultScheme: "https", URL: at("https://a.example/auth/callback"), AllowedRedirectHosts: []string{"a.example", "b.example"}}, "https://a.example",
			[]string{"https://a.example/auth/callback", "https://b.example/auth/callback"}},
	} {
		if got := publicOrigin(c.callback); got != c.public {
			t.Errorf("%+v: %q", c.callback, got)
		}
		if got := callbacks(c.callback); !slices.Equal(got, c.all) {
			t.Errorf("%+v: %q", c.callback, got)
		}
	}
	for pattern, want := range map[string]string{"/m2m/notes": "/m2m/notes", "/a/{id}/b": "/a/verify/b", "/a/*": "/a/verify", "/": "/"} {
		if got, ok := examplePath(pattern); got != want || !ok {
			t.Errorf("%s: %s", pattern, got)
		}
	}
	if _, ok := examplePath("/a*"); ok {
		t.Error("/a* has no example")
	}
}

// Whoever asks about one credential has the provider asked about that, once.
func TestAProviderIsAskedOnce(t *testing.T) {
	demo := idptest.Start(t, idp.Options{Clients: []idp.Client{{ID: "gateway", Secrets: []string{"of-the-gateway"}, RedirectURIs: []string{"http://127.0.0.1/auth/callback"}}}})
	var asked atomic.Int64
	demo.SetHooks(&idp.Hooks{Before: func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			asked.Add(1)
		}
		return false
	}})
	gateway, c := start(t, options(t, env(t, map[string]string{
		"OIDC_ISSUER": demo.URL, "AUTH_CLIENT_ID": "gateway", "AUTH_CLIENT_SECRET": "of-the-gateway", "BFF_CALLBACK_URL": "http://127.0.0.1/auth/callback",
	}), managed, "")), client(t)
	r := post(t, c, gateway.Admin, `{"secrets":["client-secret"]}`)
	if check, _ := r.Find("credentials.sign-in"); !check.OK || asked.Load() != 1 {
		t.Errorf("%+v, asked %d times", check, asked.Load())
	}
}
