package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"keyway/internal/authz"
	"keyway/internal/limit"
	"keyway/internal/oidc"
	"keyway/internal/principal"
	"keyway/internal/problem"
	"keyway/internal/route"
	"keyway/internal/telemetry"
	"keyway/internal/telemetry/trace"
	"keyway/internal/upstream"
)

// Options configure a Gateway.
type Options struct {
	// Current returns the generation to serve with. It is called once for each
	// request, and must not block.
	Current func() *Generation
	Log     *slog.Logger
	Metrics *telemetry.Metrics
	Health  *Health
	// StreamsPerSession bounds how many streams one session holds open; 0: no
	// bound.
	StreamsPerSession int

	// Reread reads everything again that versions of secrets come from: the fleet's
	// board and the sources of what is handed in. When it returns, Current gives
	// what came of it; changed says whether anything did. It is called, for at most
	// 5 s, at most once a second and never twice at once, when a request names a
	// version that its generation lacks; an error means that nobody can know, and is
	// answered 503. nil: never, what is unknown is refused.
	Reread func(ctx context.Context) (changed bool, err error)
	// MayIssue says whether this replica may issue anything new. It may not when it
	// was cut off from its store for so long that the others go on without it: they
	// might not know what it issues with any more. Sign-ins and CSRF tokens then
	// answer 503. It must be quick. nil: always.
	MayIssue func() bool
	// Refused is told of an artefact that was refused and should have been good:
	// secret is csrf-key, ua-hash-salt or session-key; who the session's public id,
	// or the record's key for session-key. It must be quick. May be nil.
	Refused func(secret, version, who string)
	// Traces has spans of requests kept; nil: nobody collects them.
	Traces *trace.Tracer

	// Limiter says when too much comes from an address prefix; nil: it never does.
	Limiter *limit.Limiter
	// OnDecision is told of each decision about a request. It must be quick, and must keep
	// nothing of what the event points to. May be nil.
	OnDecision func(authz.Event)

	// Callers count for the limits of routes; nil: by prefixes of 32 and 64 bits.
	Callers *limit.Callers

	// Revoker has the IdP forget the refresh tokens of sessions that end here. It is
	// lent: whoever made it waits for it. nil: they expire.
	Revoker *oidc.Revoker
}

// Gateway is the public http.Handler. It is safe for concurrent use.
type Gateway struct {
	current func() *Generation
	log     *slog.Logger
	metrics *telemetry.Metrics
	health  *Health
	streams *streams
	own     map[string]endpoint
	under   []under
	rereads *rereads // nil: what is unknown is refused
	issue   func() bool
	refused func(secret, version, who string)
	traces  *trace.Tracer
	busy    atomic.Int64
	limits  *limits
	// strangers is when the log may say again that who asks is not trusted, in
	// nanoseconds since 1970.
	strangers atomic.Int64
	// missed is when it may say again that rights could not be learned.
	missed     atomic.Int64
	onDecision func(authz.Event) // may be nil
	again      chan struct{}     // bounds streams that are decided about again
	revoker    *oidc.Revoker     // may be nil
	// callbacks are the sign-ins that are being finished.
	callbacks singleflight.Group
	// background is what goes on after a response; see Wait.
	background sync.WaitGroup
}

// New builds a Gateway.
func New(o Options) *Gateway {
	g := &Gateway{
		current:    o.Current,
		log:        o.Log,
		metrics:    o.Metrics,
		health:     o.Health,
		streams:    newStreams(o.StreamsPerSession),
		issue:      o.MayIssue,
		refused:    o.Refused,
		traces:     o.Traces,
		limits:     newLimits(o.Limiter, o.Callers),
		onDecision: o.OnDecision,
		again:      make(chan struct{}, againAtOnce),
		revoker:    o.Revoker,
	}
	g.rereads = newRereads(o.Reread, g.beside)
	g.own, g.under = split(g.endpoints())
	return g
}

// Drain makes the replica unready, so that load balancers send users elsewhere.
// Everything is still served.
func (g *Gateway) Drain() { g.health.Stop() }

// EndStreams ends every stream, and lets none begin, so that their clients
// connect to another replica. Other requests finish; seeing to it that they do in
// time is the server's business.
func (g *Gateway) EndStreams() { g.streams.stop() }

