package gateway_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	"keyway/internal/demo/idp"
	"keyway/internal/gateway"
	"keyway/internal/telemetry/trace"
	"keyway/internal/threat"
)

const (
	theirTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	theirParent = "00-" + theirTrace + "-00f067aa0ba902b7-01"
)

// traced is a gateway whose spans are kept.
func traced(t *testing.T, options ...option) (*world, *tracetest.SpanRecorder) {
	kept := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(kept))
	t.Cleanup(func() { _ = provider.Shutdown(t.Context()) })
	on := func(w *world) {
		w.options = append(w.options, func(o *gateway.Options) { o.Traces = trace.New(provider) })
	}
	return start(t, append(options, on)...), kept
}

func behindProxy(w *world) {
	w.settings.TrustedProxies = gateway.TrustedProxies{netip.MustParsePrefix("127.0.0.0/8")}
}

// ended waits for spans with this name: the last of them end after the answer.
func ended(t *testing.T, kept *tracetest.SpanRecorder, name string) []sdktrace.ReadOnlySpan {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		var found []sdktrace.ReadOnlySpan
		names := map[string]bool{}
		for _, s := range kept.Ended() {
			names[s.Name()] = true
			if s.Name() == name {
				found = append(found, s)
			}
		}
		if len(found) > 0 {
			return found
		}
		if time.Now().After(deadline) {
			t.Fatalf("no span %q; there are %v", name, slices.Sorted(maps.Keys(names)))
		}
	}
}

