package verify

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"keyway/internal/jwks"
	"keyway/internal/secret"
)

// View is where and how to look from outside.
type View struct {
	// URL is the public address. Deployment is what a gateway tells of itself; zero:
	// nothing is known but the address.
	URL        *url.URL
	Deployment Deployment
	// MaxAge is what the gateway says of its key set; 0 means jwks.DefaultMaxAge.
	MaxAge time.Duration
	// Bearer are further routes to try a made-up token at.
	Bearer []Route
	// Username and Password are of a test account; empty: no whole sign-in.
	Username string
	Password secret.Value
	// Roots are the authorities that are trusted; nil: the system's.
	Roots *x509.CertPool
}

// Outside goes through what a browser and an IdP see. It changes nothing, but for
// the session of the test account, which it ends.
func Outside(ctx context.Context, v View) Report {
	client := newHTTP(v.Roots)
	defer client.CloseIdleConnections()
	v.Deployment.Public = origin(v.URL)
	if v.MaxAge == 0 {
		v.MaxAge = jwks.DefaultMaxAge
	}
	o := outside{View: v, client: client, base: v.Deployment.Public}
	steps := []step{
		{"outside.live", "liveness", nil, o.live},
		{"outside.tls", "TLS certificate", nil, o.certificate},
		{"outside.https", "http leads to https", nil, o.upgrade},
		{"outside.jwks", "key set, as an IdP fetches it", []string{"signing-key"}, o.keys},
		{"outside.session", "session route, without a session", nil, o.anonymous},
	}
	for _, r := range append(slices.Clone(v.Deployment.Bearer), v.Bearer...) {
		steps = append(steps, step{"outside.bearer." + r.ID, "made-up token at " + r.Method + " " + r.Path, nil, func(ctx context.Context) finding {
			return o.madeUp(ctx, r)
		}})
	}
	steps = append(steps,
		step{"outside.signin", "sign-in leads to the identity provider", nil, o.signIn},
		step{"outside.cookies", "cookies of a sign-in", nil, o.cookies},
		step{"outside.admin", "admin side is not public", nil, func(ctx context.Context) finding { return exposed(ctx, client, o.base) }},
	)
	if v.Username != "" {
		steps = append(steps, step{"outside." + account, "whole sign-in of " + v.Username, nil, func(ctx context.Context) finding {
			return wholeSignIn(ctx, client, v.Deployment, v.Username, v.Password)
		}})
	}
	return runAll(ctx, steps)
}

type outside struct {
	View
	client *http.Client
	base   string
}

const gateway = "the gateway, or what is in front of it,"

func (o outside) live(ctx context.Context) finding {
	a, err := fetch(ctx, o.client, http.MethodGet, o.base+"/health/live")
	switch {
	case err != nil:
		return unreachable(gateway, o.base, err)
	case a.status >= http.StatusBadGateway && a.status <= http.StatusGatewayTimeout:
		return bad("/health/live answers %d", a.status).because("the proxy in front of the gateway does not reach it", "See that the gateway runs, and that the proxy leads to its public listener.")
	case a.status != http.StatusOK || a.mediaType() != "application/json":
		return bad("/health/live answers %d, %s", a.status, codeOf(a)).
			because("the public address leads to something else than the gateway", "Route it to the gateway's public listener (HOST, PORT).")
	}
	return good("200")
}

// certificate looks at what TLS shows. That it is trusted was checked when the
// connection was made.
func (o outside) certificate(ctx context.Context) finding {
	if o.URL.Scheme != "https" {
		if isLoopback(o.URL.Host) {
			return skip("plain http on loopback")
		}
		return bad("the public address is plain http").
			because("TLS ends nowhere: whoever is on the way reads sessions and codes", "Put TLS in front, and have BFF_CALLBACK_URL say https.")
	}
	a, err := fetch(ctx, o.client, http.MethodGet, o.base+"/health/live")
	if err != nil {
		return unreachable(gateway, o.base, err)
	}
	if a.tls == nil || len(a.tls.PeerCertificates) == 0 {
		return bad("no certificate was seen").because("the connection was not over TLS", "See where TLS ends.")
	}
	ends := a.tls.PeerCertificates[0].NotAfter
	for _, c := range a.tls.PeerCertificates {
		if c.NotAfter.Before(ends) {
			ends = c.NotAfter
		}
	}
	if left := time.Until(ends); left < 7*24*time.Hour {
		return bad("the certificate ends at %s, in %s", at(ends, time.Now()), span(left)).
			because("nobody has renewed it", "Renew it, and see why that did not happen by itself.")
	}
	return good("trusted, for %s, until %s", o.URL.Hostname(), ends.UTC().Format("2006-01-02"))
}

