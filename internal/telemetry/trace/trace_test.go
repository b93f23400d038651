package trace

import (
	"context"
	"net/http"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// Off is what most run with: it must cost next to nothing.
func TestWithoutTracesNothingHappens(t *testing.T) {
	ctx := t.Context()
	h := http.Header{}
	n := testing.AllocsPerRun(1000, func() {
		below, span := Client(ctx, "redis")
		span.Text("db.system.name", "redis")
		span.Status(200)
		span.Fail("unavailable")
		span.Inject(h)
		span.Name("x")
		span.End()
		if below != ctx || span.On() || span.TraceID() != "" {
			t.Error("there is a span")
		}
		if a, b := Told(h); a+b != "" {
			t.Error("something is told")
		}
	})
	if n > 0 || len(h) > 0 {
		t.Errorf("%v allocations, %v", n, h)
	}
}

func TestOnlyAValidTraceparentIsTold(t *testing.T) {
	for value, valid := range map[string]bool{
		parent: true,
		"":     false,
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01": false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01": false,
		"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01": false,
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01": false,
		parent + "-more": false,
		parent + "\r\nX": false,
		"'; drop table":  false,
	} {
		got, _ := Told(http.Header{"Traceparent": {value}})
		if valid != (got == value && got != "") || !valid && got != "" {
			t.Errorf("%q: told %q", value, got)
		}
	}
	if got, _ := Told(http.Header{"Traceparent": {parent, parent}}); got != "" {
		t.Errorf("said twice: told %q", got)
	}
	if got, state := Told(http.Header{"Traceparent": {parent}, "Tracestate": {"a=1,b=2"}}); got != parent || state != "a=1,b=2" {
		t.Errorf("told %q, %q", got, state)
	}
}

func FuzzTold(f *testing.F) {
	f.Add(parent, "a=1")
	f.Add("00-x", "=")
	f.Fuzz(func(t *testing.T, traceparent, tracestate string) {
		got, state := Told(http.Header{"Traceparent": {traceparent}, "Tracestate": {tracestate}})
		for _, b := range []byte(got + state) {
			if b < ' ' || b > '~' {
				t.Errorf("%q and %q are no header values", got, state)
			}
		}
		if len(got) != 0 && len(got) != len(parent) || got == "" && state != "" {
			t.Errorf("told %q, %q", got, state)
		}
	})
}

func TestSpansAreBelowTheOneOfTheirContext(t *testing.T) {
	kept := tracetest.NewSpanRecorder()
	tracer := New(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(kept)))
	ctx, request := tracer.Request(t.Context(), http.Header{"Traceparent": {parent}}, false)
	step, inner := Internal(ctx, "session.refresh")
	_, call := Client(step, "token")
	h := http.Header{}
	call.Inject(h)
	call.Fail("")
	call.End()
	inner.Fail("unavailable")
	inner.End()
	request.Name("GET notes")
	request.End()
	spans := kept.Ended()
	if len(spans) != 3 || spans[2].Name() != "GET notes" || spans[2].Parent().IsValid() {
		t.Fatalf("%v", spans)
	}
	for i := range 2 {
		if spans[i].Parent().SpanID() != spans[i+1].SpanContext().SpanID() {
			t.Errorf("%s is not below %s", spans[i].Name(), spans[i+1].Name())
		}
	}
	if got, _ := Told(h); got != "00-"+request.TraceID()+"-"+spans[0].SpanContext().SpanID().String()+"-01" {
		t.Errorf("told %q", got)
	}
	if spans[0].Status().Code == spans[1].Status().Code {
		t.Error("a failure does not show")
	}
	// What outlives the request is still part of it.
	if _, late := Internal(context.WithoutCancel(step), "late"); late.TraceID() != request.TraceID() {
		t.Error("another trace")
	}
}

func TestMethod(t *testing.T) {
	if Method("GET") != "GET" || Method("get") != "_OTHER" || Method("PROPFIND") != "_OTHER" {
		t.Error("methods are not bounded")
	}
}
