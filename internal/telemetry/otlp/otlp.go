package otlp

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"keyway/internal/telemetry/trace"
)

// Options of [Open].
type Options struct {
	// Endpoint is the collector's base URL, http or https: OTEL_EXPORTER_OTLP_ENDPOINT.
	Endpoint string
	// Env looks up the variables by which traces are switched. The others that the
	// OpenTelemetry specification names are read by its SDK, from the process's
	// environment.
	Env func(string) (string, bool)
	// Replica is the id of this process.
	Replica string
	Log     *slog.Logger
}

// Traces are on until Close.
type Traces struct {
	*trace.Tracer
	provider *sdktrace.TracerProvider
}

const (
	disabled       = "OTEL_SDK_DISABLED"
	exporters      = "OTEL_TRACES_EXPORTER"
	endpoint       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	tracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	protocol       = "OTEL_EXPORTER_OTLP_PROTOCOL"
	tracesProtocol = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
)

// Open makes traces ready, or returns nil if nobody wants them. It does not ask the
// collector for anything: one that is away is no reason not to start.
func Open(ctx context.Context, o Options) (*Traces, error) {
	env := func(name string) string {
		value, _ := o.Env(name)
		return strings.TrimSpace(value)
	}
	if o.Endpoint == "" && env(tracesEndpoint) == "" || strings.EqualFold(env(disabled), "true") {
		return nil, nil
	}
	switch e := env(exporters); e {
	case "", "otlp":
	case "none":
		return nil, nil
	default:
		return nil, fmt.Errorf("%s: expected otlp or none, found %.40q", exporters, e)
	}
	for _, name := range []string{tracesProtocol, protocol} {
		if p := env(name); p != "" && p != "http/protobuf" {
			return nil, fmt.Errorf("%s: expected http/protobuf, which is all that is spoken here, found %.40q; collectors take it at port 4318", name, p)
		}
	}
	var options []otlptracehttp.Option
	address, name := env(tracesEndpoint), tracesEndpoint // all of it, by the specification
	if address == "" {
		address, name = o.Endpoint, endpoint // to which the signal's path is added
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("%s: expected a URL such as http://collector:4318, without user and password, found another form", name)
	}
	if name == endpoint {
		u = u.JoinPath("v1", "traces")
	}
	options = append(options, otlptracehttp.WithEndpointURL(u.String()))
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	attributes := []attribute.KeyValue{attribute.String("service.name", "keyway"), attribute.String("service.instance.id", o.Replica)}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		attributes = append(attributes, attribute.String("service.version", info.Main.Version))
	}
	about, err := resource.New(ctx, resource.WithAttributes(attributes...), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: expected name=value,name=value: %w", err)
	}
	return from(sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithBatcher(&telling{SpanExporter: exporter, log: o.Log}))), nil
}

func from(p *sdktrace.TracerProvider) *Traces { return &Traces{Tracer: trace.New(p), provider: p} }

// Close hands over what waits, until ctx ends.
func (t *Traces) Close(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// telling says what goes wrong in our own log, where the SDK would use a global
// one, and seldom: whoever has traces off for an hour needs one line.
type telling struct {
	sdktrace.SpanExporter
	log *slog.Logger

	mu   sync.Mutex
	said time.Time
}

const sayEvery = time.Minute

func (t *telling) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := t.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		return nil
	}
	t.mu.Lock()
	tell := time.Since(t.said) >= sayEvery
	if tell {
		t.said = time.Now()
	}
	t.mu.Unlock()
	if tell {
		t.log.Warn("the collector does not take our spans; they are dropped", "spans", len(spans), "error", err.Error())
	}
	return nil
}
