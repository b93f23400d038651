package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"keyway/internal/gateway"
	"keyway/internal/jwks"
	"keyway/internal/oidc"
	"keyway/internal/route"
	"keyway/internal/seal"
	"keyway/internal/secret"
	"keyway/internal/session"
	"keyway/internal/telemetry"
	"keyway/internal/upstream"
	"keyway/internal/upstream/wire"
)

// Settings that a configuration has by default.
const (
	idle     = 30 * time.Minute
	lifetime = time.Hour
)

// options of a replica.
type options struct {
	upstream string       // host:port; empty: no routes
	cache    uint64       // bytes; 0: the default
	log      *slog.Logger // nil: info, as JSON, to /dev/null
	decides  *decides     // nil: routes with authz: pdp are closed
}

// replica is a gateway as internal/app puts it together, on a store.
type replica struct {
	gateway  *gateway.Gateway
	sessions *session.Manager
	csrf     session.CSRF
	close    func()
}

func (b *bench) replica(store session.Store, k keys, o options) (*replica, error) {
	var closers []func()
	closeAll := func() {
		for _, c := range slices.Backward(closers) {
			c()
		}
	}
	fail := func(err error) (*replica, error) {
		closeAll()
		return nil, err
	}
	if o.log == nil {
		log, f, err := nullLog(slog.LevelInfo)
		if err != nil {
			return nil, err
		}
		o.log, closers = log, append(closers, func() { f.Close() })
	}
	shared := session.NewShared(store, session.SharedOptions{CacheBytes: o.cache})
	closers = append(closers, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = shared.Close(ctx)
	})
	meter := seal.NewMeter()
	sessions, err := sessionManager(shared, k, meter)
	if err != nil {
		return fail(err)
	}
	tokens, err := seal.NewTokens(k.csrf, session.PurposeCSRF, lifetime, meter)
	if err != nil {
		return fail(err)
	}
	published, err := jwks.NewPublisher(k.signing, jwks.PublisherOptions{})
	if err != nil {
		return fail(err)
	}
	relyingParty, err := relyingParty(store, k)
	if err != nil {
		return fail(err)
	}
	table, services, err := routes(o.upstream)
	if err != nil {
		return fail(err)
	}
	proxy, err := upstream.New(upstream.Options{Services: services})
	if err != nil {
		return fail(err)
	}
	closers = append(closers, proxy.Close)
	csrf := session.NewCSRF(tokens)
	parts := gateway.Parts{
		Settings: gateway.Settings{
			DefaultScheme: "https", PostLogoutPath: "/", Provider: "demo",
			CSRFCookie: gateway.CSRFCookie{Secure: true, SameSite: http.SameSiteLaxMode, Lifetime: lifetime},
		},
		Sessions: sessions, CSRF: csrf, SignIn: relyingParty, Routes: table, Proxy: proxy, JWKS: published,
	}
	metrics := telemetry.NewMetrics()
	told := o.decides.parts(&parts, metrics)
	generation := gateway.NewGeneration(parts)
	g := gateway.New(gateway.Options{
		Current: func() *gateway.Generation { return generation },
		Log:     o.log, Metrics: metrics, OnDecision: told, Health: &gateway.Health{Store: shared.Ping}, StreamsPerSession: 32,
		// As for a replica in a fleet where nothing is amiss.
		Reread:   func(context.Context) (bool, error) { return false, nil },
		MayIssue: func() bool { return true }, Refused: func(string, string, string) {},
	})
	closers = append(closers, g.Wait)
	return &replica{gateway: g, sessions: sessions, csrf: csrf, close: closeAll}, nil
}

func sessionManager(shared *session.Shared, k keys, meter *seal.Meter) (*session.Manager, error) {
	salt, err := seal.NewHasher(k.salt, session.PurposeSalt, meter)
	if err != nil {
		return nil, err
	}
	records, err := seal.NewSealer(k.session, session.PurposeRecord, meter)
	if err != nil {
		return nil, err
	}
	ua, err := seal.NewHasher(k.ua, session.PurposeUA, meter)
	if err != nil {
		return nil, err
	}
	return session.New(session.Options{
		Shared: shared, Salt: salt, Sealer: records, UA: ua, Cookie: session.CookieOptions{Secure: true},
		Idle: idle, Absolute: lifetime, RefreshAhead: time.Minute,
		Lost: func(string) bool { return false },
	})
}

