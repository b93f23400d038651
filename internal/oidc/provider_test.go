package oidc_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/threat"
)

const issuer = "https://idp.example"

// wire is an IdP without a network, so that synctest can run the clock.
type wire struct {
	mu     sync.Mutex
	doc    map[string]any
	raw    string
	status int
	fail   error
	delay  time.Duration
	calls  int
}

func metadata() map[string]any {
	return map[string]any{
		"issuer": issuer, "authorization_endpoint": issuer + "/authorize", "token_endpoint": issuer + "/token", "jwks_uri": issuer + "/jwks",
	}
}

func (w *wire) set(f func(*wire)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w)
}

func (w *wire) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.calls++
	body, status, fail, delay := w.raw, w.status, w.fail, w.delay
	if body == "" {
		b, _ := json.Marshal(w.doc)
		body = string(b)
	}
	w.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if fail != nil {
		return nil, fail
	}
	if status == 0 {
		status = 200
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func httpOn(w *wire) *http.Client { return &http.Client{Transport: w} }

func providerOn(t testing.TB, w *wire, change ...func(*oidc.ProviderOptions)) *oidc.Provider {
	t.Helper()
	o := oidc.ProviderOptions{Name: "demo", Issuer: issuer, HTTP: &http.Client{Transport: w}}
	for _, c := range change {
		c(&o)
	}
	p, err := oidc.NewProvider(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDiscoveryTellsOutagesFromMismatches(t *testing.T) {
	threat.Covers(t, 9)
	with := func(name string, value any) *wire {
		doc := metadata()
		doc[name] = value
		return &wire{doc: doc}
	}
	for name, c := range map[string]struct {
		w    *wire
		kind error
	}{
		"refused":               {&wire{fail: errors.New("connection refused")}, oidc.ErrUnavailable},
		"500":                   {&wire{doc: metadata(), status: 500}, oidc.ErrUnavailable},
		"404":                   {&wire{doc: metadata(), status: 404}, oidc.ErrUnavailable},
		"maintenance page":      {&wire{raw: "<html>back soon"}, oidc.ErrUnavailable},
		"cut short":             {&wire{raw: `{"issuer":"https://idp.ex`}, oidc.ErrUnavailable},
		"another issuer":        {with("issuer", "https://idp.example.evil.example"), oidc.ErrIssuerMismatch},
		"trailing slash":        {with("issuer", issuer+"/"), oidc.ErrIssuerMismatch},
		"no issuer":             {with("issuer", nil), oidc.ErrIssuerMismatch},
		"another name's case":   {&wire{raw: `{"Issuer":"` + issuer + `"}`}, oidc.ErrIssuerMismatch},
		"issuer twice":          {&wire{raw: `{"issuer":"` + issuer + `","issuer":"` + issuer + `"}`}, oidc.ErrMetadata},
		"issuer is a number":    {with("issuer", 7), oidc.ErrMetadata},
		"no token endpoint":     {with("token_endpoint", nil), oidc.ErrMetadata},
		"http token endpoint":   {with("token_endpoint", "http://idp.example/token"), oidc.ErrMetadata},
		"http on our loopback":  {with("token_endpoint", "http://127.0.0.1:6379/"), oidc.ErrMetadata},
		"file as jwks_uri":      {with("jwks_uri", "file:///etc/passwd"), oidc.ErrMetadata},
		"relative endpoint":     {with("authorization_endpoint", "/authorize"), oidc.ErrMetadata},
		"script as endpoint":    {with("authorization_endpoint", "javascript:alert(1)"), oidc.ErrMetadata},
		"user in an endpoint":   {with("userinfo_endpoint", "https://a:b@idp.example/"), oidc.ErrMetadata},
		"fragment":              {with("authorization_endpoint", issuer+"/a#b"), oidc.ErrMetadata},
		"PAR demanded, missing": {with("require_pushed_authorization_requests", true), oidc.ErrMetadata},
		"huge":                  {with("x", strings.Repeat("x", 1<<20)), oidc.ErrMetadata},
	} {
		t.Run(name, func(t *testing.T) {
			err := providerOn(t, c.w).Load(t.Context())
			for _, kind := range []error{oidc.ErrUnavailable, oidc.ErrIssuerMismatch, oidc.ErrMetadata} {
				if errors.Is(err, kind) != (kind == c.kind) {
					t.Errorf("got %v; is it %q? %v", err, kind, errors.Is(err, kind))
				}
			}
		})
	}
	if err := providerOn(t, &wire{doc: metadata()}).Load(t.Context()); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

// Whoever mistyped the issuer has to learn that somebody was reached, and what to set.
func TestAWrongIssuerIsToldAsSuch(t *testing.T) {
	named := func(found any) *wire {
		doc := metadata()
		doc["issuer"] = found
		return &wire{doc: doc}
	}
	by := func(o *oidc.ProviderOptions) { o.Setting = "OIDC_ISSUER (oidc.issuer)" }
	for name, c := range map[string]struct {
		w      *wire
		absent bool
		says   string // "": no advice
	}{
		"404":                {&wire{doc: metadata(), status: 404}, true, "it answers, but has no metadata at " + issuer + "/.well-known/openid-configuration: is OIDC_ISSUER (oidc.issuer) exactly its issuer?"},
		"403":                {&wire{doc: metadata(), status: 403}, true, "is OIDC_ISSUER (oidc.issuer) exactly its issuer?"},
		"429":                {&wire{doc: metadata(), status: 429}, false, ""},
		"408":                {&wire{doc: metadata(), status: 408}, false, ""},
		"503":                {&wire{doc: metadata(), status: 503}, false, ""},
		"refused":            {&wire{fail: errors.New("connection refused")}, false, ""},
		"a slash":            {named(issuer + "/"), false, `; if that is your provider, set OIDC_ISSUER (oidc.issuer) to "` + issuer + `/", to the letter`},
		"a look-alike":       {named("https://idp.ex\u0430mple"), false, `to "https://idp.ex\u0430mple", to the letter`},
		"none":               {named(nil), false, ""},
		"control characters": {named("https://idp.example/\x1b[2J"), false, ""},
		"too long":           {named(issuer + "/" + strings.Repeat("x", 200)), false, ""},
		"not over TLS":       {named("http://idp.example"), false, ""},
		"a password":         {named("https://a:b@idp.example"), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := providerOn(t, c.w, by).Load(t.Context())
			if errors.Is(err, oidc.ErrNoMetadata) != c.absent || c.absent && !errors.Is(err, oidc.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
			said := err.Error()
			if !strings.Contains(said, c.says) || strings.Contains(said, "OIDC_ISSUER") != (c.says != "") || strings.ContainsAny(said, "\x1b\u0430") {
				t.Errorf("got %s", said)
			}
		})
	}
}

func TestDiscoveryFollowsNoRedirectToAnotherOrigin(t *testing.T) {
	threat.Covers(t, 9)
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("followed") }))
	defer other.Close()
	idp := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	defer idp.Close()
	p, err := oidc.NewProvider(oidc.ProviderOptions{Issuer: idp.URL})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, p.Load(t.Context()), oidc.ErrMetadata)
}

