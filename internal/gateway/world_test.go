package gateway_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/gateway"
	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/route"
	"keyway/internal/seal"
	"keyway/internal/secret"
	"keyway/internal/session"
	"keyway/internal/session/memory"
	"keyway/internal/telemetry"
	"keyway/internal/testkit/logbuffer"
	"keyway/internal/upstream"
)

// world is a gateway on a loopback port, with an IdP, an upstream that tells
// what it saw, and a store that can be taken away.
type world struct {
	t       *testing.T
	idp     *idptest.Server
	gateway *gateway.Gateway
	server  *httptest.Server
	store   *flakyStore
	log     *logbuffer.Buffer

	shared   *session.Shared
	provider *oidc.Provider
	proxy    *upstream.Proxy
	current  atomic.Pointer[gateway.Generation]
	settings gateway.Settings
	secure   bool
	binding  session.BindingOptions
	routes   []route.Route
	options  []func(*gateway.Options)
	onBody   func(string) // given what is posted to the upstream, if set
	parts    []func(*gateway.Parts)

	mu   sync.Mutex
	seen []*http.Request // what the upstream saw
	// answer, when set, answers for the upstream.
	answer http.HandlerFunc
}

type option func(*world)

const partner = "https://partner.example"

func start(t *testing.T, options ...option) *world {
	t.Helper()
	w := &world{t: t, log: &logbuffer.Buffer{}}
	w.routes = []route.Route{
		{ID: "notes", Path: "/api/notes", Service: "api", Auth: route.AuthSession},
		{ID: "stream", Path: "/api/stream", Service: "api", Auth: route.AuthSession, Streaming: true},
		{ID: "public", Path: "/public/*", Service: "api", Auth: route.AuthNone, TokenPolicy: route.TokenPolicy{Mode: route.TokenNone}},
		{ID: "decided", Path: "/api/decided", Service: "api", Auth: route.AuthSession, Authz: route.AuthzPDP},
		{ID: "reports", Path: "/api/reports", Service: "api", Auth: route.AuthSession,
			TokenPolicy: route.TokenPolicy{Mode: route.TokenService, Audience: "reports", Scopes: []string{"read"}}},
		{ID: "machine", Path: "/m2m/notes", Service: "api", Auth: route.AuthBearer},
	}
	w.settings = gateway.Settings{
		CORS: gateway.Origins{partner}, PostLogoutPath: "/", Provider: "demo",
		CSRFCookie: gateway.CSRFCookie{SameSite: http.SameSiteLaxMode, Lifetime: time.Hour},
	}
	for _, o := range options {
		o(w)
	}
	w.idp = idptest.Start(t, idp.Options{})
	api := httptest.NewServer(http.HandlerFunc(w.upstream))
	t.Cleanup(api.Close)
	w.store = &flakyStore{Store: memory.Open(memory.Options{})}
	w.shared = session.NewShared(w.store, session.SharedOptions{})
	var err error
	if w.provider, err = oidc.NewProvider(oidc.ProviderOptions{Name: "demo", Issuer: w.idp.URL}); err != nil {
		t.Fatal(err)
	}
	tokens := upstream.NewServiceTokens(upstream.ServiceTokensOptions{})
	t.Cleanup(tokens.Close)
	if w.proxy, err = upstream.New(upstream.Options{Tokens: tokens.For("keyway", clientCredentials{w}), Services: []upstream.Service{{Name: "api", BaseURL: api.URL}}}); err != nil {
		t.Fatal(err)
	}
	gatewayOptions := gateway.Options{
		Current: w.current.Load, Log: slog.New(slog.NewJSONHandler(w.log, nil)), Metrics: telemetry.NewMetrics(),
		Health: &gateway.Health{Store: w.shared.Ping}, StreamsPerSession: 2, Revoker: oidc.NewRevoker(slog.New(slog.DiscardHandler)),
	}
	for _, change := range w.options {
		change(&gatewayOptions)
	}
	w.gateway = gateway.New(gatewayOptions)
	w.server = httptest.NewServer(w.gateway)
	t.Cleanup(func() {
		w.server.CloseClientConnections()
		w.server.Close()
		w.gateway.Wait()
		gatewayOptions.Revoker.Wait(0)
		_ = w.shared.Close(context.Background())
		_ = w.store.Close()
	})
	w.idp.PutClient(idp.Client{
		ID: "keyway", Secrets: []string{"the client secret of the tests"}, RedirectURIs: []string{w.server.URL + "/auth/callback"},
		PostLogoutRedirectURIs: []string{w.server.URL + "/"}, Audiences: []string{"api", "reports"},
		GrantTypes: []string{idp.GrantCode, idp.GrantRefresh, idp.GrantClientCredentials}, Scopes: []string{"openid", "profile", "email", "read"},
	})
	w.publish(one("v1"))
	return w
}

