package gateway

import (
	"hash/maphash"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"keyway/internal/limit"
	"keyway/internal/principal"
	"keyway/internal/problem"
	"keyway/internal/route"
)

// limits are what clients may take, as it stands. They outlive generations.
type limits struct {
	limiter *limit.Limiter // nil: nothing is limited by address
	callers *limit.Callers
	good    goodTokens
	routes  sync.Map                // busy, by route id
	notes   map[limit.Kind]*noticed // nothing is added later
}

func newLimits(limiter *limit.Limiter, callers *limit.Callers) *limits {
	if callers == nil {
		callers = limit.NewCallers(0, 0)
	}
	l := &limits{limiter: limiter, callers: callers, good: goodTokens{seed: maphash.MakeSeed()}, notes: map[limit.Kind]*noticed{}}
	for _, kind := range limit.Kinds() {
		l.notes[kind] = &noticed{}
	}
	return l
}

// take counts one of a kind for the sender's address prefix, and fails with
// too_many_requests beyond the limit. A request that is served again, because its
// generation lacked a version, counts once.
func (c *call) take(kind limit.Kind) error {
	l := c.gateway.limits.limiter
	if l == nil || c.taken == kind {
		return nil
	}
	c.taken = kind
	wait, ok := l.Take(c.r.Context(), kind, c.client.Addr)
	if ok {
		return nil
	}
	return c.beyond(kind, wait)
}

// takeQuestions counts n questions of c.who's page, and fails with too_many_requests
// beyond the limit. They are counted by account: a user who moves, or has many
// sessions, is one, and those who share an address are not.
func (c *call) takeQuestions(n int) error {
	l := c.gateway.limits.limiter
	if l == nil || c.taken == limit.Question {
		return nil
	}
	c.taken = limit.Question
	wait, ok := l.TakeUser(c.r.Context(), limit.Question, c.who.Provider, c.who.Subject, n)
	if ok {
		return nil
	}
	return c.beyond(limit.Question, wait)
}

// tokensRefused says whether too many tokens from the sender's address prefix were
// refused lately, and for how long that stays so; it counts nothing, and asks nobody.
// No provider is asked about a token that comes from there then. What keys prove passes,
// and of the others those that were good here lately are asked about: who guesses behind
// an address that many share stops nobody who has a token and uses it.
func (c *call) tokensRefused() (time.Duration, bool) {
	l := c.gateway.limits
	if l.limiter == nil {
		return 0, false
	}
	wait, spent := l.limiter.Spent(limit.RefusedToken, c.client.Addr)
	return wait, spent && !l.good.has(c.r.Header["Authorization"])
}

// tokenAccepted remembers that the presented token was good.
func (c *call) tokenAccepted() { c.gateway.limits.good.add(c.r.Header["Authorization"]) }

// tokenRefused counts a presented token that was refused, beside the answer.
func (c *call) tokenRefused() {
	l := c.gateway.limits
	l.good.drop(c.r.Header["Authorization"])
	if l.limiter == nil || c.taken == limit.RefusedToken {
		return
	}
	c.taken = limit.RefusedToken
	l.limiter.TakeBeside(limit.RefusedToken, c.client.Addr, c.gateway.beside)
}

// beyond is the answer to one too many from an address prefix, or an account.
func (c *call) beyond(kind limit.Kind, wait time.Duration) error {
	c.gateway.metrics.RateLimited(kind)
	c.gateway.limits.notes[kind].told(c, kind, kind != limit.Question)
	e := problem.Newf(problem.TooManyRequests, "too many of %s", kind)
	e.RetryAfter = wait
	return e
}

// beyondRoute is the answer to one too many of a route.
func (c *call) beyondRoute(r *route.Route, wait time.Duration, byAddr bool) error {
	c.gateway.metrics.RateLimited(limit.Route)
	c.gateway.limits.notes[limit.Route].told(c, limit.Route, byAddr, "route", r.ID)
	e := problem.Newf(problem.TooManyRequests, "more than the route's limits.rate, %s", r.Limits.Rate)
	e.RetryAfter = wait
	return e
}

// noteEvery is the least time between two lines about one kind.
const noteEvery = time.Minute

// noticed is what is to be said of refusals of one kind.
type noticed struct {
	mu      sync.Mutex
	next    time.Time
	refused int // since the last line
}

