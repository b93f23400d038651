package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"keyway/internal/authz"
	"keyway/internal/principal"
	"keyway/internal/problem"
	"keyway/internal/route"
	"keyway/internal/upstream"
)

// Authorizer says who may do what. *authz.Enforcer is one.
type Authorizer interface {
	// Decide says whether who may do what a request asks for. Only a Verdict with Allow
	// and no error lets it pass.
	Decide(ctx context.Context, who *principal.Principal, ask *authz.Ask, f authz.Facts, at authz.Circumstances) (authz.Verdict, error)
	// DecideAll says which of several things who may do, in their order.
	DecideAll(ctx context.Context, who *principal.Principal, items []authz.Item, at authz.Circumstances) ([]authz.Verdict, error)
	// Changed is closed when what was decided before is worth nothing any more. It is
	// another channel then.
	Changed() <-chan struct{}
	// Subject is who, as a decision point is told.
	Subject(who *principal.Principal) authz.Entity
}

// facts are what a request says. They are the request's that is forwarded: what is
// asked about is what is done.
type facts struct {
	match   route.Match
	query   string
	body    []byte
	bodyErr error // why there is no body to be read
}

// Param implements authz.Facts.
func (f *facts) Param(name string) (string, bool) { return f.match.Param(name) }

// RawQuery implements authz.Facts.
func (f *facts) RawQuery() string { return f.query }

// Body implements authz.Facts.
func (f *facts) Body() ([]byte, error) { return f.body, f.bodyErr }

// factsPool saves an allocation for each decision.
var factsPool = sync.Pool{New: func() any { return new(facts) }}

// decidedRequest is what was decided about a request, so that a stream can be decided about
// again. The zero value: nobody was asked.
type decidedRequest struct {
	item    authz.Item
	at      authz.Circumstances
	route   string
	changed <-chan struct{}          // closed when it may be decided otherwise
	holder  chan principal.Principal // the latest that is known of who has the stream
}

// principalListener is what to call with another principal, who has the stream from
// then on; nil: nobody wants to know. One may call it at a time.
func (d *decidedRequest) principalListener() func(principal.Principal) {
	if d.holder == nil {
		return nil
	}
	holder := d.holder
	return func(who principal.Principal) {
		select {
		case <-holder: // nobody has looked at it yet
		default:
		}
		holder <- who
	}
}

// closed refuses what can't be decided about, whoever asks.
func (c *call) closed(r *route.Route) error {
	switch {
	case r.Authz == route.AuthzNone || r.Authz == "":
	case r.Authz != route.AuthzPDP:
		return problem.Newf(problem.Forbidden, "route %s: authz %q is not available", r.ID, r.Authz)
	case c.gen.Settings.AuthzDisabled:
	case c.gen.Authz == nil:
		return problem.Newf(problem.Forbidden, "route %s: authz %q, and no decision point to ask", r.ID, r.Authz)
	case r.Auth == route.AuthNone:
		return problem.Newf(problem.Forbidden, "route %s: authz %q, and nobody to ask about", r.ID, r.Authz)
	}
	return nil
}

// authorize asks whether c.who may do what a request asks for, where its route wants
// that. It fails with forbidden whatever the reason; only the log is told. A body
// that decides is read, and is there to be read again.
func (c *call) authorize(q question, match *route.Match) (decidedRequest, error) {
	r := match.Route
	if r == nil || r.Authz == route.AuthzNone || r.Authz == "" || c.gen.Settings.AuthzDisabled {
		return decidedRequest{}, nil
	}
	if err := c.closed(r); err != nil {
		return decidedRequest{}, err
	}
	event := authz.Event{Decision: authz.Denied, Route: r.ID, Who: &c.who, CorrelationID: c.id}
	ask := c.gen.Asks.Of(r, q.method)
	if ask == nil {
		event.Reason = "no mapping"
		c.gateway.reportDecision(&event)
		return decidedRequest{}, problem.Newf(problem.Forbidden, "route %s: no mapping says what to ask about %s", r.ID, q.method)
	}
	event.Resource, event.Action = ask.Resource(), ask.Action()
	f := factsPool.Get().(*facts)
	f.match, f.query = *match, q.query
	defer func() {
		*f = facts{}
		factsPool.Put(f)
	}()
	if ask.ReadsBody() {
		var err error
		if f.body, f.bodyErr, err = c.bodyToDecide(); err != nil {
			return decidedRequest{}, err
		}
	}
	d := decidedRequest{route: r.ID, at: authz.Circumstances{Address: c.client.Addr, CorrelationID: c.id}}
	if r.Streaming {
		d.changed = c.gen.Authz.Changed() // before: what changes from now on is seen
		d.holder = make(chan principal.Principal, 1)
	}
	c.decidable()
	ctx, done := c.step("authz.decide")
	began := time.Now()
	v, err := c.gen.Authz.Decide(ctx, &c.who, ask, f, d.at)
	event.Took = time.Since(began)
	done.Fail(faultOf(err))
	done.End()
	d.item = authz.Item{Action: ask.Action(), Resource: v.Resource}
	if err := c.gateway.judge(&event, &v, err); err != nil {
		if c.r.Context().Err() != nil {
			return decidedRequest{}, upstream.ErrClientGone
		}
		return decidedRequest{}, err
	}
	return d, nil
}

