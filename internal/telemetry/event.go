package telemetry

import (
	"context"
	"log/slog"
	"time"
)

// RequestEvent is the one line that a request leaves in the log. It has what
// finds a fault, and nothing that identifies a person: no path (ids live in
// paths), no query, no address, no subject. The correlation id leads to the
// upstream's own log, the public session id to whoever it was.
type RequestEvent struct {
	Start         time.Time
	Duration      time.Duration
	Method        string
	Route         string // id of the route, or name of our own endpoint; empty: none matched
	Status        int
	Bytes         int64
	CorrelationID string
	Session       string // public id; empty: nobody
	Code          string // kind of failure (package problem); empty: none
	Err           error  // for the operator; never a token, never a body
	Stream        bool   // it lasted as long as both sides wanted
	TraceID       string // of the trace that it is part of; empty: none is kept

	upstreamStatus int
	upstreamErr    error
}

// Upstream notes what the service behind us answered.
func (e *RequestEvent) Upstream(status int, err error) { e.upstreamStatus, e.upstreamErr = status, err }

// Log writes the event: at error level for our own defects, at warn for failures
// of what we depend on, at info otherwise. It builds nothing when that level is
// off.
func (e *RequestEvent) Log(ctx context.Context, log *slog.Logger) {
	level := slog.LevelInfo
	switch {
	case e.Status == 500 && e.Err != nil:
		level = slog.LevelError
	case e.Status >= 500 && e.Err != nil, e.upstreamErr != nil:
		level = slog.LevelWarn
	}
	if !log.Enabled(ctx, level) {
		return
	}
	// Attributes in an array on the stack: one line costs what its text costs.
	attrs := [...]slog.Attr{
		slog.String("method", methodLabel(e.Method)),
		slog.String("route", e.Route),
		slog.Int("status", e.Status),
		slog.Int64("bytes", e.Bytes),
		slog.Duration("took", e.Duration),
		slog.String("correlation_id", e.CorrelationID),
		{}, {}, {}, {}, {}, {},
	}
	n := 6
	add := func(a slog.Attr) { attrs[n] = a; n++ }
	if e.TraceID != "" {
		add(slog.String("trace_id", e.TraceID))
	}
	if e.Session != "" {
		add(slog.String("session", e.Session))
	}
	if e.Code != "" {
		add(slog.String("code", e.Code))
	}
	if e.Err != nil {
		add(slog.String("error", e.Err.Error()))
	}
	if e.upstreamStatus != 0 && e.upstreamStatus != e.Status {
		add(slog.Int("upstream_status", e.upstreamStatus))
	}
	if e.upstreamErr != nil && e.Err == nil {
		add(slog.String("upstream_error", e.upstreamErr.Error()))
	}
	// Straight to the handler: log would look for its caller, which is always this
	// line, and at the clock, which was just read. A handler's error has nowhere to
	// go; log drops it too.
	record := slog.NewRecord(e.Start.Add(e.Duration), level, "request", 0)
	record.AddAttrs(attrs[:n]...)
	_ = log.Handler().Handle(ctx, record)
}
