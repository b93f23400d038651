package cli

import (
	"log"
	"log/slog"
	"strings"
)

// divertStandardLog sends what libraries print through the standard library's own
// logger to l, at debug. It is for the whole process, so only the commands that
// serve do it, when they start.
func divertStandardLog(l *slog.Logger) {
	log.SetFlags(0)
	log.SetPrefix("")
	log.SetOutput(standardLog{l})
}

type standardLog struct{ log *slog.Logger }

// Write takes one message. What net/http's transport quotes of what a peer sent
// unasked ("Unsolicited response received on idle HTTP channel starting with …")
// may be somebody's answer, with all that is in it.
func (s standardLog) Write(line []byte) (int, error) {
	const quotes = "starting with"
	message := strings.TrimSpace(string(line))
	if before, _, found := strings.Cut(message, quotes); found {
		message = before + quotes + " (left out)"
	}
	s.log.Debug("standard log", "message", message)
	return len(line), nil
}
