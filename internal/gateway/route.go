package gateway

import (
	"net/http"
	"strings"

	"keyway/internal/bearer"
	"keyway/internal/limit"
	"keyway/internal/problem"
	"keyway/internal/route"
	"keyway/internal/session"
	"keyway/internal/upstream"
)

// serveRoute answers a request for something that routes.yaml describes.
func (c *call) serveRoute() error {
	settings := &c.gen.Settings
	settings.CORS.corsHeaders(c.w.Header(), c.r)
	if isPreflight(c.r) {
		return c.routePreflight()
	}
	match, outcome := c.gen.Routes.Match(c.r.Method, c.path)
	switch outcome {
	case route.Found:
	case route.MethodNotAllowed:
		c.w.Header().Set("Allow", match.Allow())
		return problem.New(problem.MethodNotAllowed, nil)
	case route.Refused:
		return ambiguous(match.Err)
	default:
		return problem.New(problem.NotFound, nil)
	}
	r := match.Route
	c.event.Route = r.ID
	if err := c.enter(); err != nil {
		return err
	}
	if r.Authz != route.AuthzNone && r.Authz != "" {
		// Closed until there is somebody to ask.
		return problem.Newf(problem.Forbidden, "route %s: authz %q, and no decision point to ask", r.ID, r.Authz)
	}
	if settings.BodyBytes > 0 && c.r.ContentLength != 0 {
		c.r.Body = http.MaxBytesReader(c.w, c.r.Body, settings.BodyBytes)
	}
	request := upstream.Request{
		Service:       r.Service,
		Path:          match.UpstreamPath(),
		RawQuery:      c.query,
		CorrelationID: c.id,
		Streaming:     r.Streaming,
		ClientIP:      c.client.Addr,
		Scheme:        c.client.Scheme,
		Host:          c.client.PublicHost,
		Outcome:       &c.outcome,
	}
	defer func() { c.event.Upstream(c.outcome.UpstreamStatus, c.outcome.Err) }()
	switch r.Auth {
	case route.AuthNone:
		return c.forward(r, request, nil)
	case route.AuthSession:
		return c.forwardForSession(r, request)
	case route.AuthBearer:
		if c.gen.Bearer != nil {
			return c.forwardForBearer(r, request)
		}
	}
	// Whatever else a table may say one day: closed until somebody opens it.
	c.w.Header().Set("WWW-Authenticate", `Bearer realm="bff"`)
	return problem.Newf(problem.InvalidToken, "route %s: auth %q is not available", r.ID, r.Auth)
}

// routePreflight answers for any route that has the path, whatever its method.
func (c *call) routePreflight() error {
	match, outcome := c.gen.Routes.Match(c.r.Header.Get("Access-Control-Request-Method"), c.path)
	var methods []string
	switch outcome {
	case route.Found:
		methods = match.Route.EffectiveMethods()
	case route.MethodNotAllowed:
		methods = strings.Split(match.Allow(), ", ")
	default:
		return problem.New(problem.NotFound, nil)
	}
	c.gen.Settings.CORS.preflight(c.w, c.r, methods)
	return nil
}

// forwardForSession lets a request through that comes from a signed-in user, of
// his own will.
func (c *call) forwardForSession(r *route.Route, request upstream.Request) error {
	// Before anything else: whatever is said to this user is for him alone.
	c.w.Header()["Cache-Control"] = noStore
	s, err := c.findSession()
	if err != nil {
		return err
	}
	if err := c.guard(s); err != nil {
		return err
	}
	if c.gen.policies[r].Mode() == upstream.Passthrough {
		if s, err = c.fresh(s); err != nil {
			return err
		}
		request.AccessToken = s.AccessToken()
		if exhausted(s) {
			// Only a new sign-in brings another; the upstream would refuse this one.
			return problem.Newf(problem.SessionEnded, "route %s: the access token is over, and there is no refresh token", r.ID)
		}
		if request.AccessToken.IsZero() {
			return problem.Newf(problem.UpstreamAuthFailed, "route %s: the session has no access token", r.ID)
		}
	}
	c.who = s.Principal()
	request.Principal = &c.who
	return c.forward(r, request, s)
}

