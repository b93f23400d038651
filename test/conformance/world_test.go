package conformance

import (
	"context"
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
		DPoPBound: v == lies.FAPI,
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
		switch scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); {
		case v == lies.FAPI && scheme == "DPoP" && r.Header.Get("DPoP") != "", v != lies.FAPI && scheme == "Bearer":
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
	if v == lies.FAPI {
		environ["MS_BFF_DPOP_ENABLED"] = "true"
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
