package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/secret"
)

const (
	callback     = "https://app.example/auth/callback"
	clientID     = "keyway"
	clientSecret = "a secret: with 100% odd characters + more"
)

// world is a relying party, an IdP that may lie, and a browser.
type world struct {
	idp      *idptest.Server
	provider *oidc.Provider
	rp       *oidc.RelyingParty
	once     *once
	observer *observer
}

// once is a OneTime in memory.
type once struct {
	mu     sync.Mutex
	claims map[string]bool
	err    error
}

func (o *once) Claim(_ context.Context, id string, _ time.Duration) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return false, o.err
	}
	first := !o.claims[id]
	o.claims[id] = true
	return first, nil
}

func (o *once) Unclaim(_ context.Context, id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.claims, id)
	return o.err
}

func (o *once) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
}

type observer struct {
	mu       sync.Mutex
	auth     []string
	requests map[string]int
}

func (o *observer) IdPRequest(_, endpoint string, _ int, _ time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests[endpoint]++
}

func (o *observer) ClientAuth(_, version, outcome string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.auth = append(o.auth, version+" "+outcome)
}

func (o *observer) outcomes() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.auth, ", ")
}

// setup is what a test may change before the world is made.
type setup struct {
	idp    idp.Options
	client idp.Client
	us     oidc.ClientOptions
	rp     oidc.Options
}

