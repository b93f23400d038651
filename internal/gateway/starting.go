package gateway

import (
	"context"
	"net/http"
	"strings"
	"time"

	"keyway/internal/problem"
	"keyway/internal/telemetry"
)

// Starting serves a listener until there is a Gateway to serve it: who asks learns
// that the process lives, and that it can't serve yet. Whatever else is asked for waits
// a little, and is then 503, to be tried again; to /auth/verify, which is read by servers
// that know no 503, it is a no. It is safe for concurrent use.
type Starting struct {
	// Health says what is not there yet; see Health.Starting.
	Health *Health
	// Current is the generation that is going to serve, or nil as long as there is none;
	// may be nil. Its keys are published from then on: what goes on beside requests may
	// sign before this replica serves, and whom it signs for may ask at once.
	Current func() *Generation
	// Await returns what is going to serve, or nil if ctx ends before that; may be nil.
	// Whoever balances between replicas may send requests as soon as we take connections,
	// and passes a 503 on to the user.
	Await func(ctx context.Context) http.Handler
}

// startingWithin is how long a request is held for a replica that may be about to serve.
// The last that a start waits for is bounded by three seconds.
const startingWithin = 5 * time.Second

// ServeHTTP implements http.Handler.
func (s Starting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		path, _, _ := strings.Cut(r.RequestURI, "?")
		switch path { // as in endpoints
		case "/health/live", "/auth/health/live", "/api/v1/health/live":
			s.answer(w, r, s.Health.Live)
			return
		case "/health", "/auth/health", "/api/v1/health", "/health/ready", "/auth/health/ready", "/api/v1/health/ready":
			s.answer(w, r, s.Health.Ready)
			return
		case "/.well-known/jwks.json":
			if keys := s.keys(); keys != nil {
				s.answer(w, r, keys.ServeHTTP)
				return
			}
		}
	}
	if s.Await != nil {
		ctx, cancel := context.WithTimeout(r.Context(), startingWithin)
		next := s.Await(ctx)
		cancel()
		if next != nil {
			next.ServeHTTP(w, r)
			return
		}
	}
	s.answer(w, r, func(w http.ResponseWriter, r *http.Request) {
		problem.WriteAs(w, w.Header().Get("X-Correlation-Id"), problem.New(problem.Starting, nil), contractOf(r.RequestURI).status(problem.Starting))
	})
}

// answer ends the connection, so that who comes again may meet a replica that serves.
func (s Starting) answer(w http.ResponseWriter, r *http.Request, with http.HandlerFunc) {
	h := w.Header()
	h.Set("X-Correlation-Id", telemetry.CorrelationID(r.Header, false))
	h.Set("Connection", "close")
	if r.ContentLength != 0 { // nobody is going to read it; see boundBody
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(unreadWithin))
	}
	with(w, r)
}

// keys is nil before there are any.
func (s Starting) keys() http.Handler {
	if s.Current == nil {
		return nil
	}
	if gen := s.Current(); gen != nil {
		return gen.JWKS
	}
	return nil
}