func attributes(s sdktrace.ReadOnlySpan) map[string]string {
	all := map[string]string{}
	for _, a := range s.Attributes() {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

func TestARequestIsToldAsSpans(t *testing.T) {
	w, kept := traced(t)
	u := w.user().signIn()
	answer := u.do("GET", "/api/notes?token=hunter2")
	if answer.status != 200 {
		t.Fatal(answer.status, answer.body)
	}
	request := ended(t, kept, "GET notes")[0]
	up := ended(t, kept, "upstream api")[0]
	id := request.SpanContext().TraceID().String()
	if request.SpanKind() != oteltrace.SpanKindServer || up.SpanKind() != oteltrace.SpanKindClient {
		t.Errorf("kinds %v and %v", request.SpanKind(), up.SpanKind())
	}
	if up.Parent().SpanID() != request.SpanContext().SpanID() || up.SpanContext().TraceID() != request.SpanContext().TraceID() {
		t.Error("the upstream's span is not below the request's")
	}
	want := map[string]string{"http.request.method": "GET", "http.route": "notes", "http.response.status_code": "200", "keyway.correlation_id": answer.header.Get("X-Correlation-Id")}
	if got := attributes(request); !maps.Equal(got, want) {
		t.Errorf("the request's span has %v, want %v", got, want)
	}
	want = map[string]string{"http.request.method": "GET", "peer.service": "api", "http.response.status_code": "200"}
	if got := attributes(up); !maps.Equal(got, want) {
		t.Errorf("the upstream's span has %v, want %v", got, want)
	}
	loaded := false
	for _, s := range ended(t, kept, "session.load") {
		loaded = loaded || s.Parent().SpanID() == request.SpanContext().SpanID()
	}
	if !loaded {
		t.Error("the look-up of the session is not below the request's")
	}
	if got, want := w.lastSeen().Header.Get("Traceparent"), fmt.Sprintf("00-%s-%s-01", id, up.SpanContext().SpanID()); got != want {
		t.Errorf("the upstream is told %q, want %q", got, want)
	}
	if line := lineWith(w.log.String(), answer.header.Get("X-Correlation-Id")); !strings.Contains(line, `"trace_id":"`+id+`"`) {
		t.Errorf("the log has no trace_id: %s", line)
	}

	t.Run("the provider", func(t *testing.T) {
		exchange := ended(t, kept, "POST token")[0]
		callback := ended(t, kept, "GET callback")[0]
		if exchange.SpanContext().TraceID() != callback.SpanContext().TraceID() {
			t.Error("the redemption of the code is in another trace than the callback")
		}
		got := attributes(exchange)
		if got["http.response.status_code"] != "200" || got["server.address"] != "127.0.0.1" || got["peer.service"] != "demo" {
			t.Errorf("%v", got)
		}
	})
	t.Run("nothing else is told", func(t *testing.T) {
		known := []string{"http.request.method", "http.route", "http.response.status_code", "keyway.correlation_id", "peer.service", "server.address", "error.type"}
		secret := []string{"hunter2", "u-ada-", "ada@", "Ada", u.cookie("bff_session"), u.cookie("bff_csrf"), "code=", "state="}
		for _, s := range kept.Ended() {
			for key, value := range attributes(s) {
				if !slices.Contains(known, key) {
					t.Errorf("%s has %s", s.Name(), key)
				}
				for _, secret := range secret {
					if secret != "" && strings.Contains(value, secret) {
						t.Errorf("%s: %s tells %q", s.Name(), key, secret)
					}
				}
			}
			if len(s.Events()) > 0 || s.Status().Description != "" {
				t.Errorf("%s has text of an error", s.Name())
			}
		}
	})
}

func lineWith(log, what string) string {
	for line := range strings.Lines(log) {
		if strings.Contains(line, what) && strings.Contains(line, `"msg":"request"`) {
			return line
		}
	}
	return ""
}

func TestFailuresShowInSpans(t *testing.T) {
	w, kept := traced(t)
	w.upstreamAnswers(func(rw http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
	if got := w.user().do("GET", "/public/x"); got.status != 502 {
		t.Fatal(got.status)
	}
	for _, name := range []string{"GET public", "upstream api"} {
		if got := attributes(ended(t, kept, name)[0]); got["error.type"] != "upstream_failed" {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := w.user().do("GET", "/api/notes"); got.status != 401 {
		t.Fatal(got.status)
	}
	// To be signed out is no fault of anybody.
	for _, name := range []string{"GET notes", "session.load"} {
		if got := attributes(ended(t, kept, name)[0]); got["error.type"] != "" {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A stranger does not say of which trace a request is part, whether it is kept, or
// what an upstream gets to know of it.
func TestWhoSaysOfWhichTraceARequestIs(t *testing.T) {
	threat.Covers(t, 34)
	send := []string{"Traceparent", theirParent, "Tracestate", "vendor=a%20b", "Baggage", "user=mallory"}
	seen := func(t *testing.T, w *world, headers ...string) http.Header {
		t.Helper()
		if got := w.user().do("GET", "/public/x", headers...); got.status != 200 {
			t.Fatal(got.status, got.body)
		}
		return w.lastSeen().Header
	}
	t.Run("off, a stranger", func(t *testing.T) {
		if h := seen(t, start(t), send...); h["Traceparent"] != nil || h["Tracestate"] != nil || h["Baggage"] != nil {
			t.Errorf("%v", h)
		}
	})
	t.Run("off, a trusted proxy", func(t *testing.T) {
		w := start(t, behindProxy)
		if h := seen(t, w, send...); h.Get("Traceparent") != theirParent || h.Get("Tracestate") != "vendor=a%20b" || h["Baggage"] != nil {
			t.Errorf("%v", h)
		}
		if h := seen(t, w, "Traceparent", "nonsense"); h["Traceparent"] != nil {
			t.Errorf("%v", h)
		}
	})
	t.Run("on, a stranger", func(t *testing.T) {
		w, kept := traced(t)
		h := seen(t, w, send...)
		if strings.Contains(h.Get("Traceparent"), theirTrace) || h.Get("Traceparent") == "" || h["Tracestate"] != nil || h["Baggage"] != nil {
			t.Errorf("%v", h)
		}
		if s := ended(t, kept, "GET public")[0]; s.Parent().IsValid() {
			t.Errorf("a child of %v", s.Parent())
		}
	})
	t.Run("on, a trusted proxy", func(t *testing.T) {
		w, kept := traced(t, behindProxy)
		h := seen(t, w, send...)
		if !strings.Contains(h.Get("Traceparent"), theirTrace) || h.Get("Traceparent") == theirParent || h.Get("Tracestate") != "vendor=a%20b" {
			t.Errorf("%v", h)
		}
		if s := ended(t, kept, "GET public")[0]; s.Parent().SpanID().String() != "00f067aa0ba902b7" {
			t.Errorf("a child of %v", s.Parent())
		}
		// Twice is nobody's word.
		if h := seen(t, w, append(send, "Traceparent", theirParent)...); strings.Contains(h.Get("Traceparent"), theirTrace) {
			t.Errorf("%v", h)
		}
	})
	t.Run("on, and not sampled", func(t *testing.T) {
		w, kept := traced(t, behindProxy)
		notKept := strings.TrimSuffix(theirParent, "01") + "00"
		if h := seen(t, w, "Traceparent", notKept); !strings.HasPrefix(h.Get("Traceparent"), "00-"+theirTrace) || !strings.HasSuffix(h.Get("Traceparent"), "-00") {
			t.Errorf("%v", h)
		}
		if len(kept.Ended()) != 0 {
			t.Errorf("%d spans are kept", len(kept.Ended()))
		}
	})
}

// A refresh goes on beside the request that needed it, and is part of its trace.
func TestARefreshIsToldAsASpan(t *testing.T) {
	w, kept := traced(t)
	w.idp.SetHooks(&idp.Hooks{Token: func(_ *http.Request, a *idp.Answer) {
		a.Edit(func(body map[string]any) { body["expires_in"] = 0 })
	}})
	u := w.user().signIn()
	w.idp.SetHooks(nil)
	if got := u.do("GET", "/api/notes"); got.status != 200 {
		t.Fatal(got.status, got.body)
	}
	refresh, request := ended(t, kept, "session.refresh")[0], ended(t, kept, "GET notes")[0]
	if refresh.Parent().SpanID() != request.SpanContext().SpanID() {
		t.Error("the refresh is not below the request")
	}
	below := slices.ContainsFunc(ended(t, kept, "POST token"), func(s sdktrace.ReadOnlySpan) bool {
		return s.Parent().SpanID() == refresh.SpanContext().SpanID()
	})
	if !below {
		t.Error("what was asked of the provider is not below the refresh")
	}
}
