package app

import (
	"context"
	"time"

	"keyway/internal/config"
	"keyway/internal/telemetry/otlp"
	"keyway/internal/telemetry/trace"
)

// lastSpans bounds how long a stop waits for a collector to take what is left.
const lastSpans = 5 * time.Second

func (r *resources) openTraces(ctx context.Context, c *config.Config, env func(string) (string, bool), replica string) (err error) {
	r.traces, err = otlp.Open(ctx, otlp.Options{Endpoint: c.Telemetry.OTLPEndpoint, Env: env, Replica: replica, Log: r.log})
	if err != nil || r.traces == nil {
		return err
	}
	r.close = append(r.close, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), lastSpans)
		defer cancel()
		_ = r.traces.Close(ctx) // it has complained itself
		return nil
	})
	return nil
}

// tracer is nil when traces are off.
func (r *resources) tracer() *trace.Tracer {
	if r.traces == nil {
		return nil
	}
	return r.traces.Tracer
}
