package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/testkit/redisserver"
)

// A deployment that is broken on purpose, in one way after the other. What is wrong
// is named, and nothing else is accused.
func TestVerifyNamesWhatIsBroken(t *testing.T) {
	t.Parallel()
	together(t, map[string]func(*testing.T){
		"one gateway":    brokenGateway,
		"a fleet":        brokenFleet,
		"TLS":            brokenTLS,
		"after rotation": brokenByRotation,
	})
}

// lie is what the front does with a request for a path.
type lie = func(w http.ResponseWriter, r *http.Request, honest http.Handler) bool

func at(path string, answer func(w http.ResponseWriter, r *http.Request, honest http.Handler)) lie {
	return func(w http.ResponseWriter, r *http.Request, honest http.Handler) bool {
		if r.URL.Path != path {
			return false
		}
		answer(w, r, honest)
		return true
	}
}

const (
	jwksPath   = "/.well-known/jwks.json"
	oldKeySet  = `{"keys":[{"kty":"EC","crv":"P-256","kid":"of-last-week","use":"sig","alg":"ES256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`
	idpCallers = "credentials.sign-in"
)

func brokenGateway(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	write(t, password, "demo\n")
	d := deploy(t, "client_secret_basic", "", idp.Options{})
	d.One = d.serve(t, nil)
	account := []string{"--username", "ada", "--password-file", password}

	t.Run("nothing is", func(t *testing.T) {
		r := d.checklist(t, d.One, account...)
		allGood(t, r)
		for id, saw := range map[string]string{
			"outside.signin.account": "signs out",
			"outside.bearer.machine": "401",
			"introspection.machines": "inactive",
			"bearer.real":            "passes",
			"jwks.public":            "max-age 5 min",
			"issued.csrf-key":        "accepted from",
			"outside.session":        "401",
			"fleet.versions":         "1 replica",
		} {
			if c, _ := r.Find(id); !c.OK || c.Skipped || !strings.Contains(c.Saw, saw) {
				t.Errorf("%s: %+v", id, c)
			}
		}
	})

	front := func(name string, l lie, id string, words []string, also ...string) {
		t.Run(name, func(t *testing.T) {
			d.Front.lies(l)
			defer d.Front.lies(nil)
			names(t, d.checklist(t, d.One), id, words, also...)
		})
	}
	front("a proxy serves an old JWKS", at(jwksPath, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Header().Set("Cache-Control", "public, max-age=7200")
		w.Header().Set("Age", "3600")
		_, _ = io.WriteString(w, oldKeySet)
	}), "jwks.public", []string{"of-last-week", "a cache in front of the gateway", "serves the JWKS of " + time.Now().Add(-time.Hour).UTC().Format("15:"), "until", "max-age"}, "outside.jwks")
	front("the JWKS can't be had from outside", at(jwksPath, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Error(w, "no such page", http.StatusNotFound)
	}), "jwks.public", []string{"404", "does not pass /.well-known/jwks.json on"}, "outside.jwks")
	front("the JWKS is behind somebody's sign-in", at(jwksPath, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(w, r, "https://sso.example/login", http.StatusFound)
	}), "outside.jwks", []string{"redirect to https://sso.example/login", "sign-in of its own"}, "jwks.public")
	front("cache headers are stripped", at(jwksPath, func(w http.ResponseWriter, r *http.Request, honest http.Handler) {
		answer := httptest.NewRecorder()
		honest.ServeHTTP(answer, r)
		w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
		_, _ = w.Write(answer.Body.Bytes())
	}), "jwks.public", []string{"without Cache-Control", "strips cache headers"}, "outside.jwks")
	front("the media type is another", at(jwksPath, func(w http.ResponseWriter, r *http.Request, honest http.Handler) {
		answer := httptest.NewRecorder()
		honest.ServeHTTP(answer, r)
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write(answer.Body.Bytes())
	}), "jwks.public", []string{`media type is "text/plain"`}, "outside.jwks")
	front("a bearer route lets anybody in", at("/m2m/notes", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.WriteString(w, "[]")
	}), "outside.bearer.machine", []string{"200 to a token that is made up", "past the gateway"})
	front("the admin side is public", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.URL.Path != "/metrics" && !strings.HasPrefix(r.URL.Path, "/admin/") {
			return false
		}
		answer, err := http.Get(d.One.AdminURL + r.URL.Path)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		w.Header().Set("Content-Type", answer.Header.Get("Content-Type"))
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body)
		return true
	}, "admin.hidden", []string{"/metrics, /admin/v1/status", "admin listener", "Take that route away"}, "outside.admin")
	front("a session route is answered from a cache", at("/api/notes", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.WriteString(w, `[{"text":"somebody else's"}]`)
	}), "outside.session", []string{"200 to a stranger", "cache"})

	lies := func(name string, h *idp.Hooks, id string, words []string, also ...string) {
		t.Run(name, func(t *testing.T) {
			d.Demo.SetHooks(h)
			defer d.Demo.SetHooks(nil)
			names(t, d.checklist(t, d.One), id, words, also...)
		})
	}
	lies("the provider's clock is 3 minutes off", &idp.Hooks{Before: func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Date", time.Now().Add(3*time.Minute+5*time.Second).UTC().Format(http.TimeFormat))
		return false
	}}, "idp.clock.sign-in", []string{"3 min ahead", "clocks is wrong"})
	lies("discovery is another issuer's", &idp.Hooks{Discovery: func(doc map[string]any) { doc["issuer"] = "https://id.example/realms/other" }},
		"idp.discovery.sign-in", []string{"https://id.example/realms/other", "another issuer", "stays in use"})
	lies("introspection refuses us", &idp.Hooks{Introspection: func(_ *http.Request, a *idp.Answer) {
		a.Status, a.Body = 403, []byte(`{"error":"access_denied"}`)
	}}, "introspection.machines", []string{"refuses us", asker, "access_denied"}, "outside.bearer.machine")
	lies("introspection calls anything active", &idp.Hooks{Introspection: func(_ *http.Request, a *idp.Answer) {
		a.Edit(func(m map[string]any) {
			clear(m)
			m["active"], m["iss"], m["aud"], m["sub"], m["exp"] = true, d.Demo.URL, audience, "anybody", time.Now().Add(time.Hour).Unix()
		})
	}}, "introspection.machines", []string{"random string active", "let in"}, "bearer.made_up", "outside.bearer.machine")
	lies("the provider is away", &idp.Hooks{Before: func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}}, "idp.discovery.sign-in", []string{"503", "away"},
		"credentials.sign-in", "credentials.machines", "introspection.machines", "signin."+d.Front.Listener.Addr().String(), "outside.bearer.machine", "outside.signin", "bearer.made_up")

	registered := func(name string, change func(c *idp.Client), id string, words []string, also ...string) {
		t.Run(name, func(t *testing.T) {
			c := d.client
			change(&c)
			d.register(t, c)
			defer d.register(t, d.client)
			names(t, d.checklist(t, d.One), id, words, also...)
		})
	}
	callback := "signin." + d.Front.Listener.Addr().String()
	registered("the callback is not registered", func(c *idp.Client) { c.RedirectURIs = []string{"https://elsewhere.example/auth/callback"} },
		callback, []string{d.Env["BFF_CALLBACK_URL"] + " is not registered"}, "outside.signin", "outside.cookies")
	registered("the client secret has expired there", func(c *idp.Client) { c.Secrets = []string{"another-" + rand.Text()} },
		idpCallers, []string{"refused", "was changed, has expired or was deleted", "make a new client secret"}, callback, "outside.signin", "outside.cookies")

	t.Run("and nothing is again", func(t *testing.T) { allGood(t, d.checklist(t, d.One, account...)) })
}

