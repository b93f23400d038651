package gateway

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"keyway/internal/problem"
)

// endpoint is something that the gateway answers itself.
type endpoint struct {
	name     string                       // route id in logs and metrics
	always   bool                         // served however busy we are
	contract contract                     // by a proxy, about another request
	pages    bool                         // browsers are sent here, and see what fails
	methods  map[string]func(*call) error // anyMethod: what is left
}

const logoutPath = "/auth/logout"

// anyMethod is for endpoints that serve whatever method comes.
const anyMethod = ""

// under is an endpoint that has every path below one. The paths are as they
// were sent, and the endpoint's to judge.
type under struct {
	prefix string // ends with /
	endpoint
}

// below finds the endpoint of a path that is no endpoint's own.
func below(table []under, path string) (endpoint, bool) {
	for i := range table {
		if strings.HasPrefix(path, table[i].prefix) {
			return table[i].endpoint, true
		}
	}
	return endpoint{}, false
}

func (e endpoint) allow() []string {
	var methods []string
	for m := range e.methods {
		methods = append(methods, m)
	}
	slices.Sort(methods)
	return methods
}

// endpoints is everything that the gateway answers itself, by path; one that ends
// with /* is for all paths below, looked at after the others. Routes can't take
// these paths: the configuration refuses them.
func (g *Gateway) endpoints() map[string]endpoint {
	get := func(name string, serve func(*call) error) endpoint {
		return endpoint{name: name, methods: map[string]func(*call) error{http.MethodGet: serve, http.MethodHead: serve}}
	}
	getAndPost := func(name string, serveGet, servePost func(*call) error) endpoint {
		return endpoint{name: name, methods: map[string]func(*call) error{http.MethodGet: serveGet, http.MethodPost: servePost}}
	}
	live := get("health_live", func(c *call) error { g.health.Live(c.w, c.r); return nil })
	ready := get("health_ready", func(c *call) error { g.health.Ready(c.w, c.r); return nil })
	verify, forward := get("verify", (*call).verify), get("forward", (*call).forwardAuth)
	verify.contract, forward.contract = statusOnly, passedOn
	login := endpoint{name: "login", methods: map[string]func(*call) error{http.MethodGet: (*call).login}}
	callback := getAndPost("callback", (*call).callback, (*call).callbackForm)
	logout := getAndPost("logout", (*call).logout, (*call).logout)
	login.pages, callback.pages, logout.pages = true, true, true
	own := map[string]endpoint{
		"/auth/login":        login,
		"/auth/callback":     callback,
		"/auth/logout":       logout,
		"/auth/session":      get("session", (*call).sessionInfo),
		"/api/auth/session":  get("session", (*call).sessionInfo),
		"/auth/csrf":         get("csrf", (*call).csrfToken),
		"/auth/capabilities": get("capabilities", (*call).capabilities),
		"/auth/verify":       verify,
		"/auth/forward":      forward,
		"/auth/forward/*":    {name: "forward", contract: passedOn, methods: map[string]func(*call) error{anyMethod: (*call).forwardBelow}},

		"/auth/backchannel-logout": {name: "backchannel_logout", methods: map[string]func(*call) error{http.MethodPost: (*call).backchannelLogout}},

		"/.well-known/oauth-protected-resource":   get("protected_resource", (*call).protectedResource),
		"/.well-known/oauth-protected-resource/*": get("protected_resource", (*call).protectedResource),
		"/.well-known/jwks.json":                  get("jwks", (*call).jwks),
	}
	live.always, ready.always = true, true
	for _, prefix := range []string{"", "/auth", "/api/v1"} {
		own[prefix+"/health"] = ready
		own[prefix+"/health/live"] = live
		own[prefix+"/health/ready"] = ready
	}
	return own
}

// split takes the endpoints of all paths below one out of the table.
func split(own map[string]endpoint) (exact map[string]endpoint, rest []under) {
	exact = make(map[string]endpoint, len(own))
	for path, e := range own {
		if prefix, ok := strings.CutSuffix(path, "*"); ok {
			rest = append(rest, under{prefix, e})
		} else {
			exact[path] = e
		}
	}
	// The longest first, so that the nearest has a path.
	slices.SortFunc(rest, func(a, b under) int { return len(b.prefix) - len(a.prefix) })
	return exact, rest
}

// serveOwn answers a request for one of our own endpoints. What they say is
// about one user at one moment, so none of it may be stored.
func (c *call) serveOwn(e endpoint) error {
	c.event.Route, c.contract = e.name, e.contract
	c.boundBody()
	if !e.always {
		if err := c.enter(); err != nil {
			return err
		}
	}
	c.ownHeaders()
	if isPreflight(c.r) && e.contract == plain { // an answer of ours would be a yes
		c.gen.Settings.CORS.preflight(c.w, c.r, e.allow(), false)
		return nil
	}
	serve, ok := e.methods[c.r.Method]
	if !ok {
		serve, ok = e.methods[anyMethod]
	}
	if !ok {
		c.contract = plain // nobody asks that way
		c.w.Header().Set("Allow", strings.Join(e.allow(), ", "))
		return problem.New(problem.MethodNotAllowed, nil)
	}
	return serve(c)
}

func (c *call) jwks() error {
	if c.gen.JWKS == nil {
		return problem.New(problem.NotFound, nil)
	}
	c.w.Header().Del("Cache-Control") // the publisher knows how long
	c.gen.JWKS.ServeHTTP(c.w, c.r)
	return nil
}

// writeJSON sends a value of our own types.
func (c *call) writeJSON(status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return problem.New(problem.Internal, err)
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(append(body, '\n'))
	return nil
}

// redirect sends the browser on. 303, so that it comes with a GET whatever it
// came here with (RFC 9700 section 4.12).
func (c *call) redirect(to string) error {
	c.w.Header().Set("Location", to)
	c.w.WriteHeader(http.StatusSeeOther)
	return nil
}
