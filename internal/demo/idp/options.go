package idp

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Client authentication methods, by the names of the IANA registry
// "OAuth Token Endpoint Authentication Methods".
const (
	AuthPrivateKeyJWT = "private_key_jwt"
	AuthSecretBasic   = "client_secret_basic"
	AuthSecretPost    = "client_secret_post"
)

// Grant types.
const (
	GrantCode              = "authorization_code"
	GrantRefresh           = "refresh_token"
	GrantClientCredentials = "client_credentials"
)

// Options configure a [Provider]. Only Issuer is required; every other zero
// value stands for the default named beside it.
type Options struct {
	// Issuer is the issuer identifier, exactly as tokens and metadata will
	// carry it: an absolute http or https URL without query or fragment. A path
	// is allowed; the endpoints then live below it.
	Issuer string

	// Name is shown as the heading of the pages. Default "Keyway demo".
	Name string

	// Users who may sign in. Nil means [DemoUsers].
	Users []User

	// Clients that are registered. More can be added with
	// [Provider.PutClient].
	Clients []Client

	CodeLifetime         time.Duration // authorization code; default 60 s (RFC 6749, 4.1.2)
	RequestLifetime      time.Duration // pushed request; default 60 s (RFC 9126, 2.2)
	SignInLifetime       time.Duration // an open sign-in page; default 10 min
	SessionLifetime      time.Duration // the browser's session here; default 8 h
	AccessTokenLifetime  time.Duration // default 5 min
	IDTokenLifetime      time.Duration // default 5 min
	RefreshTokenLifetime time.Duration // of a whole family, from sign-in; default 24 h

	// RefreshLeeway is how long after its use a refresh token may come again
	// without ending the family, for clients that lost our answer. Default 0:
	// the second use ends it (RFC 9700, 4.14.2).
	RefreshLeeway time.Duration

	// KeepRefreshTokens turns rotation off: a refresh answer then carries no
	// refresh_token, and the old one stays good.
	KeepRefreshTokens bool

	// ClaimsInIDToken puts the profile and e-mail claims into the ID token
	// too. Off, they come only from UserInfo (OpenID Connect Core, 5.4).
	ClaimsInIDToken bool

	// MaxAssertionLifetime is the furthest exp accepted in a client assertion,
	// counted from now. Default 10 min.
	MaxAssertionLifetime time.Duration

	// ClockSkew is allowed when nbf and iat of a client assertion are compared
	// with now. Default 10 s.
	ClockSkew time.Duration

	// JWKSMaxAge is the max-age that our own JWKS is served with. Default
	// 5 min.
	JWKSMaxAge time.Duration

	// ClientKeysCeiling bounds how long a client's jwks_uri is cached,
	// whatever max-age it is served with, and is used when it names none.
	// Default 5 min.
	ClientKeysCeiling time.Duration

	// ClientKeysFloor is the least time between two fetches of one client's
	// jwks_uri, also when an unknown kid asks for another. Default 1 s;
	// negative means none.
	ClientKeysFloor time.Duration

	// DisablePAR leaves the PAR endpoint out. RequirePAR refuses authorization
	// requests that were not pushed, for every client.
	DisablePAR, RequirePAR bool

	// RequireSignedRequests refuses authorization requests that are not signed (RFC
	// 9101), for every client.
	RequireSignedRequests bool

	// HideHint leaves out the line of the sign-in page that tells users and
	// passwords.
	HideHint bool

	// CookieName is the stem of our cookies' names; default "keyway_demo_idp".
	// Cookies do not know ports: two providers on one host need two names.
	CookieName string

	// HTTPClient fetches clients' jwks_uri, and tells them who has signed out.
	// The default follows no redirect and gives up after 5 s.
	HTTPClient *http.Client

	// Hooks make the provider lie. Nil: it is honest.
	Hooks *Hooks

	// Now is the provider's clock; default time.Now. Set it to test a peer
	// whose clock is off.
	Now func() time.Time

	// MaxEntries bounds each kind of state (codes, pushed requests, tokens,
	// sessions, ...). Default 100,000. MaxRecords bounds what Seen remembers.
	// Default 1,000.
	MaxEntries, MaxRecords int
}

