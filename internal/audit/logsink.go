package audit

import (
	"context"
	"log/slog"
)

// LogSink writes each entry as a log line: "audit", or "decision" for those that are
// in no chain, which have no seq and no hash.
type LogSink struct{ log *slog.Logger }

// NewLogSink writes to log.
func NewLogSink(log *slog.Logger) *LogSink { return &LogSink{log} }

var _ Sink = (*LogSink)(nil)

// Name implements Sink.
func (*LogSink) Name() string { return "log" }

// Deliver implements Sink.
func (s *LogSink) Deliver(ctx context.Context, entries []Entry) (int, error) {
	for _, e := range entries {
		attrs := make([]slog.Attr, 0, 16)
		if e.Seq > 0 {
			attrs = append(attrs, slog.Uint64("seq", e.Seq))
		}
		attrs = append(attrs, slog.String("id", e.ID), slog.Time("at", e.At), slog.String("type", e.Type))
		for _, a := range []struct{ key, value string }{
			{"by", e.Actor}, {"of", e.Replica}, {"secret", e.Secret}, {"rotation", e.Rotation},
			{"from", e.From}, {"to", e.To}, {"outcome", e.Outcome}, {"detail", e.Detail}, {"data", string(e.Data)},
		} {
			if a.value != "" {
				attrs = append(attrs, slog.String(a.key, a.value))
			}
		}
		if e.Seq == 0 {
			s.log.LogAttrs(ctx, slog.LevelInfo, "decision", attrs...)
			continue
		}
		s.log.LogAttrs(ctx, slog.LevelInfo, "audit", append(attrs, slog.String("hash", e.Hash()))...)
	}
	return len(entries), nil
}
