package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/app"
	"keyway/internal/config"
	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/demo/idp/lies"
	"keyway/internal/testkit/logbuffer"
	"keyway/internal/testkit/ports"
)

const (
	clientID     = "gateway"
	clientSecret = "a-client-secret-of-the-conformance-tests"
	patience     = 30 * time.Second
)

// world is a gateway between a provider and an API.
type world struct {
	t        *testing.T
	provider *idptest.Server
	stage    lies.Stage
	gateway  string       // its URL
	apiCalls atomic.Int64 // with a token
	told     chan told    // logout tokens that were sent, and what came of them
	options  app.Options  // of the gateway
	log      logbuffer.Buffer
}

// told is a logout token on its way, and the answer.
type told struct {
	token        string
	status       int
	code         string
	cacheControl string
}

// newWorld starts all but the gateway.
func newWorld(t *testing.T, v lies.Variant) *world {
	t.Helper()
	w := &world{t: t, told: make(chan told, 8)}
	port := ports.Reserve(t, 1)
	w.gateway = fmt.Sprintf("http://127.0.0.1:%d", port)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client := idp.Client{
		ID: clientID, Secrets: []string{clientSecret}, AuthMethods: []string{method(v)},
		RedirectURIs: []string{w.gateway + "/auth/callback"}, PostLogoutRedirectURIs: []string{w.gateway + "/"},
		BackchannelLogoutURI: w.gateway + "/auth/backchannel-logout", BackchannelLogoutSessionRequired: true,
	}
	if method(v) == idp.AuthPrivateKeyJWT {
		client.Secrets, client.JWKSURI = nil, w.gateway+"/.well-known/jwks.json"
	}
	w.provider = idptest.Start(t, idp.Options{
		Clients: []idp.Client{client}, RequirePAR: v == lies.FAPI,
		// What a lie hides from the gateway must not end the grant: a refresh token that
		// was replaced, and whose successor never arrived, may come again.
		RefreshLeeway: time.Hour,
		HTTPClient:    &http.Client{Transport: recorder{w, transport}, Timeout: patience},
	})
	w.stage = lies.Stage{Provider: w.provider.Provider, ClientID: clientID, ClientSecret: clientSecret}
	api := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
			w.apiCalls.Add(1)
		}
		_, _ = io.WriteString(rw, "ok")
	}))
	t.Cleanup(api.Close)
	w.configure(port, v, api.URL)
	return w
}

func method(v lies.Variant) string {
	switch v {
	case lies.SecretBasic, lies.FormSecret:
		return idp.AuthSecretBasic
	case lies.SecretPost:
		return idp.AuthSecretPost
	}
	return idp.AuthPrivateKeyJWT
}

func (w *world) configure(port int, v lies.Variant, api string) {
	w.t.Helper()
	dir := w.t.TempDir()
	environ := map[string]string{
		"HOST": "127.0.0.1", "PORT": fmt.Sprint(port), "BFF_ADMIN_ADDR": "127.0.0.1:0",
		"BFF_KEYS_DIR": filepath.Join(dir, "keys"), "BFF_DATA_DIR": filepath.Join(dir, "data"), "BFF_SECRETS_DIR": filepath.Join(dir, "secrets"),
		"OIDC_ISSUER": w.provider.URL, "AUTH_CLIENT_ID": clientID, "MS_BFF_TOKEN_AUTH_METHOD": method(v),
		"BFF_CALLBACK_URL": w.gateway + "/auth/callback", "BFF_COOKIE_SECURE": "false",
	}
	if method(v) != idp.AuthPrivateKeyJWT {
		environ["AUTH_CLIENT_SECRET"] = clientSecret
	}
	var list []string
	for name, value := range environ {
		list = append(list, name+"="+value)
	}
	c, err := config.LoadFiles("config", map[string][]byte{
		config.SettingsFile: []byte("secrets: managed\n"),
		config.RoutesFile: fmt.Appendf(nil, `
services:
  api: {base_url: %s}
routes:
  - {id: notes, path: /api/notes, target_service: api, methods: [GET], auth: session}
  - {id: home, path: /, target_service: api, methods: [GET], auth: none, token_policy: {mode: none}}
  - {id: signed-in, path: /home, target_service: api, methods: [GET], auth: none, token_policy: {mode: none}}
`, api),
	}, list)
	if err != nil {
		w.t.Fatal(err)
	}
	w.options = app.Options{
		Config: c, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
		Env: func(name string) (string, bool) { value, ok := environ[name]; return value, ok },
	}
}

// start starts the gateway, and returns why it refused to.
func (w *world) start() error {
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	w.options.Ready = func(app.Addresses) { close(ready) }
	var group sync.WaitGroup
	group.Go(func() { ended <- app.Run(ctx, w.options) })
	w.t.Cleanup(func() { cancel(); group.Wait() })
	select {
	case <-ready:
		return nil
	case err := <-ended:
		if err == nil {
			err = errors.New("it ended without an error, and was never ready")
		}
		return err
	case <-time.After(patience):
		w.t.Fatal("the gateway is neither ready nor refused to start in time")
		return nil
	}
}

// recorder keeps the logout tokens that the provider sends.
type recorder struct {
	w    *world
	next http.RoundTripper
}

