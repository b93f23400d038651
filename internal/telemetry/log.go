package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/lmittmann/tint"
)

// NewLogger builds the process's logger. Format is "json", "text" or "auto"
// (text on a terminal, JSON otherwise); level is debug, info, warn or error.
func NewLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level: expected debug, info, warn or error, found %q", level)
	}
	terminal := isTerminal(w)
	switch strings.ToLower(format) {
	case "text":
	case "json":
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l})), nil
	case "auto", "":
		if !terminal {
			return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l})), nil
		}
	default:
		return nil, fmt.Errorf("log format: expected json, text or auto, found %q", format)
	}
	return slog.New(tint.NewTextHandler(w, &tint.Options{Level: l, TimeFormat: "15:04:05.000", NoColor: !terminal})), nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
