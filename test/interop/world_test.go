package interop

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/testkit/ports"
	"keyway/test/e2e"
)

// application is the Todo application behind the gateway. It lets everything happen,
// and remembers it.
type application struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string // method and target, in order
}

func startApplication(t *testing.T) *application {
	t.Helper()
	a := &application{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.seen = append(a.seen, r.Method+" "+r.RequestURI)
		a.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"done":true}`)
	}))
	t.Cleanup(func() { a.CloseClientConnections(); a.Close() })
	return a
}

// arrived is what has come since it was last asked.
func (a *application) arrived() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := a.seen
	a.seen = nil
	return seen
}

// world is the five people, their provider, the application, and the gateway.
type world struct {
	application *application
	gateway     *e2e.Process
	browsers    map[string]*e2e.Browser // by login
}

// newWorld starts all of it with the routes of the scenarios and the given pdp.yaml.
func newWorld(t *testing.T, pdp string) *world {
	t.Helper()
	routes, err := os.ReadFile(filepath.Join("testdata", "routes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return start(t, func(application, issuer string) map[string]string {
		return map[string]string{
			"routes.yaml": strings.ReplaceAll(string(routes), "{base}", application),
			"idps.yaml":   fmt.Sprintf("idps:\n  - {name: main, issuer: %q, claims_mapping: {roles: [{source: roles}]}}\n", issuer),
			"pdp.yaml":    pdp,
		}
	})
}

// start starts all of it, and has everybody signed in. files are the configuration for
// an application and a provider at these addresses.
func start(t *testing.T, files func(application, issuer string) map[string]string) *world {
	t.Helper()
	w := &world{application: startApplication(t), browsers: map[string]*e2e.Browser{}}
	port := ports.Reserve(t, 2)
	public := fmt.Sprintf("http://127.0.0.1:%d", port)
	var users []idp.User
	for _, p := range people {
		users = append(users, idp.User{
			Username: p.login, Password: "demo", Subject: p.sub, Name: p.name, Email: p.email, EmailVerified: true, Roles: p.roles,
		})
	}
	secret := rand.Text()
	provider := idptest.Start(t, idp.Options{Users: users, Clients: []idp.Client{{
		ID: "gateway", Secrets: []string{secret}, AuthMethods: []string{idp.AuthSecretBasic}, RedirectURIs: []string{public + "/auth/callback"},
	}}})
	config := t.TempDir()
	all := files(w.application.URL, provider.URL)
	all["settings.yaml"] = "secrets: managed\n"
	for name, text := range all {
		if err := os.WriteFile(filepath.Join(config, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.gateway = e2e.Start(t, e2e.Env{
		"PORT": fmt.Sprint(port), "BFF_ADMIN_ADDR": fmt.Sprintf("127.0.0.1:%d", port+1), "BFF_CONFIG_DIR": config,
		"OIDC_ISSUER": provider.URL, "AUTH_CLIENT_ID": "gateway", "AUTH_CLIENT_SECRET": secret,
		"MS_BFF_TOKEN_AUTH_METHOD": "client_secret_basic", "BFF_CALLBACK_URL": public + "/auth/callback",
		"TOKEN_HASH_SALT": rand.Text() + rand.Text(),
	}, "serve")
	for _, p := range people {
		b := e2e.NewBrowser(w.gateway.URL)
		if a := b.SignIn(t, p.login, "/todos"); a.StatusCode != http.StatusSeeOther {
			t.Fatalf("%s signs in: %s %s\n%s", p.login, a.Status, a.Text, w.gateway.Output())
		}
		w.browsers[p.login] = b
	}
	return w
}

// make has somebody make a request, and says whether the application was reached.
func (w *world) make(t *testing.T, who person, c call) bool {
	t.Helper()
	return w.makeAt(t, who, c, c.path)
}

// makeAt is make for a request that the application sees at another path.
func (w *world) makeAt(t *testing.T, who person, c call, there string) bool {
	t.Helper()
	b := w.browsers[who.login]
	headers := []string{"Content-Type", "application/json"}
	if c.method != http.MethodGet {
		headers = append(headers, "X-CSRF-Token", b.CSRF(t))
	}
	w.application.arrived()
	a := b.Do(t, c.method, c.path, c.body, headers...)
	arrived := w.application.arrived()
	switch {
	case a.StatusCode == http.StatusOK && len(arrived) == 1 && arrived[0] == c.method+" "+there:
		return true
	case a.StatusCode == http.StatusForbidden && len(arrived) == 0 && a.JSON(t)["code"] == "forbidden":
		return false
	}
	t.Errorf("%s, %s %s: %s %s, and the application saw %q", who.login, c.method, c.path, a.Status, a.Text, arrived)
	return false
}