// Wait waits for what goes on after the last response.
func (g *Gateway) Wait() { g.background.Wait() }

// beside does what no request ends with, and whose defects must not end those of
// others.
func (g *Gateway) beside(do func()) {
	g.background.Go(func() {
		defer func() {
			if recover() != nil { // not the panic's own text: it may have anything
				g.log.Error("what is done beside requests met a defect; please report it", "stack", string(debug.Stack()))
			}
		}()
		do()
	})
}

// call is one request on its way through. What lives as long as the request is
// part of it, so that it is one allocation.
type call struct {
	gateway  *Gateway
	gen      *Generation         // nil once the request is forwarded
	w        http.ResponseWriter // recorder
	r        *http.Request
	client   Client
	id       string // correlation id
	path     string // escaped, as sent
	query    string // raw, as sent
	event    telemetry.RequestEvent
	recorder telemetry.Recorder
	fixed    *fixedHeaders
	answer   dressed // what an upstream answers into; see dress
	outcome  upstream.Outcome
	who      principal.Principal
	idHeader [1]string // X-Correlation-Id's value
	span     trace.Span
	contract contract
	counted  bool          // among the requests that are served at once
	busy     *atomic.Int64 // of the route, which it is counted in; nil: it is not
	taken    limit.Kind    // what it is counted as already
	flow     string        // step of a flow that the request is, for the metrics; "": none
	// forwarded: the request's body is the proxy's to read, so that it can't be served again.
	forwarded bool
	// settled are the versions that are nobody's if they are unknown now; see settle.
	settled *settled
}

// ServeHTTP takes the request through the chain, and is the one edge at which
// failures become responses, events and metrics.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	gen := g.current()
	c := &call{gateway: g, gen: gen, r: r, client: gen.Settings.client(r), recorder: telemetry.Record(w), fixed: gen.fixed}
	c.w = &c.recorder
	c.id = telemetry.CorrelationID(r.Header, c.client.Trusted)
	c.event = telemetry.RequestEvent{Start: time.Now(), Method: r.Method, CorrelationID: c.id}
	g.metrics.Began(&c.event)
	if g.traces != nil {
		c.trace()
	}
	c.idHeader[0] = c.id
	c.w.Header()["X-Correlation-Id"] = c.idHeader[:]

	err, abort := c.run()
	c.event.Err = err
	if err != nil && !abort {
		c.boundBody()
		if c.contract != statusOnly {
			c.fixed.add(c.w.Header(), c.client.Scheme == "https")
		}
		c.fail(err)
	}
	c.finish()
	if abort {
		// There is no honest end of this response, or nobody to hear it: net/http
		// cuts the connection.
		panic(http.ErrAbortHandler)
	}
}

// run serves the request and says how that went; abort means that nothing more
// can be sent.
func (c *call) run() (err error, abort bool) {
	defer func() {
		switch panicked := recover(); {
		case panicked == nil:
		case panicked == http.ErrAbortHandler:
			// The proxy's way to say that it failed half-way, and why.
			err, abort = c.outcome.Err, true
			if err == nil {
				err = problem.Newf(problem.UpstreamFailed, "response aborted")
			}
		default:
			err, abort = c.gateway.defect(panicked, c.id), c.recorder.Started()
		}
	}()
	defer c.leave()
	defer c.leaveRoute()
	r := c.r
	if err = c.serve(); err != nil {
		err = c.settle(err, r)
	}
	if errors.Is(err, context.Canceled) && c.r.Context().Err() != nil && !c.recorder.Started() {
		// Whatever could not be asked any more: nobody waits for it.
		err = upstream.ErrClientGone
	}
	return err, errors.Is(err, upstream.ErrClientGone)
}

// enter counts the request among those that are served at once. What an
// orchestrator asks is not counted: a busy replica is not a dead one.
func (c *call) enter() error {
	most := c.gen.Settings.ConcurrentRequests
	if most <= 0 {
		return nil
	}
	c.counted = true
	if c.gateway.busy.Add(1) > most {
		return problem.New(problem.Overloaded, nil)
	}
	return nil
}

