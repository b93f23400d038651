package e2e

import (
	"cmp"
	"compress/gzip"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keyway/internal/testkit/leakhunt"
	"keyway/internal/testkit/ports"
	"keyway/internal/testkit/realidp"
)

// world is `keyway serve` between oidc-provider and an API, configured by the
// environment alone but for routes.yaml. Whatever a test does in it, at the end
// its secrets are looked for in all that was sent and printed.
type world struct {
	IdP       *realidp.Server
	API       *upstream
	Env       Env
	ledger    ledger
	processes []*Process
	browsers  []*Browser
	startIdP  func()
	idpGone   bool
	crashes   bool // the test makes a gateway print its goroutines
}

// setup is what a test may change of its world.
type setup struct {
	IdP    realidp.Options // but for the clients
	Method string          // client_secret_basic unless set
	Grants []string        // those of a sign-in unless set
	Env    Env
	Extra  map[string]any // client metadata at the provider, by registered names
	Late   bool           // the provider starts when the test says so
	Host   string         // by which browsers know the gateway; 127.0.0.1, which is the provider's, too, unless set
	// Backchannel has the provider tell the first gateway of sign-outs, by "sid" (and
	// sub) or by "sub" alone.
	Backchannel string
}

const clientID = "gateway"

// newWorld starts the provider and the API, and makes an environment ready for
// one or more gateways. They all take the first one's callback.
func newWorld(t testing.TB, s setup) *world {
	t.Helper()
	if s.Method == "" {
		s.Method = "client_secret_basic"
	}
	port := ports.Reserve(t, 2)
	public := fmt.Sprintf("http://%s:%d", cmp.Or(s.Host, "127.0.0.1"), port)
	w := &world{API: startUpstream(t)}
	client := realidp.Client{
		ID: clientID, AuthMethod: s.Method, GrantTypes: s.Grants,
		RedirectURIs:           []string{public + "/auth/callback"},
		PostLogoutRedirectURIs: []string{public + "/"},
		Extra:                  s.Extra,
	}
	w.Env = Env{
		"PORT": fmt.Sprint(port), "BFF_ADMIN_ADDR": fmt.Sprintf("127.0.0.1:%d", port+1),
		"AUTH_CLIENT_ID": clientID, "MS_BFF_TOKEN_AUTH_METHOD": s.Method,
		"BFF_CALLBACK_URL": public + "/auth/callback",
		"BFF_CONFIG_DIR":   folderWith(t, "routes.yaml", routes(w.API.URL)),
		"LOG_LEVEL":        "debug",
	}
	for _, name := range []string{"TOKEN_HASH_SALT", "UA_HASH_SALT", "CSRF_SECRET_KEY", "STATE_TOKEN_KEY"} {
		w.Env[name] = rand.Text() + rand.Text()
		w.ledger.add(name, w.Env[name])
	}
	if s.Backchannel != "" {
		client.BackchannelLogoutURI = public + "/auth/backchannel-logout"
		client.Extra = map[string]any{"backchannel_logout_session_required": s.Backchannel == "sid"}
		maps.Copy(client.Extra, s.Extra)
	}
	if s.Method == "private_key_jwt" {
		client.JWKSURI = public + "/.well-known/jwks.json"
	} else {
		client.Secret = rand.Text() + "+/=%"
		w.Env["AUTH_CLIENT_SECRET"] = client.Secret
		w.ledger.add("the client secret", client.Secret)
	}
	s.IdP.Clients = []realidp.Client{client}
	w.startIdP = func() { w.IdP = realidp.Start(t, s.IdP) }
	if s.Late {
		s.IdP.Port = ports.Reserve(t, 1)
		w.Env["OIDC_ISSUER"] = fmt.Sprintf("http://127.0.0.1:%d", s.IdP.Port)
		w.idpGone = true // at the end, being the last to have come
	} else {
		w.startIdP()
		w.Env["OIDC_ISSUER"] = w.IdP.Issuer
	}
	w.Env = w.Env.With(s.Env)
	if leakhunt.Enabled() && w.Env["OTEL_EXPORTER_OTLP_ENDPOINT"] == "" {
		w.Env["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector(t).URL
	}
	// Runs after the gateways have ended, and before the provider does.
	t.Cleanup(func() { w.check(t) })
	return w
}

// collector takes traces, for the leak hunt.
func collector(t testing.TB) *httptest.Server {
	c := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			if unzipped, err := gzip.NewReader(r.Body); err == nil {
				body = unzipped
			}
		}
		text, _ := io.ReadAll(body)
		leakhunt.Written("trace", text)
	}))
	t.Cleanup(func() { c.CloseClientConnections(); c.Close() })
	return c
}