// states gives each ring the same versions, newest first.
func one(id string) []keyring.Version { return []keyring.Version{version(id, keyring.Active)} }

func version(id string, state keyring.State) keyring.Version {
	v := keyring.Version{ID: id, State: state}
	if state.Live() {
		v.Value = secret.NewValue([]byte("a value of 32 bytes or more, for " + id))
	}
	return v
}

// publish serves with a generation whose secrets all have these versions.
func (w *world) publish(versions []keyring.Version) {
	w.t.Helper()
	w.current.Store(w.generation(w.shared, func(string) []keyring.Version { return versions }))
}

// generation is one whose secrets have these versions.
func (w *world) generation(shared *session.Shared, versions func(name string) []keyring.Version) *gateway.Generation {
	w.t.Helper()
	ring := func(name string) keyring.Ring {
		r, err := keyring.New(name, versions(name)...)
		must(w.t, err)
		return r
	}
	salt, err := seal.NewHasher(ring("token-hash-salt"), session.PurposeSalt)
	must(w.t, err)
	sealer, err := seal.NewSealer(ring("session-key"), session.PurposeRecord)
	must(w.t, err)
	ua, err := seal.NewHasher(ring("ua-hash-salt"), session.PurposeUA)
	must(w.t, err)
	csrf, err := seal.NewTokens(ring("csrf-key"), session.PurposeCSRF, time.Hour)
	must(w.t, err)
	sessions, err := session.New(session.Options{
		Shared: shared, Salt: salt, Sealer: sealer, UA: ua, Binding: w.binding, Cookie: session.CookieOptions{Secure: w.secure},
		Absolute: time.Hour, Idle: 30 * time.Minute,
	})
	must(w.t, err)
	var pending []string
	if v, ok := ring("csrf-key").Pending(); ok {
		pending = append(pending, v.ID)
	}
	clientSecret, err := keyring.New("client-secret", keyring.Version{
		ID: "c1", State: keyring.Active, Value: secret.NewValue([]byte("the client secret of the tests")),
	})
	must(w.t, err)
	client, err := oidc.NewClient(oidc.ClientOptions{Name: "demo", ClientID: "keyway", Secret: clientSecret})
	must(w.t, err)
	rp, err := oidc.New(oidc.Options{
		Provider: w.provider, Client: client, StateKey: ring("state-key"), OneTime: claims{w.store}, Scopes: []string{"openid", "profile", "email"},
		Callback: oidc.Callback{Static: w.server.URL + "/auth/callback"}, Cookies: oidc.CookiePolicy{Secure: w.secure},
	})
	must(w.t, err)
	table, err := route.NewTable(w.routes)
	must(w.t, err)
	parts := gateway.Parts{
		Settings: w.settings, Sessions: sessions, CSRF: session.NewCSRF(csrf, pending...), SignIn: rp, Routes: table, Proxy: w.proxy,
	}
	for _, change := range w.parts {
		change(&parts)
	}
	return gateway.NewGeneration(parts)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clientCredentials is how service tokens are fetched.
type clientCredentials struct{ w *world }

func (c clientCredentials) ClientCredentials(ctx context.Context, audience string, scopes []string) (upstream.Token, time.Time, error) {
	tokens, err := c.w.current.Load().SignIn.ClientCredentials(ctx, audience, scopes)
	return upstream.Token{Value: tokens.AccessToken, Key: tokens.Key}, tokens.Expiry, err
}

type claims struct{ store session.Leases }

func (c claims) Claim(ctx context.Context, id string, ttl time.Duration) (bool, error) {
	return c.store.Acquire(ctx, id, "used", ttl)
}

func (c claims) Unclaim(ctx context.Context, id string) error {
	return c.store.Release(ctx, id, "used")
}

// upstream notes what came and answers 200.
func (w *world) upstream(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if w.onBody != nil {
		w.onBody(string(body))
	}
	w.mu.Lock()
	w.seen = append(w.seen, r)
	answer := w.answer
	w.mu.Unlock()
	if answer != nil {
		answer(rw, r)
		return
	}
	_, _ = rw.Write([]byte("ok"))
}

func (w *world) upstreamAnswers(h http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = h
}

// lastSeen is the last request that the upstream saw; nil: none.
func (w *world) lastSeen() *http.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) == 0 {
		return nil
	}
	return w.seen[len(w.seen)-1]
}

// user is a browser: cookies, and no redirects that nobody looked at.
type user struct {
	w      *world
	client *http.Client
}