// forwardForBearer lets a request through that presents an access token. A cookie
// says nothing here, so there is nothing that another site could have a browser
// do.
func (c *call) forwardForBearer(r *route.Route, request upstream.Request) error {
	c.w.Header()["Cache-Control"] = noStore
	if err := c.spent(limit.RefusedToken); err != nil {
		return err
	}
	who, token, err := c.gen.Bearer.Authenticate(c.r.Context(), c.r.Header["Authorization"], needOf(r))
	if err != nil {
		if challenge := bearer.Challenge(err); challenge != "" {
			c.w.Header().Set("WWW-Authenticate", challenge)
		}
		if problem.CodeOf(err) == problem.InvalidToken {
			_ = c.take(limit.RefusedToken) // it is refused already
		}
		return err
	}
	c.who = who
	request.Principal, request.AccessToken = &c.who, token
	return c.forward(r, request, nil)
}

func needOf(r *route.Route) bearer.Need {
	return bearer.Need{Audience: r.Bearer.Audience, Scopes: r.Bearer.Scopes, Entries: r.Bearer.IdPs}
}

// Values of headers that are always the same. Nobody may change what they hold;
// http.Header's own methods don't.
var (
	noStore    = []string{"no-store"}
	noSniff    = []string{"nosniff"}
	noReferrer = []string{"no-referrer"}
	noContent  = []string{"default-src 'none'; frame-ancestors 'none'"}
)

// guard refuses what another site's page, or somebody without this session's
// CSRF token, wants done. A WebSocket is opened by GET but does what it likes
// afterwards, and no script of another origin needs permission to open one, so
// it is held to the origin too.
func (c *call) guard(s *session.Session) error {
	safe := isSafe(c.r.Method)
	if safe && c.r.Header["Upgrade"] == nil {
		c.renewCSRF(s)
		return nil
	}
	if err := c.gen.Settings.CORS.sameSite(c.r, c.client); err != nil {
		c.gateway.metrics.CSRFViolation("origin")
		return problem.New(problem.CrossOrigin, err)
	}
	if safe {
		return nil
	}
	return c.checkCSRF(s, c.r.Header["X-Csrf-Token"])
}

// forward hands the request over to the proxy, as a stream if the route is one.
func (c *call) forward(r *route.Route, request upstream.Request, s *session.Session) error {
	request.Token = c.gen.policies[r]
	// From here on the request is the proxy's, for hours if it is a stream. It must
	// not keep its generation, and so the keys of then, in memory.
	proxy, sessions := c.gen.Proxy, c.gen.Sessions
	c.forwarded, c.gen = true, nil
	defer c.toUpstream(r.Service, &request)()
	if !r.Streaming {
		return proxy.Forward(c.w, c.r, request)
	}
	c.event.Stream = true
	ctx, id := c.r.Context(), ""
	if s != nil {
		id = s.PublicID()
	}
	ctx, end, err := c.gateway.streams.begin(ctx, id)
	if err != nil {
		return err
	}
	defer end()
	c.leave()
	if s != nil {
		// A stream outlives the check at its beginning: it ends with the session.
		watched, stop := sessions.Watch(ctx, s)
		defer stop()
		ctx = watched
	}
	return proxy.Forward(c.w, c.r.WithContext(ctx), request)
}

// tokenPolicy is what the upstream gets as Authorization. Nobody is signed in on
// a route with auth none, so there it is no user's token.
func tokenPolicy(r *route.Route) *upstream.TokenPolicy {
	switch r.TokenPolicy.Mode {
	case route.TokenSession, "":
		if r.Auth == route.AuthSession || r.Auth == route.AuthBearer {
			return upstream.NewTokenPolicy(upstream.Passthrough, "", nil)
		}
	case route.TokenService:
		return upstream.NewTokenPolicy(upstream.ServiceToken, r.TokenPolicy.Audience, r.TokenPolicy.Scopes)
	}
	return nil
}