// judge is nil if, and only if, a verdict lets pass; and reports the decision.
func (g *Gateway) judge(event *authz.Event, v *authz.Verdict, err error) error {
	event.ID, event.Reason, event.Cached, event.Context = v.Resource.ID, v.Reason, v.Cached, v.Context
	switch {
	case err != nil:
		event.Decision = authz.NoAnswer
		if event.Reason == "" {
			event.Reason = "no answer"
		}
	case v.Allow:
		event.Decision = authz.Allowed
	}
	g.reportDecision(event)
	switch {
	case err != nil:
		// Not wrapped: whatever went wrong there is no failure of another kind here.
		return problem.Newf(problem.Forbidden, "route %s: %s %s: %s: %v", event.Route, event.Action, event.Resource, event.Reason, err)
	case !v.Allow:
		return problem.Newf(problem.Forbidden, "route %s: %s %s: denied: %s%s", event.Route, event.Action, event.Resource, event.Reason, withoutRoles(event.Who))
	}
	return nil
}

// withoutRoles is for the log, where an operator sees 403 for everybody: that somebody
// has no role at all is no personal data, and most often no claim gives any.
func withoutRoles(who *principal.Principal) string {
	if who == nil || len(who.Roles) > 0 {
		return ""
	}
	return " (the subject has no roles)"
}

// reportDecision tells the observer of decisions.
func (g *Gateway) reportDecision(event *authz.Event) {
	if g.onDecision != nil {
		g.onDecision(*event)
	}
}

// againWithin bounds deciding about a stream again, and againAtOnce how many are
// decided about at once: when policies change, all are. Who has had no turn within
// againTurn has no answer either, or streams would go on undecided for as long as the
// decision point lets the others wait.
const (
	againWithin = time.Second
	againAtOnce = 64
	againTurn   = 5 * time.Second
)

// errNotAnyMore ends a stream.
var errNotAnyMore = fmt.Errorf("gateway: %w", upstream.ErrSessionEnded)

// keepDeciding is a context for a stream that was decided about. It ends when
// whoever has it may not have it any more: when claims bring another principal, and
// when the decision point's policies have changed, it is decided again. Like the
// first time, only an allow lets it go on. It keeps no generation.
func (g *Gateway) keepDeciding(ctx context.Context, d decidedRequest, who principal.Principal) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	g.background.Go(func() {
		defer func() {
			if panicked := recover(); panicked != nil { // it must not go on undecided
				_ = g.defect(panicked, d.at.CorrelationID)
				cancel(errNotAnyMore)
			}
		}()
		for {
			select {
			case <-ctx.Done():
				return
			case who = <-d.holder:
			case <-d.changed:
			}
			gen := g.current()
			switch {
			case gen.Authz != nil:
				d.changed = gen.Authz.Changed()
			case !gen.Settings.AuthzDisabled:
				cancel(errNotAnyMore)
				return
			default:
				d.changed = nil
			}
			if !gen.Settings.AuthzDisabled && !g.decideAgain(ctx, gen.Authz, &d, &who) {
				cancel(errNotAnyMore)
				return
			}
		}
	})
	return ctx, func() { cancel(nil) }
}

// decideAgain reports whether a stream may go on.
func (g *Gateway) decideAgain(ctx context.Context, authorizer Authorizer, d *decidedRequest, who *principal.Principal) bool {
	all, took, err := g.askAgain(ctx, authorizer, d, who)
	if ctx.Err() != nil {
		return true // nobody waits for it
	}
	v := authz.Verdict{Resource: d.item.Resource}
	if len(all) == 1 {
		v = all[0]
	} else if err == nil {
		err = authz.ErrAnswer
	}
	event := authz.Event{
		Decision: authz.Denied, Resource: d.item.Resource.Type, Action: d.item.Action, Route: d.route, Who: who,
		CorrelationID: d.at.CorrelationID, Took: took, Again: true,
	}
	if err := g.judge(&event, &v, err); err != nil {
		g.log.Info("a stream ends, because who has it may not have it any more", "route", d.route, "correlation_id", d.at.CorrelationID, "session", who.SessionID, "reason", err.Error())
		return false
	}
	return true
}

var errNoTurn = errors.New("gateway: too many streams are decided about again, and the decision point takes long")

// askAgain asks when it is this stream's turn.
func (g *Gateway) askAgain(ctx context.Context, authorizer Authorizer, d *decidedRequest, who *principal.Principal) (all []authz.Verdict, took time.Duration, err error) {
	turn := time.NewTimer(againTurn)
	defer turn.Stop()
	select {
	case g.again <- struct{}{}:
		defer func() { <-g.again }()
	case <-turn.C:
		return nil, 0, errNoTurn
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	asking, cancel := context.WithTimeout(ctx, againWithin)
	defer cancel()
	began := time.Now()
	all, err = authorizer.DecideAll(asking, who, []authz.Item{d.item}, d.at)
	return all, time.Since(began), err
}
