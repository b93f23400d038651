package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/verify"
)

// front is the proxy by which the world reaches a gateway. It can be told to lie.
type front struct {
	*httptest.Server
	lie atomic.Pointer[func(w http.ResponseWriter, r *http.Request, honest http.Handler) bool]
}

// lies has requests answered by f, as long as that returns true; nil: none.
func (f *front) lies(lie func(w http.ResponseWriter, r *http.Request, honest http.Handler) bool) {
	if lie == nil {
		f.lie.Store(nil)
		return
	}
	f.lie.Store(&lie)
}

func newFront(t testing.TB, secure bool, target string) *front {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(mustURL(t, target))
	f := &front{}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lie := f.lie.Load(); lie != nil && (*lie)(w, r, proxy) {
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	if secure {
		f.StartTLS()
	} else {
		f.Start()
	}
	t.Cleanup(func() { f.CloseClientConnections(); f.Close() })
	return f
}

const (
	asker       = "asks-about-tokens"
	askerSecret = "the-secret-of-who-asks-about-tokens"
	audience    = "an-api"
)

// deployment is a gateway behind a front, at the demo's provider, with bearer routes.
type deployment struct {
	*world
	Demo   *idptest.Server
	Front  *front
	One    *Process
	client idp.Client
}

// deploy makes one that is as it should be; settings are more of settings.yaml.
func deploy(t testing.TB, method, settings string, o idp.Options) *deployment {
	t.Helper()
	w, demo := atDemo(t, method, o)
	d := &deployment{world: w, Demo: demo, Front: newFront(t, false, "http://127.0.0.1:"+w.Env["PORT"])}
	w.Env["BFF_CALLBACK_URL"] = d.Front.URL + "/auth/callback"
	d.client = idp.Client{
		ID: clientID, AuthMethods: []string{method}, RedirectURIs: []string{w.Env["BFF_CALLBACK_URL"]}, PostLogoutRedirectURIs: []string{d.Front.URL + "/"},
		GrantTypes: []string{idp.GrantCode, idp.GrantRefresh, idp.GrantClientCredentials},
		Scopes:     []string{"openid", "profile", "email", "offline_access", "notes:read"}, Audiences: []string{audience},
	}
	if method == idp.AuthPrivateKeyJWT {
		d.client.JWKSURI = d.Front.URL + "/.well-known/jwks.json"
	} else {
		d.client.Secrets = []string{w.Env["AUTH_CLIENT_SECRET"]}
	}
	d.register(t, d.client)
	d.register(t, idp.Client{ID: asker, Secrets: []string{askerSecret}, AuthMethods: []string{idp.AuthSecretBasic}, GrantTypes: []string{}})
	w.settle(t, quick+settings)
	dir := w.Env["BFF_CONFIG_DIR"]
	write(t, filepath.Join(dir, "routes.yaml"), routes(w.API.URL)+
		"  - {id: machine, path: /m2m/notes, target_service: api, upstream_path: /notes, methods: [GET], auth: bearer, token_policy: {mode: service_token, audience: "+audience+", scopes: ['notes:read']}}\n")
	write(t, filepath.Join(dir, "asker"), askerSecret)
	write(t, filepath.Join(dir, "idps.yaml"), fmt.Sprintf(
		"idps:\n  - {name: machines, issuer: %q, audience: %s, client_id: %s, client_secret: %q, token_endpoint_auth_method: client_secret_basic}\n",
		demo.URL, audience, asker, "file:"+filepath.Join(dir, "asker")))
	return d
}

func (d *deployment) register(t testing.TB, c idp.Client) {
	t.Helper()
	if err := d.Demo.PutClient(c); err != nil {
		t.Fatal(err)
	}
}

// checklist runs keyway verify against a gateway, and holds its exit code against
// what it says.
func (w *world) checklist(t testing.TB, p *Process, args ...string) verify.Report {
	t.Helper()
	code, output := Run(t, Env{"KEYWAY_ADMIN": p.AdminURL}, append([]string{"verify", "--json"}, args...)...)
	var r verify.Report
	if err := json.Unmarshal([]byte(output), &r); err != nil {
		t.Fatalf("keyway verify, exit code %d: %v in %s\nthe gateway said:\n%s", code, err, output, p.Output())
	}
	if r.OK != (code == 0) || r.OK != (len(r.Failed()) == 0) {
		t.Errorf("exit code %d, ok %v, %d failed", code, r.OK, len(r.Failed()))
	}
	if what := w.ledger.find(output); what != "" {
		t.Errorf("keyway verify prints %s:\n%s", what, output)
	}
	return r
}

// names fails the test unless a check failed, with all of the words in what it says,
// and no other failed but those in also.
func names(t testing.TB, r verify.Report, id string, words []string, also ...string) {
	t.Helper()
	c, found := r.Find(id)
	text := c.Saw + " | " + c.Cause + " | " + c.Cure
	switch {
	case !found:
		t.Fatalf("there is no check %s in %s", id, told(r))
	case c.OK:
		t.Fatalf("%s is good, and should not be: %s\n%s", id, c.Saw, told(r))
	case c.Cause == "" || c.Cure == "":
		t.Errorf("%s has no cause or no cure: %s", id, text)
	}
	for _, word := range words {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(word)) {
			t.Errorf("%s does not say %q: %s", id, word, text)
		}
	}
	for _, other := range r.Failed() {
		if other.ID != id && !slices.Contains(also, other.ID) {
			t.Errorf("%s fails, too: %s | %s", other.ID, other.Saw, other.Cause)
		}
	}
}

// told is what failed.
func told(r verify.Report) string {
	var b strings.Builder
	for _, c := range r.Failed() {
		fmt.Fprintf(&b, "\n  %s: %s\n    cause %s\n    cure %s", c.ID, c.Saw, c.Cause, c.Cure)
	}
	return b.String()
}

// allGood fails the test unless everything is.
func allGood(t testing.TB, r verify.Report) {
	t.Helper()
	if !r.OK || len(r.Checks) < 20 {
		t.Fatalf("%d checks, not all good: %s", len(r.Checks), told(r))
	}
}
