package gateway

import (
	"strings"

	"keyway/internal/problem"
	"keyway/internal/route"
	"keyway/internal/session"
	"keyway/internal/upstream"
)

// serveRoute answers a request for something that routes.yaml describes.
func (c *call) serveRoute() error {
	settings := &c.gen.Settings
	if isPreflight(c.r) {
		return c.routePreflight()
	}
	may, err := c.admit(question{method: c.r.Method, path: c.path, query: c.query})
	if err != nil {
		return err
	}
	r := may.match.Route
	if err := c.enterRoute(r); err != nil {
		return err
	}
	if err := c.boundRouteBody(settings, r); err != nil {
		return err
	}
	request := upstream.Request{
		Service:       r.Service,
		Path:          may.match.UpstreamPath(),
		RawQuery:      c.query,
		CorrelationID: c.id,
		Streaming:     r.Streaming,
		ClientIP:      c.client.Addr,
		Scheme:        c.client.Scheme,
		Host:          c.client.PublicHost,
		Outcome:       &c.outcome,
	}
	defer func() { c.event.Upstream(c.outcome.UpstreamStatus, c.outcome.Err) }()
	switch {
	case may.session != nil:
		return c.forwardForSession(&may.match, request, may.session)
	case r.Auth != route.AuthNone:
		request.Principal, request.AccessToken = &c.who, may.token
	}
	return c.forward(&may.match, request, nil)
}

// routePreflight answers for any route that has the path, whatever its method.
func (c *call) routePreflight() error {
	match, outcome := c.gen.Routes.Match(c.r.Header.Get("Access-Control-Request-Method"), c.path)
	var methods []string
	withToken := false
	switch outcome {
	case route.Found:
		methods = match.Route.EffectiveMethods()
		withToken = match.Route.Auth == route.AuthBearer
	case route.MethodNotAllowed:
		methods = strings.Split(match.Allow(), ", ")
	default:
		return problem.New(problem.NotFound, nil)
	}
	c.gen.Settings.CORS.preflight(c.w, c.r, methods, withToken)
	return nil
}

// forwardForSession adds who the user is and, where the route passes it on, an
// access token that is good for a while.
func (c *call) forwardForSession(match *route.Match, request upstream.Request, s *session.Session) error {
	r := match.Route
	if c.gen.policies[r].Mode() == upstream.Passthrough {
		var err error
		if s, err = c.fresh(s); err != nil {
			return err
		}
		request.AccessToken, request.AccessKey = s.AccessToken(), s.Record().TokenKey
		if exhausted(s) {
			return overForGood(r)
		}
		if request.AccessToken.IsZero() {
			return problem.Newf(problem.UpstreamAuthFailed, "route %s: the session has no access token", r.ID)
		}
		c.who = s.Principal() // a refresh may have brought other claims
	} else if decides(r) {
		var err error
		if s, err = c.withRights(s); err != nil {
			return err
		}
		c.who = s.Principal()
	}
	if decides(r) {
		if err := c.rightsKnown(s); err != nil {
			return err
		}
	}
	request.Principal = &c.who
	return c.forward(match, request, s)
}

// Values of headers that are always the same. Nobody may change what they hold;
// http.Header's own methods don't.
var (
	noStore    = []string{"no-store"}
	noSniff    = []string{"nosniff"}
	noReferrer = []string{"no-referrer"}
	noContent  = []string{"default-src 'none'; frame-ancestors 'none'"}
)

// forward hands the request over to the proxy, as a stream if the route is one, if
// the user may do what it asks for. What is decided about is who the user is by now.
func (c *call) forward(match *route.Match, request upstream.Request, s *session.Session) error {
	r := match.Route
	decision, err := c.authorize(question{method: c.r.Method, path: c.path, query: c.query}, match)
	if err != nil {
		return err
	}
	request.Token, request.Proofs = c.gen.policies[r], c.gen.Proofs
	// From here on the request is the proxy's, for hours if it is a stream. It must
	// not keep its generation, and so the keys of then, in memory.
	proxy, sessions := c.gen.Proxy, c.gen.Sessions
	var keep session.Keep
	if r.Streaming && decision.route != "" {
		keep = c.keepRights()
	}
	c.forwarded, c.gen = true, nil
	defer c.toUpstream(r.Service, &request)()
	if !r.Streaming {
		return proxy.Forward(c.dress(), c.r, request)
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
		watched, stop := sessions.WatchPrincipal(ctx, s, decision.principalListener(), keep)
		defer stop()
		ctx = watched
	}
	if decision.route != "" {
		// And when it would not be let in any more.
		allowed, stop := c.gateway.keepDeciding(ctx, decision, c.who)
		defer stop()
		ctx = allowed
	}
	return proxy.Forward(c.dress(), c.r.WithContext(ctx), request)
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
