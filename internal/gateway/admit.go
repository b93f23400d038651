package gateway

import (
	"net/http"
	"time"

	"keyway/internal/bearer"
	"keyway/internal/limit"
	"keyway/internal/problem"
	"keyway/internal/route"
	"keyway/internal/secret"
	"keyway/internal/session"
	"keyway/internal/upstream"
)

// question is a request that is decided about: the one that came, or one that a
// proxy in front of us holds back until it has our answer. Its headers are those of
// the request that came, in both cases.
type question struct {
	method string
	path   string // escaped, as sent
	query  string // raw, as sent
}

// admitted is what is known of a request that may pass.
type admitted struct {
	match   route.Match      // Route is nil if none describes it
	session *session.Session // nil: no session was asked for
	token   secret.Value     // that a route with auth: bearer was shown
}

// admit says who may: it finds the route of a request and holds the request to it,
// and leaves in call who is asking. Whatever a route describes passes here, whether
// we forward it or a proxy asks about it, so that there is one set of rules. On
// failure it has set the headers that go with the refusal, and answered nothing.
func (c *call) admit(q question) (admitted, error) {
	match, outcome := c.gen.Routes.Match(q.method, q.path)
	r := match.Route
	switch outcome {
	case route.Found:
	case route.MethodNotAllowed:
		c.w.Header().Set("Allow", match.Allow())
		return admitted{}, problem.New(problem.MethodNotAllowed, nil)
	case route.Refused:
		return admitted{}, ambiguous(match.Err)
	default:
		if c.contract == plain {
			return admitted{}, problem.New(problem.NotFound, nil)
		}
	}
	if c.contract == plain { // we forward it
		c.event.Route = r.ID
		if err := c.enter(); err != nil {
			return admitted{}, err
		}
	}
	if r == nil {
		s, err := c.admitUnlisted(q)
		return admitted{session: s}, err
	}
	if err := c.closed(r); err != nil {
		return admitted{}, err
	}
	switch r.Auth {
	case route.AuthNone:
		if c.contract == statusOnly {
			// A server that forgets to say which request it holds back would let the
			// client choose one. So whatever it says, nobody passes there without
			// showing who he is; what is open to all, the server doesn't ask about.
			s, err := c.admitSession(q, nil)
			return admitted{session: s}, err
		}
		return admitted{match: match}, c.routeRate(r, nil)
	case route.AuthSession:
		s, err := c.admitSession(q, r)
		return admitted{match: match, session: s}, err
	case route.AuthBearer:
		if c.gen.Bearer != nil {
			token, err := c.admitBearer(r, q.path)
			return admitted{match: match, token: token}, err
		}
	}
	// Whatever else a table may say one day: closed until somebody opens it.
	c.w.Header().Set("WWW-Authenticate", `Bearer realm="bff"`)
	return admitted{}, problem.Newf(problem.InvalidToken, "route %s: auth %q is not available", r.ID, r.Auth)
}

// admitUnlisted lets a request pass, for whoever is signed in, whose path no route has.
// Another server makes of that path what it likes, and what it likes may be that of a
// route: /admin/ and /Admin are /admin for many. There a session, or any session, is not
// enough, so it is not enough here.
func (c *call) admitUnlisted(q question) (*session.Session, error) {
	var held, stricter *route.Route
	for _, r := range c.gen.Routes.Near(q.path) {
		switch {
		case r.Auth == route.AuthNone:
		case r.Auth != route.AuthSession || r.Authz != route.AuthzNone && r.Authz != "":
			stricter = r
		default:
			held = r
		}
	}
	s, err := c.admitSession(q, held)
	if err == nil && stricter != nil {
		return nil, problem.Newf(problem.AmbiguousPath, "no route has this path; for a server that ignores case, or what a path ends with, it is that of route %s", stricter.ID)
	}
	return s, err
}

// admitSession lets a request pass that comes from a signed-in user, of his own
// will. Without a route it is for an application that has its own protection of
// forms: only what another site caused is refused.
func (c *call) admitSession(q question, r *route.Route) (*session.Session, error) {
	// Before anything else: whatever is said to this user is for him alone.
	c.w.Header()["Cache-Control"] = noStore
	s, err := c.findSession()
	if err != nil {
		return nil, err
	}
	if err := c.guard(q, r, s); err != nil {
		return nil, err
	}
	if (r == nil || c.gen.policies[r].Mode() == upstream.Passthrough) && exhausted(s) {
		return nil, overForGood(r)
	}
	if c.contract != plain && decides(r) { // what is forwarded may be renewed first
		if s, err = c.withRights(s); err != nil {
			return nil, err
		}
		if err := c.rightsKnown(s); err != nil {
			return nil, err
		}
	}
	c.who = s.Principal()
	return s, c.routeRate(r, &c.who)
}

// overForGood is the failure of a session whose access token is over: only a new
// sign-in brings another, and an upstream would refuse this one.
func overForGood(r *route.Route) error {
	name := "none"
	if r != nil {
		name = r.ID
	}
	return problem.Newf(problem.SessionEnded, "route %s: the access token is over, and there is no refresh token", name)
}

// admitBearer lets a request pass that presents an access token. A cookie says
// nothing here, so there is nothing that another site could have a browser do.
func (c *call) admitBearer(r *route.Route, path string) (secret.Value, error) {
	c.w.Header()["Cache-Control"] = noStore
	need := needOf(r)
	var over time.Duration
	over, need.NotAsked = c.tokensRefused()
	who, token, err := c.gen.Bearer.Authenticate(c.r.Context(), c.r.Header["Authorization"], need)
	refused := problem.CodeOf(err) == problem.InvalidToken || unknownKey(err)
	if need.NotAsked && refused {
		return secret.Value{}, c.beyond(limit.RefusedToken, over)
	}
	if err != nil {
		if challenge := bearer.Challenge(err); challenge != "" {
			c.w.Header().Set("WWW-Authenticate", challenge+c.whereMetadata(path))
		}
		if refused {
			c.tokenRefused()
		}
		return secret.Value{}, err
	}
	c.tokenAccepted()
	c.who = who
	return token, c.routeRate(r, &c.who)
}

func needOf(r *route.Route) bearer.Need {
	return bearer.Need{Audience: r.Bearer.Audience, Scopes: r.Bearer.Scopes, IdPs: r.Bearer.IdPs}
}

// guard refuses what another site's page, or somebody without this session's
// CSRF token, wants done. A WebSocket is opened by GET but does what it likes
// afterwards, and no script of another origin needs permission to open one, so
// it is held to the origin too.
func (c *call) guard(q question, r *route.Route, s *session.Session) error {
	safe := isSafe(q.method)
	if safe && !opensTunnel(c.r.Header) {
		if c.contract == plain { // the others' answers don't reach the browser
			c.renewCSRF(s)
		}
		return nil
	}
	if err := c.gen.Settings.CORS.sameSite(c.r, c.client); err != nil {
		c.gateway.metrics.CSRFViolation("origin")
		return problem.New(problem.CrossOrigin, err)
	}
	if safe || r == nil {
		return nil
	}
	return c.checkCSRF(s, c.r.Header["X-Csrf-Token"])
}

// opensTunnel reports whether a request would leave HTTP. Proxies that ask about a
// request take Upgrade, which is hop-by-hop, out of the question; what is left of a
// WebSocket's handshake is in headers of its own (RFC 6455 section 4.1, RFC 8441).
func opensTunnel(h http.Header) bool {
	return h["Upgrade"] != nil || h["Sec-Websocket-Version"] != nil || h["Sec-Websocket-Key"] != nil
}
