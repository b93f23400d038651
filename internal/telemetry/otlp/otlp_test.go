package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"keyway/internal/telemetry/trace"
	"keyway/internal/testkit/logbuffer"
)

// receiver is a collector that keeps what it is sent.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  []*collector.ExportTraceServiceRequest
	path string
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		var body io.Reader = q.Body
		if q.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(body)
		}
		text, err := io.ReadAll(body)
		request := &collector.ExportTraceServiceRequest{}
		if err == nil {
			err = proto.Unmarshal(text, request)
		}
		if err != nil || q.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("not OTLP: %v, %v", err, q.Header)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got, r.path = append(r.got, request), q.URL.Path
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	return r
}

func env(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func request(t *testing.T, traces *Traces, name string) {
	t.Helper()
	ctx, span := traces.Request(t.Context(), http.Header{}, false)
	_, call := trace.Client(ctx, "POST token")
	call.Status(200)
	call.End()
	span.Name(name)
	span.End()
}

func TestACollectorGetsTheSpans(t *testing.T) {
	for name, at := range map[string]struct {
		endpoint, own, path string
	}{
		"the base URL":       {endpoint: "/", path: "/v1/traces"},
		"a base with a path": {endpoint: "/otel/", path: "/otel/v1/traces"},
		"traces only":        {own: "/somewhere", path: "/somewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			o := Options{Replica: "a1", Log: slog.New(slog.DiscardHandler), Env: env()}
			if at.own != "" {
				o.Env = env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", r.URL+at.own)
			} else {
				o.Endpoint = r.URL + at.endpoint
			}
			traces, err := Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			request(t, traces, "GET notes")
			if err := traces.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(r.got) != 1 || r.path != at.path {
				t.Fatalf("%d requests, at %s", len(r.got), r.path)
			}
			about := r.got[0].ResourceSpans[0]
			found := map[string]string{}
			for _, a := range about.Resource.Attributes {
				found[a.Key] = a.Value.GetStringValue()
			}
			if found["service.name"] != "keyway" || found["service.instance.id"] != "a1" {
				t.Errorf("%v", found)
			}
			for key := range found {
				if strings.HasPrefix(key, "process.") || strings.HasPrefix(key, "host.") {
					t.Errorf("told, and nobody asked: %s", key)
				}
			}
			spans := about.ScopeSpans[0].Spans
			if len(spans) != 2 || spans[0].Name != "POST token" || spans[1].Name != "GET notes" || !bytes.Equal(spans[0].ParentSpanId, spans[1].SpanId) {
				t.Errorf("%v", spans)
			}
		})
	}
}

func TestTheStandardVariablesCount(t *testing.T) {
	r := newReceiver(t)
	t.Setenv("OTEL_SERVICE_NAME", "gateway-eu")
	t.Setenv("OTEL_TRACES_SAMPLER", "always_off")
	open := func() *Traces {
		traces, err := Open(t.Context(), Options{Endpoint: r.URL, Log: slog.New(slog.DiscardHandler), Env: env()})
		if err != nil {
			t.Fatal(err)
		}
		return traces
	}
	off := open()
	request(t, off, "GET dropped")
	if err := off.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_always_on")
	on := open()
	request(t, on, "GET kept")
	if err := on.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.got) != 1 || !strings.Contains(r.got[0].String(), "GET kept") || !strings.Contains(r.got[0].String(), "gateway-eu") {
		t.Errorf("%v", r.got)
	}
}

func TestTracesAreOffUnlessSomebodyWantsThem(t *testing.T) {
	const at = "http://127.0.0.1:4318"
	for name, o := range map[string]Options{
		"no endpoint":   {Env: env()},
		"disabled":      {Endpoint: at, Env: env("OTEL_SDK_DISABLED", "TRUE")},
		"exporter none": {Endpoint: at, Env: env("OTEL_TRACES_EXPORTER", "none")},
	} {
		if traces, err := Open(t.Context(), o); traces != nil || err != nil {
			t.Errorf("%s: %v, %v", name, traces, err)
		}
	}
}

func TestWhatCannotBeIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		o    Options
		want string
	}{
		"no URL":         {Options{Endpoint: "collector:4318", Env: env()}, "OTEL_EXPORTER_OTLP_ENDPOINT: expected a URL"},
		"a password":     {Options{Endpoint: "http://me:hunter2@collector:4318", Env: env()}, "without user and password"},
		"another scheme": {Options{Endpoint: "grpc://collector:4317", Env: env()}, "expected a URL"},
		"gRPC":           {Options{Endpoint: "http://collector:4317", Env: env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")}, "expected http/protobuf"},
		"gRPC, traces":   {Options{Endpoint: "http://collector:4317", Env: env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"},
		"Zipkin":         {Options{Endpoint: "http://collector:4318", Env: env("OTEL_TRACES_EXPORTER", "zipkin")}, "expected otlp or none"},
	} {
		_, err := Open(t.Context(), tc.o)
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A collector that refuses costs one line of log and no request anything.
func TestACollectorThatRefuses(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer server.Close()
	var log logbuffer.Buffer
	traces, err := Open(t.Context(), Options{Endpoint: server.URL, Log: slog.New(slog.NewTextHandler(&log, nil)), Env: env()})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		request(t, traces, "GET notes")
		if err := traces.provider.ForceFlush(t.Context()); err != nil {
			t.Errorf("flush: %v", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := traces.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
	if n := strings.Count(log.String(), "the collector does not take our spans"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}
