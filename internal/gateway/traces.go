package gateway

import (
	"context"
	"errors"

	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/telemetry/trace"
	"keyway/internal/upstream"
)

// trace begins the request's span.
func (c *call) trace() {
	ctx, span := c.gateway.traces.Request(c.r.Context(), c.r.Header, c.client.Trusted)
	c.r, c.span = c.r.WithContext(ctx), span
	c.event.TraceID = span.TraceID()
}

// endTrace says what came of the request. Paths and addresses are not told, as in
// the log.
func (c *call) endTrace() {
	if !c.span.On() {
		return
	}
	method, route := trace.Method(c.r.Method), c.event.Route
	if route == "" {
		route = "none"
	}
	c.span.Name(method + " " + route)
	c.span.Text("http.request.method", method)
	c.span.Text("http.route", route)
	c.span.Text("keyway.correlation_id", c.id)
	c.span.Status(c.event.Status)
	switch {
	case c.event.Status >= 500 || c.event.Status == 0:
		c.span.Fail(kindOf(c.event.Err))
	case c.outcome.Err != nil: // after its answer had begun
		c.span.Fail(kindOf(c.outcome.Err))
	}
	c.span.End()
}

// step begins a span within the request's. Without traces, not even the context is
// asked for one.
func (c *call) step(name string) (context.Context, trace.Span) {
	if !c.span.On() {
		return c.r.Context(), trace.Span{}
	}
	return trace.Internal(c.r.Context(), name)
}

// toUpstream has the upstream told of which trace it is part: of ours, or, without
// one, of what a trusted proxy says. done ends the span.
func (c *call) toUpstream(service string, request *upstream.Request) (done func()) {
	if !c.span.On() {
		if c.client.Trusted {
			request.TraceParent, request.TraceState = trace.Told(c.r.Header)
		}
		return nothing
	}
	ctx, span := trace.Client(c.r.Context(), "upstream "+service)
	c.r = c.r.WithContext(ctx)
	request.TraceParent, request.TraceState = span.W3C()
	return func() {
		span.Text("http.request.method", trace.Method(c.r.Method))
		span.Text("peer.service", service)
		span.Status(c.outcome.UpstreamStatus)
		span.Fail(kindOf(c.outcome.Err))
		span.End()
	}
}

func nothing() {}

// kindOf is what a span may say of a failure; empty: there was none.
func kindOf(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, upstream.ErrClientGone):
		return "client_gone"
	}
	return string(problem.CodeOf(err))
}

// faultOf is kindOf for what is somebody's fault: to be signed out is not.
func faultOf(err error) string {
	if err == nil || problem.CodeOf(err).Status() < 500 {
		return ""
	}
	return kindOf(err)
}

// refreshFault says how a refresh has failed; empty: it has not.
func refreshFault(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, oidc.ErrGrantGone):
		return "grant_gone"
	case errors.Is(err, oidc.ErrUnavailable):
		return "unavailable"
	}
	return "failed"
}