// relyingParty is of an IdP at an address where nobody listens, and which is not
// asked: no access token of these sessions is due.
func relyingParty(store session.Store, k keys) (*oidc.RelyingParty, error) {
	provider, err := oidc.NewProvider(oidc.ProviderOptions{Name: "demo", Issuer: "http://127.0.0.1:1"})
	if err != nil {
		return nil, err
	}
	client, err := oidc.NewClient(oidc.ClientOptions{Name: "demo", ClientID: "bench", Method: "private_key_jwt", Signing: k.signing})
	if err != nil {
		return nil, err
	}
	return oidc.New(oidc.Options{
		Provider: provider, Client: client, StateKey: k.state, OneTime: oneTime{store},
		Callback: oidc.Callback{Static: "https://app.example/auth/callback"}, Cookies: oidc.CookiePolicy{Secure: true},
	})
}

type oneTime struct{ leases session.Leases }

func (o oneTime) Claim(ctx context.Context, id string, ttl time.Duration) (bool, error) {
	return o.leases.Acquire(ctx, "signin:"+id, "used", ttl)
}

func (o oneTime) Unclaim(ctx context.Context, id string) error {
	return o.leases.Release(ctx, "signin:"+id, "used")
}

// routes is a table of usual size, some twenty routes, of which one is measured.
func routes(address string) (*route.Table, []upstream.Service, error) {
	if address == "" {
		table, err := route.NewTable(nil)
		return table, nil, err
	}
	list := []route.Route{{
		ID: "notes", Path: "/api/notes/{id}", Service: "api", UpstreamPath: "/notes/{id}",
		Methods: []string{"GET", "PUT", "DELETE"}, Auth: route.AuthSession, Authz: route.AuthzNone,
	}, {
		ID: "decided", Path: "/api/judge/{id}", Service: "api", UpstreamPath: "/notes/{id}",
		Methods: []string{"GET"}, Auth: route.AuthSession, Authz: route.AuthzPDP,
	}, {
		ID: "public", Path: "/public/*", Service: "api", Methods: []string{"GET"}, Auth: route.AuthNone,
		TokenPolicy: route.TokenPolicy{Mode: route.TokenNone},
	}}
	for i := range 20 {
		list = append(list, route.Route{
			ID: "other-" + strconv.Itoa(i), Path: "/api/other-" + strconv.Itoa(i) + "/{id}/*", Service: "api", Auth: route.AuthSession,
		})
	}
	table, err := route.NewTable(list)
	return table, []upstream.Service{{Name: "api", BaseURL: "http://" + address}}, err
}

// guard is what internal/app has the public listener pass through.
func guard(l net.Listener) net.Listener { return wire.Listener(l) }

// nullLog writes to /dev/null, so that a line costs what it costs: its text and
// a system call.
func nullLog(level slog.Level) (*slog.Logger, *os.File, error) {
	f, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, nil, err
	}
	log, err := telemetry.NewLogger(f, "json", level.String())
	if err != nil {
		f.Close()
	}
	return log, f, err
}

// record is a session of usual size: an access and an ID token of 1,000 bytes
// each, a refresh token of 200, and who it is.
func record(subject string) session.Record {
	now := time.Now()
	text := func(n int) secret.Value { return secret.NewValue([]byte(strings.Repeat("t", n))) }
	return session.Record{
		Provider: "demo", Issuer: "https://idp.example", Subject: subject, SID: "5e1f0c", Email: subject + "@example.com",
		Name: "Ada Lovelace", Roles: []string{"user", "editor"},
		AccessToken: text(1000), AccessExpiry: now.Add(lifetime), RefreshToken: text(200), IDToken: text(1000),
		TokenType: "Bearer", Scope: "openid profile email", GrantedAt: now, AuthTime: now,
	}
}

var home = session.Client{Addr: netip.MustParseAddr("127.0.0.1"), UserAgent: userAgent}

const userAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"

// signIn begins a session, and returns the pair that its cookie is.
func (r *replica) signIn(ctx context.Context, rec session.Record) (cookie string, s *session.Session, err error) {
	c, s, err := r.sessions.Create(ctx, rec, home)
	if err != nil {
		return "", nil, fmt.Errorf("beginning a session: %w", err)
	}
	return c.Name + "=" + c.Value, s, nil
}

// browserRequest is what a page's fetch sends.
func browserRequest(method, target, cookie string) *http.Request {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		panic(err)
	}
	r := &http.Request{
		Method: method, URL: u, RequestURI: target, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Host: "app.example", RemoteAddr: "127.0.0.1:40000", Body: http.NoBody,
		Header: http.Header{
			"Accept": {"application/json"}, "Accept-Encoding": {"gzip, deflate, br"}, "Accept-Language": {"en"},
			"User-Agent": {userAgent}, "Referer": {"https://app.example/notes"}, "Priority": {"u=4"},
			"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"},
		},
	}
	if cookie != "" {
		r.Header["Cookie"] = []string{"theme=dark; " + cookie}
	}
	return r
}

func same(r *http.Request) func(int) *http.Request { return func(int) *http.Request { return r } }

func (b *bench) folder(name string) string { return filepath.Join(b.dir, name) }