func TestIssuerForms(t *testing.T) {
	for issuer, ok := range map[string]bool{
		"https://idp.example": true, "https://idp.example/tenant/": true, "http://127.0.0.1:8002": true, "http://localhost:8002": true, "http://[::1]:8002": true,
		"http://idp.example": false, "idp.example": false, "": false, "https://idp.example?x": false, "https://idp.example#x": false, "https://a@idp.example": false,
		"http://127.0.0.1.evil.example": false, "http://localhost.evil.example": false, "ftp://idp.example": false,
	} {
		if _, err := oidc.NewProvider(oidc.ProviderOptions{Issuer: issuer}); (err == nil) != ok {
			t.Errorf("%q: %v", issuer, err)
		}
	}
	if _, err := oidc.NewProvider(oidc.ProviderOptions{Issuer: "http://idp.internal", AllowHTTP: true}); err != nil {
		t.Errorf("http allowed by name: %v", err)
	}
}

func TestOverrides(t *testing.T) {
	p := providerOn(t, &wire{doc: metadata()}, func(o *oidc.ProviderOptions) {
		o.Overrides = oidc.Overrides{AuthorizationURL: "https://front.example/authorize", TokenURL: "https://back.example/token"}
	})
	m, err := p.Metadata(t.Context())
	if err != nil || m.AuthorizationEndpoint != "https://front.example/authorize" || m.TokenEndpoint != "https://back.example/token" || m.JWKSURI != issuer+"/jwks" {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestDiscoveryComesBackByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{doc: metadata(), fail: errors.New("refused")}
		var outcomes []error
		p := providerOn(t, w, func(o *oidc.ProviderOptions) { o.OnMetadata = func(err error) { outcomes = append(outcomes, err) } })
		wantError(t, p.Load(t.Context()), oidc.ErrUnavailable)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.Run(ctx) }()

		// Whoever asks meanwhile is answered at once, and causes no fetch.
		for range 100 {
			_, err := p.Metadata(t.Context())
			wantError(t, err, oidc.ErrUnavailable)
		}
		if w.count() != 1 {
			t.Errorf("%d fetches", w.count())
		}
		time.Sleep(10 * time.Minute)
		if n := w.count(); n < 8 || n > 20 {
			t.Errorf("%d fetches in ten minutes of outage, want some, ever more seldom", n)
		}
		w.set(func(w *wire) { w.fail = nil })
		time.Sleep(61 * time.Second)
		if _, err := p.Metadata(t.Context()); err != nil {
			t.Errorf("a minute after the IdP came back: %v", err)
		}
		// From now on about once an hour; what goes wrong leaves the last good one.
		before := w.count()
		evil := metadata()
		evil["issuer"] = "https://evil.example"
		w.set(func(w *wire) { w.doc = evil })
		time.Sleep(75 * time.Minute)
		if w.count() == before {
			t.Error("not refreshed")
		}
		if m, err := p.Metadata(t.Context()); err != nil || m.Issuer != issuer {
			t.Errorf("got %v, %v, want the last good one", m, err)
		}
		synctest.Wait()
		w.set(func(w *wire) { w.doc = metadata() })
		time.Sleep(75 * time.Minute)
		synctest.Wait()
		// Each change is told once, however often it was tried meanwhile.
		want := []error{oidc.ErrUnavailable, nil, oidc.ErrIssuerMismatch, nil}
		if !slices.EqualFunc(outcomes, want, func(got, want error) bool { return errors.Is(got, want) }) {
			t.Errorf("told %v, want %v", outcomes, want)
		}
		cancel()
		<-done
	})
}

func TestOneFetchForAllWhoAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{doc: metadata(), delay: time.Second}
		p := providerOn(t, w)
		var wg sync.WaitGroup
		impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		wg.Go(func() {
			_, err := p.Metadata(impatient)
			wantError(t, err, oidc.ErrUnavailable)
		})
		for range 50 {
			wg.Go(func() {
				if _, err := p.Metadata(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if w.count() != 1 {
			t.Errorf("%d fetches", w.count())
		}
	})
}

func TestMethodChoice(t *testing.T) {
	key := signingRing(t, signingKey(t))
	secretRing := ring(t, "client-secret", "s")
	for name, c := range map[string]struct {
		o       oidc.ClientOptions
		offered []string
		want    string
	}{
		"secret, nothing listed":      {oidc.ClientOptions{Secret: secretRing, Signing: key}, nil, oidc.ClientSecretBasic},
		"secret, all listed":          {oidc.ClientOptions{Secret: secretRing, Signing: key}, []string{"client_secret_post", "client_secret_basic", "private_key_jwt"}, oidc.ClientSecretBasic},
		"secret, post only":           {oidc.ClientOptions{Secret: secretRing, Signing: key}, []string{"client_secret_post", "private_key_jwt"}, oidc.ClientSecretPost},
		"secret, assertions only":     {oidc.ClientOptions{Secret: secretRing, Signing: key}, []string{"private_key_jwt"}, oidc.PrivateKeyJWT},
		"key only":                    {oidc.ClientOptions{Signing: key}, []string{"client_secret_basic"}, oidc.PrivateKeyJWT},
		"configured":                  {oidc.ClientOptions{Secret: secretRing, Signing: key, Method: oidc.PrivateKeyJWT}, []string{"client_secret_basic"}, oidc.PrivateKeyJWT},
		"configured post, not listed": {oidc.ClientOptions{Secret: secretRing, Method: oidc.ClientSecretPost}, []string{"client_secret_basic"}, oidc.ClientSecretPost},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.ClientID = "x"
			client, err := oidc.NewClient(c.o)
			if err != nil {
				t.Fatal(err)
			}
			if got := client.Method(&oidc.Metadata{TokenAuthMethods: c.offered}); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	for name, bad := range map[string]oidc.ClientOptions{
		"nothing":           {ClientID: "x"},
		"no id":             {Secret: secretRing},
		"assertion, no key": {ClientID: "x", Secret: secretRing, Method: oidc.PrivateKeyJWT},
		"basic, no secret":  {ClientID: "x", Signing: key, Method: oidc.ClientSecretBasic},
		"unknown":           {ClientID: "x", Secret: secretRing, Method: "none"},
		"a key that is not": {ClientID: "x", Signing: ring(t, "signing-key", "junk")},
	} {
		if _, err := oidc.NewClient(bad); err == nil {
			t.Errorf("%s: no complaint", name)
		}
	}
}

// A wrong state key, by whatever accident, must be told apart: one that this
// replica has not loaded yet is worth another try, a retired one is not.
func TestStateKeyRotatesDuringASignIn(t *testing.T) {
	threat.Covers(t, 61)
	w := newWorld(t)
	other := func(states ...string) *oidc.RelyingParty {
		o := oidc.Options{Provider: w.provider, OneTime: w.once, Callback: oidc.Callback{Static: callback}, Cookies: oidc.CookiePolicy{Secure: true}}
		client, err := oidc.NewClient(oidc.ClientOptions{ClientID: clientID, Secret: ring(t, "client-secret", clientSecret)})
		if err != nil {
			t.Fatal(err)
		}
		o.Client = client
		o.StateKey = stateRing(t, states...)
		rp, err := oidc.New(o)
		if err != nil {
			t.Fatal(err)
		}
		return rp
	}
	for name, c := range map[string]struct {
		rp   *oidc.RelyingParty
		code problem.Code // empty: accepted
	}{
		"old one retiring":     {other("a retiring", "n active"), ""},
		"old one retired":      {other("a retired", "n active"), problem.LoginFailed},
		"old one unknown here": {other("n active"), problem.LoginFailed},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBrowser()
			query := w.visit(t, b, w.begin(t, b, oidc.SignInRequest{}))
			grant, err := c.rp.Finish(t.Context(), oidc.CallbackRequest{Params: query, Cookie: b.cookie})
			if c.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if problem.CodeOf(err) != c.code {
				t.Errorf("got %v, want code %s", err, c.code)
			}
			if errors.Is(err, keyring.ErrUnknownVersion) && grant.Cookie != "" {
				t.Error("the cookie would be cleared, and the sign-in lost")
			}
		})
	}
}

// What a provider sends must not end the process, whatever a parser makes of it.
func TestMetadataSurviveADefect(t *testing.T) {
	broken := true
	w := newWorld(t)
	transport := roundTrip(func(r *http.Request) (*http.Response, error) {
		if broken {
			panic("hush")
		}
		return http.DefaultTransport.RoundTrip(r)
	})
	p, err := oidc.NewProvider(oidc.ProviderOptions{Issuer: w.idp.URL, HTTP: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Load(t.Context()); !errors.Is(err, oidc.ErrUnavailable) || strings.Contains(err.Error(), "hush") {
		t.Errorf("with a defect: %v", err)
	}
	broken = false
	if err := p.Load(t.Context()); err != nil {
		t.Errorf("after it: %v", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