func (w *world) user() *user {
	jar, err := cookiejar.New(nil)
	must(w.t, err)
	return &user{w, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// response is one that was read to its end.
type response struct {
	status int
	header http.Header
	body   string
}

func (r response) code() string {
	var p struct{ Code string }
	_ = json.Unmarshal([]byte(r.body), &p)
	return p.Code
}

// do sends a request to the gateway; headers are name, value, name, value.
func (u *user) do(method, path string, headers ...string) response {
	u.w.t.Helper()
	return u.send(method, path, "", headers...)
}

// send is do with a body.
func (u *user) send(method, path, content string, headers ...string) response {
	u.w.t.Helper()
	target := path
	if strings.HasPrefix(path, "/") {
		target = u.w.server.URL + path
	}
	r, err := http.NewRequestWithContext(u.w.t.Context(), method, target, strings.NewReader(content))
	must(u.w.t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	answer, err := u.client.Do(r)
	must(u.w.t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	must(u.w.t, err)
	return response{answer.StatusCode, answer.Header, string(body)}
}

// toCallback signs in at the IdP and returns the callback that it sends to,
// without going there.
func (u *user) toCallback(returnTo string) string {
	u.w.t.Helper()
	start := u.do("GET", "/auth/login?return_to="+url.QueryEscape(returnTo))
	if start.status != http.StatusSeeOther {
		u.w.t.Fatalf("login: %d %s", start.status, start.body)
	}
	page, err := newIdPBrowser(u.w).SignIn(u.w.t.Context(), start.header.Get("Location"), "ada", "demo")
	must(u.w.t, err)
	if page.Next == nil {
		u.w.t.Fatalf("the IdP did not send us back: %d at %s", page.Status, page.URL)
	}
	return page.Next.String()
}

// signIn takes the user through a whole sign-in.
func (u *user) signIn() *user {
	u.w.t.Helper()
	if done := u.do("GET", u.toCallback("/home")); done.status != http.StatusSeeOther || done.header.Get("Location") != "/home" {
		u.w.t.Fatalf("callback: %d %s %s", done.status, done.header.Get("Location"), done.body)
	}
	return u
}

func (u *user) csrf() string {
	u.w.t.Helper()
	answer := u.do("GET", "/auth/csrf")
	var body struct {
		Token string `json:"csrf_token"`
	}
	if err := json.Unmarshal([]byte(answer.body), &body); err != nil || body.Token == "" {
		u.w.t.Fatalf("csrf: %d %s", answer.status, answer.body)
	}
	return body.Token
}

func (u *user) signedIn() bool {
	u.w.t.Helper()
	answer := u.do("GET", "/auth/session")
	var body struct{ Authenticated bool }
	if err := json.Unmarshal([]byte(answer.body), &body); err != nil || answer.status != 200 {
		u.w.t.Fatalf("session: %d %s", answer.status, answer.body)
	}
	return body.Authenticated
}

func (u *user) cookie(name string) string {
	at, _ := url.Parse(u.w.server.URL)
	for _, c := range u.client.Jar.Cookies(at) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

func (u *user) setCookie(name, value string) {
	at, _ := url.Parse(u.w.server.URL)
	u.client.Jar.SetCookies(at, []*http.Cookie{{Name: name, Value: value, Path: "/"}})
}

// flakyStore is a store that can go away.
type flakyStore struct {
	session.Store
	away atomic.Bool
	// noDeletes: everything but Delete works.
	noDeletes atomic.Bool
	changed   func([]session.Key, bool)
}

// goAway is a lost connection: what was cached can't be vouched for any more.
func (s *flakyStore) goAway() {
	s.away.Store(true)
	s.changed(nil, true)
}

func (s *flakyStore) Changes(fn func([]session.Key, bool)) (stop func()) {
	s.changed = fn
	return s.Store.Changes(fn)
}

func (s *flakyStore) err() error {
	if s.away.Load() {
		return context.DeadlineExceeded
	}
	return nil
}

func (s *flakyStore) Get(ctx context.Context, k session.Key) (session.Item, error) {
	if err := s.err(); err != nil {
		return session.Item{}, err
	}
	return s.Store.Get(ctx, k)
}

func (s *flakyStore) Create(ctx context.Context, k session.Key, data []byte, ttl time.Duration) (session.Item, error) {
	if err := s.err(); err != nil {
		return session.Item{}, err
	}
	return s.Store.Create(ctx, k, data, ttl)
}

func (s *flakyStore) Delete(ctx context.Context, k session.Key) error {
	if err := s.err(); err != nil {
		return err
	}
	if s.noDeletes.Load() {
		return context.DeadlineExceeded
	}
	return s.Store.Delete(ctx, k)
}

func (s *flakyStore) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	if err := s.err(); err != nil {
		return false, err
	}
	return s.Store.Acquire(ctx, name, owner, ttl)
}

func (s *flakyStore) Ping(ctx context.Context) error {
	if err := s.err(); err != nil {
		return err
	}
	return s.Store.Ping(ctx)
}

// newIdPBrowser is a browser at the IdP that stops when it is sent back to us.
func newIdPBrowser(w *world) *idptest.Browser {
	b := idptest.NewBrowser(nil)
	b.StopAt(w.server.URL)
	return b
}
