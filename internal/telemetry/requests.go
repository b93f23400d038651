package telemetry

import (
	"maps"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// requestKey names a series. All of it is bounded: methods and statuses by the
// functions below, routes by the configuration.
type requestKey struct {
	method, route string
	status        int
}

// requestCounts are the metrics of one series, found once.
type requestCounts struct {
	total    prometheus.Counter
	duration prometheus.Observer
	verify   prometheus.Observer // nil for all but /auth/verify
	probe    bool                // asked by an orchestrator, and nobody's request
}

// requestSeries finds what a request counts in by one look into a map that is
// never changed, instead of two by label values under a lock. New series are rare:
// the map is copied for them.
type requestSeries struct {
	mu   sync.Mutex
	seen atomic.Pointer[map[requestKey]requestCounts]
}

func (s *requestSeries) find(key requestKey, resolve func(requestKey) requestCounts) requestCounts {
	if seen := s.seen.Load(); seen != nil {
		if counts, ok := (*seen)[key]; ok {
			return counts
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[requestKey]requestCounts{}
	if seen := s.seen.Load(); seen != nil {
		next = maps.Clone(*seen)
	}
	counts := resolve(key)
	next[key] = counts
	s.seen.Store(&next)
	return counts
}

// Began counts a request that has come in, at e.Start. Each is ended by
// [Metrics.Request].
func (m *Metrics) Began(e *RequestEvent) { m.series.begin(e.Start) }

// Request counts a finished request.
func (m *Metrics) Request(e *RequestEvent) {
	counts := m.known.find(requestKey{methodLabel(e.Method), e.Route, boundStatus(e.Status)}, m.resolve)
	seconds := e.Duration.Seconds()
	counts.total.Inc()
	counts.duration.Observe(seconds)
	if counts.verify != nil {
		counts.verify.Observe(seconds)
	}
	now := e.Start.Add(e.Duration) // which the caller has just read
	if counts.probe {
		m.series.end(now)
		return
	}
	took := e.Duration
	if e.Stream {
		took = -1
	}
	m.series.observe(now, e.Status, took)
}

func (m *Metrics) resolve(key requestKey) requestCounts {
	route := key.route
	if route == "" {
		route = "none"
	}
	counts := requestCounts{
		total:    m.requests.WithLabelValues(key.method, route, statusLabel(key.status)),
		duration: m.requestDuration.WithLabelValues(key.method, route),
	}
	counts.probe = route == "health_live" || route == "health_ready"
	if route == "verify" {
		counts.verify = m.verifyDuration.WithLabelValues(statusLabel(key.status))
	}
	return counts
}

// StatusClientGone is how a request is logged and counted whose client went away
// before there was an answer. It is never sent.
const StatusClientGone = 499

// boundStatus keeps statuses that have a name, and of others the class only: an
// upstream may answer with any of 900.
func boundStatus(status int) int {
	switch {
	case http.StatusText(status) != "" || status == StatusClientGone:
		return status
	case status >= 100 && status <= 599:
		return status / 100
	}
	return 0
}

// statusLabel is the label for a status that boundStatus has seen.
func statusLabel(status int) string {
	switch {
	case status == 0:
		return "none"
	case status < 10:
		return strconv.Itoa(status) + "xx"
	}
	return strconv.Itoa(status)
}

// methodLabel bounds what anybody can write into a label or a log.
func methodLabel(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return method
	}
	return "other"
}
