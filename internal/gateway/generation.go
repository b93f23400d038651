package gateway

import (
	"context"
	"net/http"
	"time"

	"keyway/internal/authz"
	"keyway/internal/bearer"
	"keyway/internal/dpop"
	"keyway/internal/oidc"
	"keyway/internal/principal"
	"keyway/internal/route"
	"keyway/internal/secret"
	"keyway/internal/session"
	"keyway/internal/upstream"
)

// Generation is all that a request depends on and that can change while the
// process runs. It is built aside, whole, and never changed afterwards.
type Generation struct {
	Parts
	// policies are the routes' token policies, made ready.
	policies map[*route.Route]*upstream.TokenPolicy
	// fixed are headers made ready. They are apart from the generation, so that a
	// stream that has them does not keep that.
	fixed *fixedHeaders
}

// NewGeneration makes parts ready to serve.
func NewGeneration(p Parts) *Generation {
	g := &Generation{Parts: p, policies: map[*route.Route]*upstream.TokenPolicy{}, fixed: newFixedHeaders(&p.Settings)}
	for _, r := range p.Routes.Routes() {
		g.policies[r] = tokenPolicy(r)
	}
	return g
}

// Parts are what a generation is made of: what the other rooms built from one
// configuration and one set of rings.
type Parts struct {
	Settings Settings
	Sessions *session.Manager
	CSRF     session.CSRF
	SignIn   *oidc.RelyingParty // nil: no IdP is configured, so nobody can sign in
	Bearer   Bearer             // nil: no provider's tokens are accepted
	Routes   *route.Table
	Proxy    *upstream.Proxy
	Proofs   *dpop.Keys   // that tokens are bound to; nil: they are bearer tokens
	JWKS     http.Handler // nil: no signing key
	// Authz decides about routes with authz: pdp; nil: they are closed.
	Authz Authorizer
	// Asks is what it is asked about the requests of Routes.
	Asks *authz.Asks
	// AccessAPI has pages ask Authz at /access/v1/, where no route has these paths: for
	// a decision point in this process, which has no address of its own.
	AccessAPI bool
}

// Bearer says whose the token is that a request presents in Authorization.
type Bearer interface {
	Authenticate(ctx context.Context, authorization []string, need bearer.Need) (principal.Principal, secret.Value, error)
	// Issuers are those whose tokens can be good for a need.
	Issuers(need bearer.Need) []string
}

// Settings are the plain values of a generation.
type Settings struct {
	TrustedProxies TrustedProxies
	CORS           Origins
	// DefaultScheme, when set, is the scheme that browsers use although requests
	// arrive as plain HTTP: TLS ends at something that does not tell.
	DefaultScheme string
	// PostLogoutPath is where the IdP sends the browser after sign-out.
	PostLogoutPath string
	// Provider is the alias of the IdP in identities.
	Provider string
	// Rights are where roles and permissions of users are. They follow at each refresh.
	Rights     Rights
	CSRFCookie CSRFCookie
	// PublicHosts are the hosts that browsers know us under, the first being the
	// usual one; empty: whatever a request says.
	PublicHosts []string
	// ClearSiteData is what a browser is told to throw away at sign-out, where it sees
	// us at https: "cache", "storage", "executionContexts". Empty: nothing.
	ClearSiteData []string
	Security      SecurityHeaders
	// BodyBytes bounds a proxied request's body; 0: no bound.
	BodyBytes int64
	// ConcurrentRequests bounds what is under way at once; 0: no bound.
	ConcurrentRequests int64
	// AuthzDisabled lets everybody who is signed in do whatever routes with authz: pdp
	// offer. It is for the day on which the decision point can't be repaired.
	AuthzDisabled bool
	// AuthzBodyBytes bounds a body that has to be read to ask a question.
	AuthzBodyBytes int64
}

// CSRFCookie is how the cookie with the CSRF token is set: readable by script,
// otherwise like the session cookie.
type CSRFCookie struct {
	Domain   string
	Secure   bool
	SameSite http.SameSite
	Lifetime time.Duration
}
