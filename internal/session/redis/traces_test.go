package redis_test

import (
	"net/http"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"keyway/internal/telemetry/trace"
	"keyway/internal/testkit/redisserver"
)

// A trip to Redis is a step of the request that it is for, and says nothing of what
// was asked for.
func TestATripIsASpan(t *testing.T) {
	s := open(t, redisserver.Start(t).URL())
	k := create(t, s)
	kept := tracetest.NewSpanRecorder()
	tracer := trace.New(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(kept)))
	ctx, request := tracer.Request(t.Context(), http.Header{}, false)
	if _, err := s.Get(ctx, k); err != nil {
		t.Fatal(err)
	}
	request.End()
	spans := kept.Ended()
	if len(spans) != 2 || spans[0].Name() != "redis" || spans[0].Parent().SpanID() != spans[1].SpanContext().SpanID() {
		t.Fatalf("%v", spans)
	}
	for _, a := range spans[0].Attributes() {
		if a.Key != "db.system.name" || strings.Contains(a.Value.String(), "test:") {
			t.Errorf("it has %v", a)
		}
	}
}