// User is somebody who may sign in.
type User struct {
	Username      string
	Password      string
	Subject       string // sub; default Username
	Name          string
	Email         string
	EmailVerified bool
	Roles         []string       // claim "roles" of access tokens and UserInfo
	Claims        map[string]any // further claims of UserInfo and introspection
}

// String keeps the password out of logs and failed assertions.
func (u User) String() string { return "user " + u.Username }

// GoString does for %#v what String does for %v.
func (u User) GoString() string { return u.String() }

// DemoUsers are ada, who edits, and grace, who looks; the password of both is "demo".
func DemoUsers() []User {
	return []User{
		{
			Username: "ada", Password: "demo", Subject: "u-ada-1815", Name: "Ada Lovelace",
			Email: "ada@example.test", EmailVerified: true, Roles: []string{"editor", "admin"},
		},
		{
			Username: "grace", Password: "demo", Subject: "u-grace-1906", Name: "Grace Hopper",
			Email: "grace@example.test", EmailVerified: true, Roles: []string{"viewer"},
		},
	}
}

// Client is one registered client.
type Client struct {
	ID   string
	Name string // shown on the sign-in page; default ID

	// Secrets that are good now. Several may be, while one is being replaced.
	Secrets []string

	// AuthMethods that the client may use. Default: private_key_jwt when it
	// has keys, and both secret methods when it has secrets.
	AuthMethods []string

	// JWKSURI or JWKS: the public keys for private_key_jwt. Not both.
	JWKSURI string
	JWKS    *jose.JSONWebKeySet

	RedirectURIs           []string // compared as strings (RFC 9700, 2.1)
	PostLogoutRedirectURIs []string // likewise

	// BackchannelLogoutURI is told by a logout token when a session ends here that
	// the client had a code for (OpenID Connect Back-Channel Logout 1.0). Empty: it
	// is not told.
	BackchannelLogoutURI string

	// BackchannelLogoutSessionRequired says that the client needs sid in it. We
	// always send one, and sub too.
	BackchannelLogoutSessionRequired bool

	// GrantTypes; default authorization_code and refresh_token. With
	// refresh_token, every sign-in yields a refresh token.
	GrantTypes []string

	// Scopes that the client may have. Default openid, profile, email and
	// offline_access; for a client of client_credentials only, none.
	Scopes []string

	// Audiences that the client may ask for by `resource` (RFC 8707) or
	// `audience`. The first is used when it asks for none; without any, the
	// issuer is.
	Audiences []string

	// RequirePAR refuses this client's requests that were not pushed.
	RequirePAR bool

	// DPoPBound refuses this client tokens that are not bound to a key (RFC 9449, 5.2).
	DPoPBound bool

	// SignedRequests refuses this client's authorization requests that are not signed
	// (RFC 9101, 10.5).
	SignedRequests bool

	// OpaqueAccessTokens gives this client random strings instead of RFC 9068
	// JWTs; they mean something only to introspection.
	OpaqueAccessTokens bool
}

// String keeps the secrets out of logs and failed assertions.
func (c Client) String() string { return "client " + c.ID }

// GoString does for %#v what String does for %v.
func (c Client) GoString() string { return c.String() }

func (c *Client) allows(grant string) bool { return slices.Contains(c.GrantTypes, grant) }