// told writes a line, unless there was one in the last minute. It names nobody,
// unless it is likely one of our own proxies; byAddr is whether addresses were
// counted, and not accounts.
func (n *noticed) told(c *call, kind limit.Kind, byAddr bool, more ...any) {
	now := time.Now()
	n.mu.Lock()
	n.refused++
	refused := n.refused
	if now.Before(n.next) {
		n.mu.Unlock()
		return
	}
	n.next, n.refused = now.Add(noteEvery), 0
	n.mu.Unlock()
	log := c.gateway.log.With("kind", string(kind), "refused", refused).With(more...)
	if kind == limit.Question {
		log.Warn("requests are refused because one account asks too often what it may do")
		return
	}
	if !byAddr {
		log.Warn("requests are refused because one account sends too many to a route")
		return
	}
	if peer := peer(c.r); !c.client.Trusted && (peer.IsPrivate() || peer.IsLoopback()) && len(c.r.Header["X-Forwarded-For"]) > 0 {
		log.Warn("requests are refused because too many come from one address, which sends X-Forwarded-For and is not trusted: if it is a proxy of yours, all its users count as one; add it to BFF_TRUSTED_PROXIES",
			"peer", peer.String())
		return
	}
	log.Warn("requests are refused because too many come from one address prefix")
}

// routeRate counts a request for the route by who asks; nil is whoever comes from
// the address. r is nil if no route describes it.
func (c *call) routeRate(r *route.Route, who *principal.Principal) error {
	if r == nil || r.Limits.Rate.IsZero() || c.taken == limit.Route {
		return nil
	}
	c.taken = limit.Route
	var wait time.Duration
	var ok bool
	if callers := c.gateway.limits.callers; who != nil {
		wait, ok = callers.TakeUser(r.ID, who.Provider, who.Subject, r.Limits.Rate)
	} else {
		wait, ok = callers.TakeAddr(r.ID, c.client.Addr, r.Limits.Rate)
	}
	if ok {
		return nil
	}
	return c.beyondRoute(r, wait, who == nil)
}

// enterRoute counts the request among those of its route that are under way, until
// it is over, and refuses it with overloaded if there are too many. Streams stay
// among them.
func (c *call) enterRoute(r *route.Route) error {
	id, most := r.ID, int64(r.Limits.ConcurrentRequests)
	if most <= 0 {
		return nil
	}
	c.leaveRoute() // if it is served again
	busy, ok := c.gateway.limits.routes.Load(id)
	if !ok {
		busy, _ = c.gateway.limits.routes.LoadOrStore(id, new(atomic.Int64))
	}
	c.busy = busy.(*atomic.Int64)
	if c.busy.Add(1) > most {
		return problem.Newf(problem.Overloaded, "route %s: more than %d requests at once", id, most)
	}
	return nil
}

// leaveRoute undoes enterRoute.
func (c *call) leaveRoute() {
	if c.busy != nil {
		c.busy.Add(-1)
		c.busy = nil
	}
}

// bodyLimit is the smaller of the settings' bound and the route's; 0: no bound.
func bodyLimit(settings *Settings, r *route.Route) int64 {
	if settings.BodyBytes > 0 && r.Limits.BodyBytes > 0 {
		return min(settings.BodyBytes, r.Limits.BodyBytes)
	}
	return max(settings.BodyBytes, r.Limits.BodyBytes)
}

// boundRouteBody has a body that is too large refused: at once if it says so, else
// when it turns out.
func (c *call) boundRouteBody(settings *Settings, r *route.Route) error {
	most := bodyLimit(settings, r)
	switch {
	case most <= 0 || c.r.ContentLength == 0:
	case c.r.ContentLength > most:
		return problem.Newf(problem.TooLarge, "route %s: expected a body of at most %d bytes, found %d", r.ID, most, c.r.ContentLength)
	default:
		// On a copy, and with the server's own writer: net/http looks at what it has made
		// itself to find out that a body was not read whole, or is too large, and then
		// lets the answer be read before it closes the connection.
		c.r = c.r.WithContext(c.r.Context())
		c.r.Body = http.MaxBytesReader(c.recorder.ResponseWriter, c.r.Body, most)
	}
	return nil
}