func (r recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(request.URL.Path, "/auth/backchannel-logout") {
		return r.next.RoundTrip(request)
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	sent, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	request = request.Clone(request.Context())
	request.Body = io.NopCloser(strings.NewReader(string(body)))
	answer, err := r.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	answered, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	answer.Body = io.NopCloser(strings.NewReader(string(answered)))
	select {
	case r.w.told <- told{sent.Get("logout_token"), answer.StatusCode, codeOf(answered), answer.Header.Get("Cache-Control")}:
	default: // nobody counts them
	}
	return answer, err
}

// counts are how often who was called.
type counts map[string]int

func (w *world) counts() counts {
	stats := w.provider.Stats()
	c := counts{lies.API: int(w.apiCalls.Load())}
	for _, name := range []string{idp.EndpointAuthorize, idp.EndpointToken, idp.EndpointUserinfo, idp.EndpointJWKS} {
		c[name] = stats.Of(name)
	}
	return c
}

// wantNever fails the test if one of them was called since.
func (w *world) wantNever(since counts, never []string) (silent string) {
	w.t.Helper()
	now := w.counts()
	for _, name := range never {
		if now[name] != since[name] {
			w.t.Errorf("%s was called %d times; it must not be", name, now[name]-since[name])
		}
	}
	if len(never) == 0 {
		return ""
	}
	return "; not called: " + strings.Join(never, ", ")
}

// person is a user with a browser that runs no scripts.
type person struct {
	w *world
	*idptest.Browser
	name string
}

func (w *world) person(name string) *person {
	return &person{w, idptest.NewBrowser(&http.Transport{DisableKeepAlives: true}), name}
}

func (p *person) get(address string) *idptest.Page {
	p.w.t.Helper()
	page, err := p.Get(p.w.t.Context(), address)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return page
}

// end is how far a sign-in came: to the login endpoint, the provider, the
// callback, or home.
type end struct {
	at   string
	code string
	page *idptest.Page
}

func codeOf(body []byte) string {
	var p struct{ Code string }
	_ = json.Unmarshal(body, &p)
	return p.Code
}

// begin goes to the point at which the browser is about to bring the provider's
// answer. bring does that, in any browser.
func (p *person) begin() (stuck end, bring func(by *person) end) {
	p.w.t.Helper()
	callback := p.w.gateway + "/auth/callback"
	p.StopAt(callback)
	defer func() { p.Stop = nil }()
	page := p.get(p.w.gateway + "/auth/login?return_to=/home")
	if strings.HasPrefix(page.URL.String(), p.w.gateway) {
		return end{"login", codeOf(page.Body), page}, nil
	}
	for range 3 {
		if page.Next != nil {
			address := page.Next.String()
			return end{}, func(by *person) end { return by.ended(by.get(address)) }
		}
		form, err := page.Form()
		if err != nil {
			return end{"provider", "", page}, nil
		}
		if strings.HasPrefix(form.Action, callback) { // a form that a script would post
			return end{}, func(by *person) end {
				page, err := by.Post(by.w.t.Context(), form.Action, form.Fields)
				if err != nil {
					by.w.t.Fatal(err)
				}
				return by.ended(page)
			}
		}
		if page, err = p.Submit(p.w.t.Context(), page, url.Values{"username": {p.name}, "password": {"demo"}}); err != nil {
			p.w.t.Fatal(err)
		}
	}
	return end{"provider", "", page}, nil
}

func (p *person) ended(page *idptest.Page) end {
	if page.URL.Path == "/home" && page.Status == http.StatusOK {
		return end{"home", "", page}
	}
	if page.URL.Path != "/auth/callback" {
		p.w.t.Errorf("the browser ended at %s with %d", page.URL.Path, page.Status)
	}
	if page.Header.Get("Cache-Control") != "no-store" {
		p.w.t.Errorf("a refusal that a cache may keep: %q", page.Header.Get("Cache-Control"))
	}
	return end{"callback", codeOf(page.Body), page}
}

// signIn takes the person all the way, which must succeed.
func (p *person) signIn() *person {
	p.w.t.Helper()
	at, bring := p.begin()
	if bring != nil {
		at = bring(p)
	}
	if at.at != "home" {
		p.w.t.Fatalf("an honest sign-in ended at %s: %s %s\n%s", at.at, at.code, at.page.Body, p.w.log.String())
	}
	return p
}

// shown is what pages see of a session.
type shown struct {
	Authenticated bool
	User          struct{ Sub, Name, Email string }
}

func (p *person) session() shown {
	p.w.t.Helper()
	page := p.get(p.w.gateway + "/auth/session")
	var s shown
	if err := json.Unmarshal(page.Body, &s); err != nil || page.Status != http.StatusOK {
		p.w.t.Fatalf("session: %d %s", page.Status, page.Body)
	}
	return s
}

// sub is who the browser is signed in as; "": nobody.
func (p *person) sub() string {
	p.w.t.Helper()
	if s := p.session(); s.Authenticated {
		return s.User.Sub
	}
	return ""
}

// subjects are the demo users' by name.
var subjects = map[string]string{"ada": "u-ada-1815", "grace": "u-grace-1906"}

func (p *person) wantSignedIn(want bool) {
	p.w.t.Helper()
	expected := ""
	if want {
		expected = subjects[p.name]
	}
	if found := p.sub(); found != expected {
		p.w.t.Errorf("%s's browser: want to be signed in as %q, found %q", p.name, expected, found)
	}
}

// api calls the API through the gateway.
func (p *person) api() (status int, code string) {
	p.w.t.Helper()
	page := p.get(p.w.gateway + "/api/notes")
	return page.Status, codeOf(page.Body)
}

// eventually polls until ok, and fails the test when that takes too long.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	w.t.Fatalf("waited too long until %s\n%s", what, w.log.String())
}

func oneOf(code string, want []string) bool { return slices.Contains(want, code) }
