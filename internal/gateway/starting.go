package gateway

import (
	"net/http"
	"strings"
	"time"

	"keyway/internal/problem"
	"keyway/internal/telemetry"
)

// Starting serves a listener until there is a Gateway to serve it: who asks learns
// that the process lives, and that it can't serve yet. Whatever else is asked for is
// 503, to be tried again; to /auth/verify, which is read by servers that know no 503,
// it is a no. It is safe for concurrent use.
type Starting struct {
	// Health says what is not there yet; see Health.Starting.
	Health *Health
}

// ServeHTTP implements http.Handler. Connections end with each answer, so that who
// comes again may meet a replica that serves.
func (s Starting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := telemetry.CorrelationID(r.Header, false)
	h := w.Header()
	h.Set("X-Correlation-Id", id)
	h.Set("Connection", "close")
	if r.ContentLength != 0 { // nobody is going to read it; see boundBody
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(unreadWithin))
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		path, _, _ := strings.Cut(r.RequestURI, "?")
		switch path { // as in endpoints
		case "/health/live", "/auth/health/live", "/api/v1/health/live":
			s.Health.Live(w, r)
			return
		case "/health", "/auth/health", "/api/v1/health", "/health/ready", "/auth/health/ready", "/api/v1/health/ready":
			s.Health.Ready(w, r)
			return
		}
	}
	problem.WriteAs(w, id, problem.New(problem.Starting, nil), contractOf(r.RequestURI).status(problem.Starting))
}