// folderWith makes a folder with one file.
func folderWith(t testing.TB, name, content string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// serve starts a gateway with the world's environment and more.
func (w *world) serve(t testing.TB, more Env) *Process {
	t.Helper()
	return w.keep(Start(t, w.Env.With(more), "serve"))
}

func (w *world) keep(p *Process) *Process {
	w.processes = append(w.processes, p)
	return p
}

// browser is a new browser for a gateway.
func (w *world) browser(p *Process) *Browser {
	b := NewBrowser(p.URL)
	w.browsers = append(w.browsers, b)
	return b
}

// signedIn is a new browser in which ada is signed in.
func (w *world) signedIn(t testing.TB, p *Process) *Browser {
	t.Helper()
	b := w.browser(p)
	if a := b.SignIn(t, "ada", "/api/notes"); a.StatusCode != 303 {
		t.Fatalf("callback: %s %s; the gateway said:\n%s\nthe provider said:\n%s", a.Status, a.Text, p.Output(), w.IdP.Output())
	}
	return b
}

// check looks for every secret that was used in all that was sent and printed.
func (w *world) check(t testing.TB) {
	t.Helper()
	for _, b := range w.browsers {
		w.ledger.learn(b.Trace)
	}
	for _, token := range w.API.distinctTokens() {
		w.ledger.add("an access token", token)
	}
	if !w.idpGone {
		for _, r := range w.IdP.Requests(t, "") {
			for _, name := range []string{"code", "code_verifier", "refresh_token", "client_assertion", "client_secret", "token"} {
				w.ledger.add("a "+name, r.Body[name])
			}
		}
	}
	for _, p := range w.processes {
		if what := w.ledger.find(p.Output()); what != "" {
			t.Errorf("the gateway has printed %s:\n%s", what, p.Output())
		}
		at, _ := url.Parse(p.URL)
		for _, b := range w.browsers {
			w.ledger.inTrace(t, b.Trace, at.Host)
		}
		if strings.Contains(p.Output(), "DATA RACE") || !w.crashes && strings.Contains(p.Output(), "goroutine ") {
			t.Errorf("the gateway met a defect:\n%s", p.Output())
		}
	}
}

// wantProblem fails the test unless a is this failure, and nothing that a cache
// may keep.
func wantProblem(t testing.TB, a Answer, status int, code string) {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s: %s, want %d %s: %s", a.Request.Method, a.Request.URL.Path, a.Status, status, code, a.Text)
	}
	if got := a.JSON(t)["code"]; got != code {
		t.Errorf("%s %s: code %v, want %s", a.Request.Method, a.Request.URL.Path, got, code)
	}
	if cc := a.Header.Get("Cache-Control"); cc != "no-store" {
		t.Errorf("%s %s: Cache-Control %q", a.Request.Method, a.Request.URL.Path, cc)
	}
	if ct := a.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("%s %s: Content-Type %q", a.Request.Method, a.Request.URL.Path, ct)
	}
}

// wantStatus fails the test unless a has the status.
func wantStatus(t testing.TB, a Answer, status int) {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s: %s, want %d: %s", a.Request.Method, a.Request.URL.Path, a.Status, status, a.Text)
	}
}

func mustURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// eventually polls until ok, and fails the test when that takes too long.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if ok() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("waited too long until %s", what)
}