func (o outside) upgrade(ctx context.Context) finding {
	if o.URL.Scheme != "https" || o.URL.Port() != "" && o.URL.Port() != "443" {
		return skip("only where the public address is https at its usual port")
	}
	a, err := fetch(ctx, o.client, http.MethodGet, "http://"+o.URL.Hostname()+"/")
	switch {
	case err != nil:
		return good("nobody answers plain http")
	case a.redirects() && a.location.Scheme == "https":
		return good("%d to https", a.status)
	}
	return bad("plain http is answered with %d", a.status).
		because("port 80 serves instead of redirecting: cookies and codes may cross the network readable", "Redirect all of http to https where TLS ends.")
}

func (o outside) keys(ctx context.Context) finding {
	return publicKeys(ctx, o.client, o.base, func() published {
		p := published{active: o.Deployment.ActiveKey, live: o.Deployment.Keys, maxAge: o.MaxAge}
		return p
	})
}

// anonymous asks for what only who is signed in gets.
func (o outside) anonymous(ctx context.Context) finding {
	path := o.Deployment.Session
	if path == "" {
		path = "/auth/verify"
	}
	a, err := fetch(ctx, o.client, http.MethodGet, o.base+path, "Accept", "application/json")
	switch {
	case err != nil:
		return unreachable(gateway, o.base, err)
	case a.status == http.StatusOK:
		return bad("%s answers 200 to a stranger", path).
			because("something answers before the gateway: a cache that keeps others' answers, or a route past it to the API", "Have the route lead through the gateway, and no cache keep what it answers.")
	case a.status != http.StatusUnauthorized:
		return bad("%s answers %d, %s", path, a.status, codeOf(a)).
			because("the gateway can't serve, or something in front of it answers", "See /health/ready and the proxy's log.")
	case a.mediaType() != "application/problem+json":
		return bad("%s answers 401 as %s", path, codeOf(a)).
			because("something in front of the gateway replaces its error pages", "Pass 401 on as the gateway answers it: pages read its code.")
	case !strings.Contains(a.header.Get("Cache-Control"), "no-store"):
		return bad("%s answers 401 with Cache-Control %q", path, a.header.Get("Cache-Control")).
			because("something in front of the gateway changes cache headers", "Pass Cache-Control: no-store on: or others' answers are kept.")
	}
	return good("%s: 401, not stored", path)
}

// madeUp presents a token of nobody.
func (o outside) madeUp(ctx context.Context, r Route) finding {
	a, err := fetch(ctx, o.client, r.Method, o.base+r.Path, "Authorization", "Bearer "+random(), "Accept", "application/json")
	switch {
	case err != nil:
		return unreachable(gateway, o.base, err)
	case a.status == http.StatusUnauthorized:
		return good("401")
	case a.status >= 200 && a.status < 300:
		return bad("it answers %d to a token that is made up", a.status).
			because("the route is open: a proxy leads past the gateway to the API, the route has auth: none, or an introspection endpoint calls anything active",
				"Close it now. Compare 'keyway routes explain "+r.Method+" "+r.Path+"' with what the proxy does, and see the introspection checks.")
	case a.status >= 500:
		return bad("it answers %d (%s)", a.status, codeOf(a)).
			because("nobody can say whether the token is good: an identity provider is away. Nobody is let in meanwhile", "See the metadata and introspection checks.")
	}
	return bad("it answers %d (%s), expected 401", a.status, codeOf(a)).
		because("something in front of the gateway answers, or the route is another one", "See 'keyway routes explain "+r.Method+" "+r.Path+"'.")
}