func ring(t testing.TB, name string, values ...string) keyring.Ring {
	t.Helper()
	var versions []keyring.Version
	for i, value := range values {
		state := keyring.Active
		if i > 0 {
			state = keyring.Retiring
		}
		versions = append(versions, keyring.Version{ID: string(rune('a' + i)), State: state, Value: secret.NewValue([]byte(value))})
	}
	r, err := keyring.New(name, versions...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func signingKey(t testing.TB) jwks.Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwks.NewKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signingRing(t testing.TB, keys ...jwks.Key) keyring.Ring {
	t.Helper()
	var versions []keyring.Version
	for i, key := range keys {
		value, err := key.RingValue()
		if err != nil {
			t.Fatal(err)
		}
		state := keyring.Active
		if i > 0 {
			state = keyring.Pending
		}
		versions = append(versions, keyring.Version{ID: key.ID(), State: state, Value: value})
	}
	r, err := keyring.New("signing-key", versions...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var stateKey = strings.Repeat("state key for tests only ", 2)

func newWorld(t testing.TB, changes ...func(*setup)) *world {
	t.Helper()
	w := &world{once: &once{claims: map[string]bool{}}, observer: &observer{requests: map[string]int{}}}
	s := &setup{
		idp: idp.Options{},
		client: idp.Client{
			ID: clientID, Secrets: []string{clientSecret}, RedirectURIs: []string{callback},
			GrantTypes: []string{idp.GrantCode, idp.GrantRefresh, idp.GrantClientCredentials},
		},
		us: oidc.ClientOptions{Name: "demo", ClientID: clientID, Secret: ring(t, "client-secret", clientSecret), Observer: w.observer, Timeout: 5 * time.Second},
		rp: oidc.Options{
			StateKey: ring(t, "state-key", stateKey), OneTime: w.once, Scopes: []string{"openid", "profile", "email"},
			Callback: oidc.Callback{Static: callback}, Cookies: oidc.CookiePolicy{Secure: true},
		},
	}
	for _, change := range changes {
		change(s)
	}
	s.idp.Clients = append(s.idp.Clients, s.client)
	w.idp = idptest.Start(t, s.idp)
	var err error
	w.provider, err = oidc.NewProvider(oidc.ProviderOptions{Name: "demo", Issuer: w.idp.URL, Observer: w.observer, Timeout: s.us.Timeout,
		Keys: jwks.RemoteOptions{CoolDown: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := oidc.NewClient(s.us)
	if err != nil {
		t.Fatal(err)
	}
	s.rp.Provider, s.rp.Client = w.provider, client
	if w.rp, err = oidc.New(s.rp); err != nil {
		t.Fatal(err)
	}
	return w
}

// browser keeps our cookies and those of the IdP apart, as two sites would.
type browser struct {
	*idptest.Browser
	ours map[string]string
}

func newBrowser() *browser {
	b := &browser{Browser: idptest.NewBrowser(nil), ours: map[string]string{}}
	b.StopAt(callback)
	return b
}

func (b *browser) cookie(name string) (string, bool) {
	value, ok := b.ours[name]
	return value, ok
}

func (w *world) begin(t testing.TB, b *browser, r oidc.SignInRequest) oidc.SignIn {
	t.Helper()
	r.RedirectURI = callback
	s, err := w.rp.Begin(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	b.ours[s.Cookie.Name] = s.Cookie.Value
	return s
}

// visit signs in at the IdP and returns the query that comes to our callback.
func (w *world) visit(t testing.TB, b *browser, s oidc.SignIn) string {
	t.Helper()
	page, err := b.SignIn(t.Context(), s.URL, "ada", "demo")
	if err != nil {
		t.Fatal(err)
	}
	if page.Next == nil {
		t.Fatalf("the IdP did not send the browser back: status %d, %.300s", page.Status, page.Body)
	}
	return page.Next.RawQuery
}

func (w *world) finish(t testing.TB, b *browser, query string) (oidc.Grant, error) {
	t.Helper()
	grant, err := w.rp.Finish(t.Context(), oidc.CallbackRequest{Params: query, Cookie: b.cookie})
	if grant.Cookie != "" {
		delete(b.ours, grant.Cookie)
	}
	return grant, err
}

// signIn does all of it.
func (w *world) signIn(t testing.TB, r oidc.SignInRequest) (oidc.Grant, error) {
	t.Helper()
	b := newBrowser()
	return w.finish(t, b, w.visit(t, b, w.begin(t, b, r)))
}

func (w *world) mustSignIn(t testing.TB) oidc.Grant {
	t.Helper()
	grant, err := w.signIn(t, oidc.SignInRequest{ReturnTo: "/after"})
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

func (w *world) calls(endpoint string) int { return w.idp.Stats().Of(endpoint) }

func hooks(h idp.Hooks) func(*setup) {
	return func(s *setup) { s.idp.Hooks = &h }
}

// change edits a raw query: nil values delete.
func change(t testing.TB, query, name string, values ...string) string {
	t.Helper()
	q, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	q.Del(name)
	for _, value := range values {
		q.Add(name, value)
	}
	return q.Encode()
}

// wantError checks the kind of an error, and that it shows none of the values.
func wantError(t testing.TB, err, kind error, secrets ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("got %v, want %v", err, kind)
	}
	if err == nil {
		return
	}
	for _, s := range append(secrets, clientSecret) {
		if len(s) > 0 && strings.Contains(err.Error(), s) {
			t.Errorf("the error shows a secret: %v", err)
		}
	}
}

func publicSet(keys ...jwks.Key) *jose.JSONWebKeySet {
	set := &jose.JSONWebKeySet{}
	for _, key := range keys {
		set.Keys = append(set.Keys, key.Public())
	}
	return set
}

func asUnavailable(err error) (*oidc.UnavailableError, bool) {
	return errors.AsType[*oidc.UnavailableError](err)
}

// stateRing makes versions from "id state"; the value of "a" is newWorld's.
func stateRing(t testing.TB, states ...string) keyring.Ring {
	t.Helper()
	var versions []keyring.Version
	for _, s := range states {
		id, state, _ := strings.Cut(s, " ")
		v := keyring.Version{ID: id, State: keyring.State(state)}
		if v.State.Live() {
			value := stateKey
			if id != "a" {
				value = strings.Repeat("another key for tests ", 2)
			}
			v.Value = secret.NewValue([]byte(value))
		}
		versions = append(versions, v)
	}
	r, err := keyring.New("state-key", versions...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