func brokenFleet(t *testing.T) {
	d := deploy(t, "client_secret_basic", "", idp.Options{})
	redis := redisserver.Start(t, redisserver.Password(redisPassword))
	d.ledger.add("the Redis password", redisPassword)
	d.Env["REDIS_URL"] = redis.URL()
	old := d.Env["CSRF_SECRET_KEY"]
	first, second := d.inFile(t, "CSRF_SECRET_KEY"), filepath.Join(t.TempDir(), "csrf")
	write(t, second, old)
	d.One = d.serve(t, nil)
	two := d.serve(t, Env{"PORT": "", "BFF_ADMIN_ADDR": "", "CSRF_SECRET_KEY_FILE": second})
	host := fleetOf(t, d.One).Replicas[0].Host
	soon(t, "both have been heard", func() bool {
		c, _ := d.checklist(t, d.One, "--inside").Find("fleet.versions")
		return c.OK && strings.Contains(c.Saw, "2 replicas")
	})

	t.Run("a replica with an old file", func(t *testing.T) {
		before := statusOf(t, d.One, csrfKeyName).Active
		value := d.fresh("CSRF_SECRET_KEY")
		write(t, first, value)
		awaitActive(t, csrfKeyName, before, d.One, two)
		names(t, d.checklist(t, two), "fleet.handed_in", []string{csrfKeyName, host, "the old value " + before, "not replaced when the others"})
		write(t, second, value)
		soon(t, "it has caught up", func() bool { return d.checklist(t, two, "--inside").OK })
	})
	t.Run("a replica whose clock is 3 minutes off", func(t *testing.T) {
		three := d.serveAt(t, 3*time.Minute+10*time.Second)
		names(t, d.checklist(t, d.One), "fleet.clocks", []string{"3 min ahead", "synchronise its clock"}, "fleet.handed_in")
		three.Terminate(t)
		soon(t, "it is gone", func() bool { c, _ := d.checklist(t, d.One, "--inside").Find("fleet.clocks"); return c.OK })
	})
	t.Run("a replica that lags", func(t *testing.T) {
		two.Signal(syscall.SIGSTOP)
		asked := ask(t, d.One, false, sessionKeyName)
		soon(t, "there is a new version", func() bool { return len(statusOf(t, d.One, sessionKeyName).Versions) > 1 })
		names(t, d.checklist(t, d.One), "fleet.versions", []string{"lacks " + sessionKeyName + " " + asked[0].To, "since", "cut off"})
		two.Signal(syscall.SIGCONT)
		await(t, d.One, asked)
	})
	t.Run("the store is away", func(t *testing.T) {
		redis.Kill()
		names(t, d.checklist(t, d.One, "--inside"), "store", []string{"session store is away", "Sessions are not lost"},
			"fleet.versions", "fleet.handed_in", "fleet.clocks", "rotations")
	})
}

