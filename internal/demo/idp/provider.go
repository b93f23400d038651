package idp

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Provider is an OpenID Provider. It is an http.Handler that expects to be
// reached at the origin of Options.Issuer, and safe for concurrent use.
type Provider struct {
	o      Options
	base   string // issuer without a trailing slash; endpoints hang below it
	mux    *http.ServeMux
	own    *http.Client // ours to close; nil when Options brought one
	seen   *observer
	teller *teller
	keys   signers
	hooks  atomic.Pointer[Hooks]

	mu      sync.Mutex // guards what follows; never held over I/O or signing
	clients map[string]*registered
	state   state
}

// registered is a client with what we learn about it. It is replaced, never
// changed, so that a request works with one set of secrets from start to end.
type registered struct {
	Client
	secrets [][]byte    // digests
	remote  *remoteKeys // nil without jwks_uri
}

// New returns a provider with a fresh signing key and no state. It opens no
// socket and starts no goroutine; signing out starts some that tell clients,
// which Close ends.
func New(o Options) (*Provider, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	p := &Provider{
		o:       o,
		base:    strings.TrimSuffix(o.Issuer, "/"),
		seen:    newObserver(o.MaxRecords),
		teller:  newTeller(),
		clients: make(map[string]*registered),
		state:   newState(o.MaxEntries),
	}
	if p.o.HTTPClient == nil {
		p.own = &http.Client{
			Timeout:   5 * time.Second,
			Transport: http.DefaultTransport.(*http.Transport).Clone(),
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse // a jwks_uri is where it says it is
			},
		}
		p.o.HTTPClient = p.own
	}
	p.SetHooks(o.Hooks)
	if _, err := p.RotateKey(); err != nil {
		return nil, err
	}
	var errs []error
	for _, c := range o.Clients {
		if _, ok := p.clients[c.ID]; ok {
			errs = append(errs, fmt.Errorf("idp: client %q is there twice", c.ID))
			continue
		}
		errs = append(errs, p.PutClient(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	p.routes()
	return p, nil
}

// Close gives up telling clients who has signed out, and frees idle connections
// of the provider's own HTTP client. For the rest the provider goes on working.
func (p *Provider) Close() error {
	p.teller.close()
	if p.own != nil {
		p.own.CloseIdleConnections()
	}
	return nil
}

// Issuer returns the issuer identifier.
func (p *Provider) Issuer() string { return p.o.Issuer }

// PutClient registers a client, or replaces the one with its ID. Its cached
// keys are forgotten; its grants live on.
func (p *Provider) PutClient(c Client) error {
	c.Secrets, c.AuthMethods = slices.Clone(c.Secrets), slices.Clone(c.AuthMethods)
	if err := c.check(); err != nil {
		return err
	}
	r := &registered{Client: c, secrets: digests(c.Secrets)}
	if c.JWKSURI != "" {
		if u, err := url.Parse(c.JWKSURI); err != nil || u.Host == "" {
			return fmt.Errorf("idp: client %q: jwks_uri %q: want an absolute URL", c.ID, c.JWKSURI)
		}
		r.remote = p.newRemoteKeys(c.JWKSURI)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients[c.ID] = r
	return nil
}

// SetClientSecrets makes exactly these secrets good for the client, at once.
// Several are good at the same time; with none, the secret methods fail.
func (p *Provider) SetClientSecrets(id string, secrets ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, ok := p.clients[id]
	if !ok {
		return fmt.Errorf("idp: no client %q", id)
	}
	r := *old
	r.Secrets, r.secrets = slices.Clone(secrets), digests(secrets)
	p.clients[id] = &r
	return nil
}

// Revoke ends every grant that the user with this subject has now, at every
// client, and the user's sessions here.
func (p *Provider) Revoke(subject string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for el := p.state.refresh.order.Front(); el != nil; el = el.Next() {
		revokeOf(el.Value.(*shelved[*refreshToken]).value.grant, subject)
	}
	for el := p.state.access.order.Front(); el != nil; el = el.Next() {
		revokeOf(el.Value.(*shelved[*accessToken]).value.grant, subject)
	}
	for el := p.state.codes.order.Front(); el != nil; el = el.Next() {
		revokeOf(el.Value.(*shelved[*code]).value.grant, subject)
	}
	for el := p.state.sessions.order.Front(); el != nil; el = el.Next() {
		if s := el.Value.(*shelved[*session]).value; s.user.Subject == subject {
			s.ended = true
		}
	}
}

func revokeOf(g *grant, subject string) {
	if g.user != nil && g.user.Subject == subject {
		g.revoked = true
	}
}

func (p *Provider) client(id string) *registered {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.clients[id]
}

func (p *Provider) user(name string) *User {
	for i := range p.o.Users {
		if p.o.Users[i].Username == name {
			return &p.o.Users[i]
		}
	}
	return nil
}

func (p *Provider) routes() {
	u, _ := url.Parse(p.base) // New has parsed it
	prefix := u.EscapedPath()
	p.mux = http.NewServeMux()
	on := func(path, endpoint string, methods []string, h func(*call)) {
		p.mux.Handle(path, p.endpoint(endpoint, methods, h))
	}
	get := []string{http.MethodGet, http.MethodHead}
	post := []string{http.MethodPost}
	both := []string{http.MethodGet, http.MethodPost} // no HEAD: what these do, they do once

	on(prefix+"/.well-known/openid-configuration", EndpointDiscovery, get, p.discovery)
	// RFC 8414, 3: the well-known part goes between host and path.
	on("/.well-known/oauth-authorization-server"+prefix, EndpointDiscovery, get, p.discovery)
	on(prefix+pathJWKS, EndpointJWKS, get, p.jwks)
	if !p.o.DisablePAR {
		on(prefix+pathPAR, EndpointPAR, post, p.par)
	}
	on(prefix+pathAuthorize, EndpointAuthorize, both, p.authorize)
	on(prefix+pathSignIn, EndpointSignIn, both, p.signIn)
	on(prefix+pathToken, EndpointToken, post, p.token)
	on(prefix+pathUserinfo, EndpointUserinfo, both, p.userinfo)
	on(prefix+pathIntrospect, EndpointIntrospection, post, p.introspect)
	on(prefix+pathRevoke, EndpointRevocation, post, p.revoke)
	on(prefix+pathEndSession, EndpointEndSession, both, p.endSession)
	on(prefix+pathSignOut, EndpointSignOut, post, p.signOut)
	on(prefix+"/{$}", EndpointOther, get, p.index)
	on("/", EndpointOther, both, func(c *call) {
		p.page(c, http.StatusNotFound, "message", view{
			Title: "Nothing here", Text: "This provider has no page at that address.",
		})
	})
}

// Paths of the endpoints, below the issuer.
const (
	pathJWKS       = "/jwks"
	pathPAR        = "/par"
	pathAuthorize  = "/authorize"
	pathSignIn     = "/signin"
	pathToken      = "/token"
	pathUserinfo   = "/userinfo"
	pathIntrospect = "/introspect"
	pathRevoke     = "/revoke"
	pathEndSession = "/end_session"
	pathSignOut    = "/signout"
)

// ServeHTTP implements http.Handler.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }
