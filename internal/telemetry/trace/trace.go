package trace

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	oteltrace "go.opentelemetry.io/otel/trace"
)

// scope names who makes the spans.
const scope = "keyway"

// Tracer begins traces. It is safe for concurrent use.
type Tracer struct{ tracer oteltrace.Tracer }

// New has spans kept by what made p.
func New(p oteltrace.TracerProvider) *Tracer { return &Tracer{p.Tracer(scope)} }

// Span is one step. The zero Span is none; each method then does nothing. It is not
// for concurrent use.
type Span struct{ span oteltrace.Span }

// Request begins the span of a request that came in with these headers. Only who is
// trusted says of which trace it is part (W3C Trace Context section 3.2.2.3 lets
// anybody restart it): a stranger would decide what is sampled, and write into
// somebody else's trace.
func (t *Tracer) Request(ctx context.Context, h http.Header, trusted bool) (context.Context, Span) {
	if trusted {
		ctx = told(ctx, h)
	}
	ctx, span := t.tracer.Start(ctx, "request", oteltrace.WithSpanKind(oteltrace.SpanKindServer))
	return ctx, Span{span}
}

// told is ctx with the trace that the headers name, if they name one once.
func told(ctx context.Context, h http.Header) context.Context {
	if len(h["Traceparent"]) != 1 || len(h["Tracestate"]) > 1 {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(h))
}

// Told is what the headers say of a trace, if it is valid and said once: for whoever
// passes it on without a part in it.
func Told(h http.Header) (traceparent, tracestate string) {
	if len(h["Traceparent"]) == 0 {
		return "", ""
	}
	return w3c(told(context.Background(), h))
}

// Client begins the span of a request to another program, below the one of ctx.
func Client(ctx context.Context, name string) (context.Context, Span) {
	return start(ctx, name, oteltrace.SpanKindClient)
}

// Internal begins the span of a step of our own, below the one of ctx.
func Internal(ctx context.Context, name string) (context.Context, Span) {
	return start(ctx, name, oteltrace.SpanKindInternal)
}

func start(ctx context.Context, name string, kind oteltrace.SpanKind) (context.Context, Span) {
	above := oteltrace.SpanFromContext(ctx)
	if !above.SpanContext().IsValid() {
		return ctx, Span{}
	}
	ctx, span := above.TracerProvider().Tracer(scope).Start(ctx, name, oteltrace.WithSpanKind(kind))
	return ctx, Span{span}
}

// On reports whether there is a span: whether it is kept is for the sampler to say.
func (s Span) On() bool { return s.span != nil }

// TraceID is that of the trace, in hexadecimal; empty without one.
func (s Span) TraceID() string {
	if s.span == nil {
		return ""
	}
	return s.span.SpanContext().TraceID().String()
}

// W3C are the values of the headers traceparent and tracestate that tell another
// program that it is part of s; empty without one.
func (s Span) W3C() (traceparent, tracestate string) {
	if s.span == nil {
		return "", ""
	}
	return w3c(oteltrace.ContextWithSpan(context.Background(), s.span))
}

func w3c(ctx context.Context) (traceparent, tracestate string) {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier["traceparent"], carrier["tracestate"]
}

// Inject sets both headers.
func (s Span) Inject(h http.Header) {
	parent, state := s.W3C()
	if parent != "" {
		h["Traceparent"] = []string{parent}
	}
	if state != "" {
		h["Tracestate"] = []string{state}
	}
}

// Name is for a span whose name is known when it ends.
func (s Span) Name(name string) {
	if s.span != nil {
		s.span.SetName(name)
	}
}

// Text sets an attribute, unless the value is empty.
func (s Span) Text(key, value string) {
	if s.span != nil && value != "" {
		s.span.SetAttributes(attribute.String(key, value))
	}
}

// Status sets the status of an HTTP answer; 0: there was none.
func (s Span) Status(status int) {
	if s.span != nil && status != 0 {
		s.span.SetAttributes(attribute.Int("http.response.status_code", status))
	}
}

// Fail says that the step has failed. Kind is one of few, and no text of anybody's;
// empty: it has not.
func (s Span) Fail(kind string) {
	if s.span != nil && kind != "" {
		s.span.SetAttributes(attribute.String("error.type", kind))
		s.span.SetStatus(codes.Error, "")
	}
}

// End ends it.
func (s Span) End() {
	if s.span != nil {
		s.span.End()
	}
}

// Method is the attribute http.request.method, of which only the usual are told.
func Method(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE":
		return method
	}
	return "_OTHER"
}