// login begins a sign-in, which is kept nowhere but in the browser.
func (o outside) login(ctx context.Context) (answer, error) {
	return fetch(ctx, o.client, http.MethodGet, o.base+"/auth/login?return_to=%2F")
}

func (o outside) signIn(ctx context.Context) finding {
	a, err := o.login(ctx)
	switch {
	case err != nil:
		return unreachable(gateway, o.base, err)
	case !a.redirects():
		return bad("/auth/login answers %d (%s)", a.status, codeOf(a)).
			because("the identity provider is away or refuses what we push, or no identity provider is configured", "See the metadata, credential and sign-in checks from inside.")
	}
	to := a.location.Scheme + "://" + a.location.Host + a.location.Path
	if want := o.Deployment.Authorization; want != "" {
		if u, err := url.Parse(want); err != nil || to != u.Scheme+"://"+u.Host+u.Path {
			return bad("it leads to %s, and the metadata names %s", to, want).
				because("something in front of the gateway rewrites redirects, or another deployment answers", "Pass Location on as it is.")
		}
	}
	if uri := a.location.Query().Get("redirect_uri"); uri != "" {
		if u, err := url.Parse(uri); err == nil && !strings.EqualFold(u.Host, o.URL.Host) {
			return bad("it leads to %s, and back to %s", to, u.Host).
				because("the callback is another host's than the one that was asked: the proxy does not pass Host on, or BFF_CALLBACK_URL is another", "Pass Host (or X-Forwarded-Host, from a trusted proxy) on, or set BFF_CALLBACK_URL.")
		}
	}
	return good("to %s", to)
}

// cookies looks at the flags of what a sign-in sets.
func (o outside) cookies(ctx context.Context) finding {
	a, err := o.login(ctx)
	if err != nil {
		return unreachable(gateway, o.base, err)
	}
	set := (&http.Response{Header: a.header}).Cookies()
	if len(set) == 0 {
		if !a.redirects() {
			return skip("no sign-in can be begun; see outside.signin")
		}
		return bad("a sign-in sets no cookie").because("something in front of the gateway strips Set-Cookie, or caches /auth/login", "Pass Set-Cookie on, and cache nothing below /auth/.")
	}
	var wrong, names []string
	for _, c := range set {
		names = append(names, c.Name)
		secure := o.URL.Scheme == "https" || o.Deployment.SecureCookie
		switch {
		case !c.HttpOnly:
			wrong = append(wrong, c.Name+" without HttpOnly")
		case secure && !c.Secure:
			wrong = append(wrong, c.Name+" without Secure")
		case c.SameSite == 0 || c.SameSite == http.SameSiteDefaultMode: // not sent, or not understood
			wrong = append(wrong, c.Name+" without SameSite")
		}
	}
	if !strings.Contains(a.header.Get("Cache-Control"), "no-store") {
		wrong = append(wrong, "the answer may be stored")
	}
	if len(wrong) > 0 {
		return bad("%s", strings.Join(wrong, ", ")).
			because("a proxy rewrites cookies or cache headers, or BFF_COOKIE_SECURE is off", "Pass Set-Cookie and Cache-Control on as they are; leave BFF_COOKIE_SECURE on.")
	}
	return good("%s: HttpOnly, SameSite%s", list(names), map[bool]string{true: ", Secure"}[set[0].Secure])
}

// ErrURL is of an address that is none.
var ErrURL = errors.New("expected the URL of the public side, as in https://app.example.com")

// ParseURL reads a public address.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, ErrURL
	}
	return u, nil
}

// ParseRoute reads a route to try, as in "GET /m2m/notes" or "/m2m/notes".
func ParseRoute(text string) (Route, error) {
	method, path, ok := strings.Cut(strings.TrimSpace(text), " ")
	if !ok {
		method, path = http.MethodGet, method
	}
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " #") {
		return Route{}, fmt.Errorf("expected a path, or a method and a path, as in \"GET /m2m/notes\"; found %.100q", text)
	}
	return Route{ID: path, Method: strings.ToUpper(method), Path: path}, nil
}