// leave undoes enter. A stream leaves when it begins: it is idle most of the time,
// and bounded per session.
func (c *call) leave() {
	if c.counted {
		c.counted = false
		c.gateway.busy.Add(-1)
	}
}

// unreadWithin bounds how long net/http may wait, before it sends our answer, for
// a body that nobody is going to read.
const unreadWithin = 2 * time.Second

// boundBody is for answers of ours. Without it a client that announces a body and sends
// none holds its connection, and a stop, for as long as it likes. Also to requests that
// were to be forwarded: the proxy is done with the body when it fails.
func (c *call) boundBody() {
	if c.r.ContentLength != 0 {
		_ = http.NewResponseController(c.w).SetReadDeadline(time.Now().Add(unreadWithin))
	}
}

// client adds what a configuration says of the scheme to what the request does.
func (s *Settings) client(r *http.Request) Client {
	c := s.TrustedProxies.Client(r)
	if s.DefaultScheme != "" && !c.schemeTold {
		c.Scheme = s.DefaultScheme
	}
	if len(s.PublicHosts) > 0 && !slices.Contains(s.PublicHosts, c.Host) {
		c.PublicHost = s.PublicHosts[0]
	}
	return c
}

// serve reads what is asked for, and hands over to whoever answers it.
func (c *call) serve() error {
	c.gen.Settings.CORS.corsHeaders(c.w.Header(), c.r)
	path, query, err := route.SplitTarget(c.r.RequestURI)
	if err != nil {
		c.contract = contractOf(c.r.RequestURI)
		c.w.Header().Set("Connection", "close")
		return ambiguous(err)
	}
	c.path, c.query = path, query
	if own, ok := c.gateway.own[path]; ok {
		return c.serveOwn(own)
	}
	if own, ok := below(c.gateway.under, path); ok {
		return c.serveOwn(own)
	}
	if own, ok := c.access(); ok {
		return c.serveOwn(own)
	}
	return c.serveRoute()
}

func ambiguous(err error) error {
	code := problem.BadRequest
	if a, ok := errors.AsType[*route.AmbiguousError](err); ok {
		switch a.Part {
		case "path":
			code = problem.AmbiguousPath
		case "query":
			code = problem.AmbiguousQuery
		}
	}
	return problem.New(code, err)
}

// defect logs a panic. The stack has function names and addresses, no values; the
// panic's own text may have anything, so it is kept for runtime errors only.
func (g *Gateway) defect(value any, id string) error {
	text := "of a kind that is not printed"
	if err, ok := value.(runtime.Error); ok {
		text = err.Error()
	}
	g.log.Error("a request met a defect and was ended; please report it", "correlation_id", id, "panic", text, "stack", string(debug.Stack()))
	return problem.Newf(problem.Internal, "panic: %s", text)
}

// answerWithin is how long a client may leave an answer of ours unread before it is
// dropped: those that are forwarded have bounds of their own.
const answerWithin = 30 * time.Second

// boundAnswer has what net/http still has of the answer written in time. Whoever sends
// requests and reads nothing would keep a connection and its goroutine for ever.
func (c *call) boundAnswer() {
	if c.outcome.UpstreamStatus != 0 {
		return
	}
	if w, ok := c.recorder.ResponseWriter.(interface{ SetWriteDeadline(time.Time) error }); ok {
		_ = w.SetWriteDeadline(time.Now().Add(answerWithin)) // net/http clears it after each answer
	}
}

// finish counts the request, and writes its line.
func (c *call) finish() {
	c.boundAnswer()
	event := &c.event
	event.Status, event.Bytes = c.recorder.Status(), c.recorder.Bytes()
	event.Duration = time.Since(event.Start)
	switch {
	case event.Err == nil:
	case errors.Is(event.Err, upstream.ErrClientGone):
		event.Status = telemetry.StatusClientGone
	default:
		event.Code = string(problem.CodeOf(event.Err))
	}
	c.endTrace()
	c.gateway.metrics.Request(event)
	if c.flow != "" { // once, however often the request was served
		c.gateway.metrics.Flow(c.flow, event.Duration)
	}
	event.Log(c.r.Context(), c.gateway.log)
}
