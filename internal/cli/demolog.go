package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	"keyway/internal/app"
)

// demoLog is the log of the demo, for whoever sits before it: trouble, and that it is
// over. What is wrong with the policies has a line for each problem, as they quote what
// they found.
type demoLog struct {
	slog.Handler
	least slog.Level
	w     io.Writer
	one   *sync.Mutex // what belongs together is not torn apart
}

// newDemoLog has inner write to w from info on, and lets through what is of the least
// level or ends trouble.
func newDemoLog(inner slog.Handler, least slog.Level, w io.Writer) *slog.Logger {
	return slog.New(demoLog{inner, least, w, new(sync.Mutex)})
}

// Handle implements slog.Handler.
func (d demoLog) Handle(ctx context.Context, r slog.Record) error {
	allClear := r.Message == app.PoliciesUsableAgain || r.Message == app.PoliciesReadableAgain
	if r.Level < d.least && !allClear {
		return nil
	}
	var problems []string
	line := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if found, ok := a.Value.Any().([]string); ok && a.Key == "problems" {
			problems = found
		} else {
			line.AddAttrs(a)
		}
		return true
	})
	d.one.Lock()
	defer d.one.Unlock()
	err := d.Handler.Handle(ctx, line)
	for _, problem := range problems {
		for part := range strings.Lines(problem) {
			_, _ = fmt.Fprintln(d.w, "    "+printable(strings.TrimRight(part, "\n")))
		}
	}
	return err
}

// WithAttrs implements slog.Handler.
func (d demoLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	d.Handler = d.Handler.WithAttrs(attrs)
	return d
}

// WithGroup implements slog.Handler.
func (d demoLog) WithGroup(name string) slog.Handler {
	d.Handler = d.Handler.WithGroup(name)
	return d
}
