package gateway

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/route"
	"keyway/internal/upstream"
)

// contract is who acts on our answer about a request, and what it can take for one.
type contract uint8

const (
	// plain: nobody asks. It is our own, or whoever may is forwarded to the route's service.
	plain contract = iota
	// statusOnly is /auth/verify: 200, 401 or 403. nginx takes anything else for a
	// fault of its own configuration.
	statusOnly
	// passedOn is /auth/forward: whatever is not 200 reaches the user as it is.
	passedOn
)

// contractOf is the contract of a request whose target can't be read. What is below
// /auth/forward/ is another request's path, and judged as that.
func contractOf(target string) contract {
	switch path, _, _ := strings.Cut(target, "?"); {
	case path == verifyPath:
		return statusOnly
	case path == forwardPath, strings.HasPrefix(path, forwardPath+"/"):
		return passedOn
	}
	return plain
}

// status is what a failure is answered with under the contract. The body has the
// failure's own code.
func (k contract) status(code problem.Code) int {
	status := code.Status()
	switch {
	case k == plain, status == http.StatusUnauthorized, status == http.StatusForbidden:
	case k == statusOnly:
		return http.StatusForbidden
	case status < http.StatusInternalServerError && status != http.StatusTooManyRequests:
		return http.StatusForbidden
	}
	return status
}

const (
	verifyPath  = "/auth/verify"
	forwardPath = "/auth/forward"
	loginPath   = "/auth/login"
)

// Families of headers that say which request a proxy holds back, as http.Header
// keeps them. Each endpoint reads one: whoever sets one family and passes the
// other on, as most configurations do, would leave the choice to the client.
var (
	originalFamily  = family{method: "X-Original-Method", uri: "X-Original-Uri"}
	forwardedFamily = family{method: "X-Forwarded-Method", uri: "X-Forwarded-Uri"}
)

// verify serves GET /auth/verify, for servers that act on the status alone: may the
// request pass that they hold back, and whose is it.
func (c *call) verify() error {
	q, known, err := c.heldBack(originalFamily)
	if err != nil {
		return err
	}
	_, err = c.answerFor(q, known)
	return err
}

// forwardAuth serves GET /auth/forward, for proxies that pass on what is not a yes.
func (c *call) forwardAuth() error {
	q, known, err := c.heldBack(forwardedFamily)
	if err != nil {
		return err
	}
	return c.forwardAnswer(q, known)
}

// forwardBelow serves /auth/forward/…, as Envoy asks: with the method of the request
// that it holds back, and its path and query behind ours.
func (c *call) forwardBelow() error {
	if !c.client.Trusted {
		c.strangerAsks()
		// There is nothing to be known of somebody's own invention.
		return problem.Newf(problem.NotFound, "only a trusted proxy can ask about a path")
	}
	q := question{method: c.r.Method, path: c.path[len(forwardPath):], query: c.query}
	if err := c.consistent(q); err != nil {
		return err
	}
	return c.forwardAnswer(q, true)
}

func (c *call) forwardAnswer(q question, known bool) error {
	if may, err := c.answerFor(q, known); err != nil {
		// A sign-in is of no use where a token is wanted.
		if r := may.match.Route; r != nil && r.Auth == route.AuthBearer {
			return err
		}
		if to := c.signInFor(q, known, err); to != "" {
			c.w.Header().Set("Location", to)
			c.w.WriteHeader(http.StatusFound)
			return nil
		}
		return err
	}
	return nil
}

// answerFor decides, and says yes by 200 and the identity headers, which the proxy
// copies to the request that it asked about. There is never a token among them.
func (c *call) answerFor(q question, known bool) (may admitted, err error) {
	if err := onlyWebSocket(c.r.Header); err != nil {
		return may, err
	}
	if known {
		if may, err = c.admit(q); err == nil {
			_, err = c.authorize(q, &may.match)
		}
	} else {
		// Nothing is known but the cookie, so that is all that is decided.
		may.session, err = c.admitSession(question{method: http.MethodGet}, nil)
	}
	if err != nil {
		return may, err
	}
	h := c.w.Header()
	// There is no body that a browser could show. Without these the header has as
	// many fields as a Go map holds without growing.
	delete(h, hContentTypeOptions)
	delete(h, hReferrerPolicy)
	delete(h, hCSP)
	upstream.SetIdentity(h, &c.who)
	c.w.WriteHeader(http.StatusOK)
	return may, nil
}

// onlyWebSocket refuses any other change of protocol. Behind one to HTTP/2 in the clear
// (RFC 7540 section 3.2) the proxy would see no request any more, ask about none, and
// whoever sends them could name himself as he likes. Where the proxy takes Upgrade out
// of the question, the settings that have to come with it (section 3.2.1) tell.
func onlyWebSocket(h http.Header) error {
	upgrades := h["Upgrade"]
	if h["Http2-Settings"] != nil || len(upgrades) > 1 || len(upgrades) == 1 && upgrades[0] != "" && !strings.EqualFold(upgrades[0], "websocket") {
		return problem.Newf(problem.Forbidden, "expected no change of protocol but to a WebSocket")
	}
	return nil
}

// signInFor is where a browser signs in that navigates to a page and has no session;
// "" for whoever would not know what to do with a redirect, or would be led to a
// host that anybody can have written. It is absolute, because some proxies resolve
// a relative one against us.
func (c *call) signInFor(q question, known bool, err error) string {
	switch code := problem.CodeOf(err); {
	case code != problem.Unauthenticated && code != problem.SessionEnded, c.undecided(err):
		return ""
	case !known, c.gen.SignIn == nil, !navigates(q.method, c.r.Header), c.ownPath(q.path):
		return ""
	case !slices.Contains(c.gen.Settings.PublicHosts, c.client.Host):
		return ""
	}
	target := q.target()
	if _, err := (oidc.ReturnPolicy{}).Check(target); err != nil {
		target = "/" // too long, say: better somewhere than nowhere
	}
	return c.client.Scheme + "://" + c.client.Host + loginPath + "?return_to=" + url.QueryEscape(target)
}

// ownPath reports whether we answer a path ourselves. A proxy that asks about those,
// too, would send browsers from the sign-in to the sign-in, for ever.
func (c *call) ownPath(path string) bool {
	if _, own := c.gateway.own[path]; own {
		return true
	}
	_, own := below(c.gateway.under, path)
	return own
}

// navigates reports whether a browser asks for a page to show. Fetch metadata says
// so; what sends none is asked whether it takes HTML.
func navigates(method string, h http.Header) bool {
	if method != http.MethodGet && method != http.MethodHead {
		return false
	}
	if modes := h["Sec-Fetch-Mode"]; modes != nil {
		return len(modes) == 1 && modes[0] == "navigate"
	}
	if opensTunnel(h) || len(h["X-Requested-With"]) > 0 {
		return false
	}
	return slices.ContainsFunc(h["Accept"], func(accept string) bool {
		return strings.Contains(strings.ToLower(accept), "text/html")
	})
}