func defaultTo[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

func (o *Options) fill() error {
	u, err := url.Parse(o.Issuer)
	switch {
	case err != nil:
		return fmt.Errorf("idp: issuer: %w", err)
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.User != nil:
		return fmt.Errorf("idp: issuer %q: want an absolute http or https URL, such as http://127.0.0.1:8002", o.Issuer)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return fmt.Errorf("idp: issuer %q: must have no query and no fragment (RFC 8414, 2)", o.Issuer)
	}
	defaultTo(&o.Name, "Keyway demo")
	defaultTo(&o.CodeLifetime, time.Minute)
	defaultTo(&o.RequestLifetime, time.Minute)
	defaultTo(&o.SignInLifetime, 10*time.Minute)
	defaultTo(&o.SessionLifetime, 8*time.Hour)
	defaultTo(&o.AccessTokenLifetime, 5*time.Minute)
	defaultTo(&o.IDTokenLifetime, 5*time.Minute)
	defaultTo(&o.RefreshTokenLifetime, 24*time.Hour)
	defaultTo(&o.MaxAssertionLifetime, 10*time.Minute)
	defaultTo(&o.ClockSkew, 10*time.Second)
	defaultTo(&o.JWKSMaxAge, 5*time.Minute)
	defaultTo(&o.ClientKeysCeiling, 5*time.Minute)
	defaultTo(&o.ClientKeysFloor, time.Second)
	defaultTo(&o.CookieName, "keyway_demo_idp")
	defaultTo(&o.MaxEntries, 100_000)
	defaultTo(&o.MaxRecords, 1000)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Users == nil {
		o.Users = DemoUsers()
	}
	users := make([]User, len(o.Users))
	for i, u := range o.Users {
		defaultTo(&u.Subject, u.Username)
		if u.Username == "" {
			return errors.New("idp: a user has no Username")
		}
		users[i] = u
	}
	o.Users = users
	return nil
}

// check fills in a client's defaults and says what is wrong with it.
func (c *Client) check() error {
	if c.ID == "" {
		return errors.New("idp: a client has no ID")
	}
	bad := func(format string, a ...any) error {
		return fmt.Errorf("idp: client %q: %s", c.ID, fmt.Sprintf(format, a...))
	}
	if c.JWKSURI != "" && c.JWKS != nil {
		return bad("has both JWKSURI and JWKS; RFC 7591, 2 allows one")
	}
	defaultTo(&c.Name, c.ID)
	if c.AuthMethods == nil {
		if c.JWKSURI != "" || c.JWKS != nil {
			c.AuthMethods = append(c.AuthMethods, AuthPrivateKeyJWT)
		}
		if len(c.Secrets) > 0 {
			c.AuthMethods = append(c.AuthMethods, AuthSecretBasic, AuthSecretPost)
		}
	}
	if len(c.AuthMethods) == 0 {
		return bad("can authenticate by no method; give it Secrets, JWKSURI or JWKS")
	}
	for _, m := range c.AuthMethods {
		if !slices.Contains(authMethods, m) {
			return bad("authentication method %q is unknown; known are %s", m, strings.Join(authMethods, ", "))
		}
	}
	if c.GrantTypes == nil {
		c.GrantTypes = []string{GrantCode, GrantRefresh}
	}
	for _, g := range c.GrantTypes {
		if !slices.Contains(grantTypes, g) {
			return bad("grant type %q is unknown; known are %s", g, strings.Join(grantTypes, ", "))
		}
	}
	if c.Scopes == nil && c.allows(GrantCode) {
		c.Scopes = []string{"openid", "profile", "email", "offline_access"}
	}
	for _, raw := range slices.Concat(c.RedirectURIs, c.PostLogoutRedirectURIs) {
		u, err := url.Parse(raw)
		if err != nil || !u.IsAbs() || u.Fragment != "" {
			return bad("redirect URI %q: want an absolute URI without fragment (RFC 6749, 3.1.2)", raw)
		}
	}
	if u, err := url.Parse(c.BackchannelLogoutURI); c.BackchannelLogoutURI != "" && (err != nil || !u.IsAbs() || u.Host == "" || u.Fragment != "") {
		return bad("backchannel_logout_uri %q: want an absolute URL without fragment (Back-Channel Logout 1.0, 2.2)", c.BackchannelLogoutURI)
	}
	if c.BackchannelLogoutSessionRequired && c.BackchannelLogoutURI == "" {
		return bad("backchannel_logout_session_required needs a backchannel_logout_uri")
	}
	return nil
}

var (
	authMethods = []string{AuthPrivateKeyJWT, AuthSecretBasic, AuthSecretPost}
	grantTypes  = []string{GrantCode, GrantRefresh, GrantClientCredentials}
)