func brokenTLS(t *testing.T) {
	d := deploy(t, "client_secret_basic", "", idp.Options{})
	d.One = d.serve(t, nil)
	secure := newFront(t, true, d.One.URL)
	t.Run("self-signed", func(t *testing.T) {
		names(t, d.checklist(t, d.One, "--url", secure.URL), "outside.tls", []string{"self-signed", "authority"},
			"outside.live", "outside.jwks", "outside.session", "outside.bearer.machine", "outside.signin", "outside.cookies", "outside.admin")
	})
	t.Run("expired", func(t *testing.T) {
		cert, path := expired(t)
		server := httptest.NewUnstartedServer(secure.Config.Handler)
		server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		server.StartTLS()
		t.Cleanup(server.Close)
		names(t, d.checklist(t, d.One, "--url", server.URL, "--ca-file", path), "outside.tls", []string{"has expired", "Renew"},
			"outside.live", "outside.jwks", "outside.session", "outside.bearer.machine", "outside.signin", "outside.cookies", "outside.admin")
	})
	t.Run("nobody is there", func(t *testing.T) {
		gone := newFront(t, false, d.One.URL)
		gone.Close()
		names(t, d.checklist(t, d.One, "--url", gone.URL), "outside.live", []string{"connection refused", "not up"},
			"outside.tls", "outside.jwks", "outside.session", "outside.bearer.machine", "outside.signin", "outside.cookies", "outside.admin")
	})
}

// expired is a certificate for loopback that ended yesterday, and a file with it.
func expired(t testing.TB) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	write(t, path, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

// A new client secret that the provider takes back while nobody uses it: the
// checklist that runs by itself finds out, and the one before is in use again.
func brokenByRotation(t *testing.T) {
	d := deploy(t, "client_secret_basic", "", idp.Options{})
	d.settle(t, "rotation: {guard: 2m, skew: 100ms, poll: 1s}\n")
	first := d.Env["AUTH_CLIENT_SECRET"]
	path := d.inFile(t, "AUTH_CLIENT_SECRET")
	d.One = d.serve(t, nil)
	before := statusOf(t, d.One, clientSecretName).Active
	value := d.fresh("AUTH_CLIENT_SECRET")
	c := d.client
	c.Secrets = []string{first, value}
	d.register(t, c)
	write(t, path, value)
	now := awaitActive(t, clientSecretName, before, d.One)
	d.register(t, d.client) // the provider takes it back
	soon(t, "the one before is in use again", func() bool { return statusOf(t, d.One, clientSecretName).Active == before })
	s := statusOf(t, d.One, clientSecretName)
	if s.Rotation == nil || !strings.Contains(s.Rotation.AskedBy+said(s), "verification: credentials.sign-in: active "+now+" refused") {
		t.Errorf("why it went back: %s; %+v", said(s), s.Rotation)
	}
	if log := d.One.Output(); !strings.Contains(log, "a version fails a check that the one before it passes; going back") {
		t.Errorf("the log does not say so:\n%s", log)
	}
	if a := operate(t, d.One, "GET", "/admin/v1/verify", nil); a.StatusCode != 200 {
		t.Errorf("the last report: %s %s", a.Status, a.Text)
	}
}
