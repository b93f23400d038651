package telemetry

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"keyway/internal/keyring"
)

// Metrics counts. Its names are those that this kind of gateway has always had,
// so that dashboards go on working. Safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	requests        *prometheus.CounterVec
	requestDuration *prometheus.HistogramVec

	sessionsCreated   prometheus.Counter
	sessionsDestroyed *prometheus.CounterVec
	bindingFailures   *prometheus.CounterVec
	verifyDuration    *prometheus.HistogramVec
	flowDuration      *prometheus.HistogramVec
	tokenRefresh      *prometheus.CounterVec
	idpRequests       *prometheus.CounterVec
	clientAuth        *prometheus.CounterVec
	csrfViolations    *prometheus.CounterVec
	jwksFetches       *prometheus.CounterVec
	secretVersion     *prometheus.GaugeVec
}

// fast are buckets for what takes microseconds to seconds.
var fast = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// slow are buckets for what waits for people and peers.
var slow = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// NewMetrics builds the metrics on a registry of their own.
func NewMetrics() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		m.registry.MustRegister(v)
		return v
	}
	m.requests = counter("http_requests_total", "Requests on the public listener.", "method", "route", "status")
	m.requestDuration = histogram("http_request_duration_seconds", "Time from the first byte in to the last byte out.", fast, "method", "route")
	m.sessionsCreated = counter("bff_sessions_created_total", "Sessions begun by a sign-in.").WithLabelValues()
	m.sessionsDestroyed = counter("bff_sessions_destroyed_total", "Sessions ended by this replica, by reason.", "reason")
	m.bindingFailures = counter("bff_session_binding_failures_total", "Requests with a session that is bound elsewhere.", "reason")
	m.verifyDuration = histogram("bff_verify_duration_seconds", "Time to answer /auth/verify.", fast, "status")
	m.flowDuration = histogram("bff_oauth_flow_duration_seconds", "Time that a step of a flow took.", slow, "flow_type")
	m.tokenRefresh = counter("bff_token_refresh_total", "Access tokens renewed, or not.", "service", "status")
	m.idpRequests = counter("bff_idp_requests_total", "Requests to the identity provider.", "endpoint", "status")
	m.clientAuth = counter("bff_client_auth_total", "Client authentications, by credential version and outcome.", "idp", "version", "outcome")
	m.csrfViolations = counter("bff_csrf_violations_total", "State-changing requests that were refused.", "reason")
	m.jwksFetches = counter("bff_jwks_fetches_total", "Fetches of our public keys, by kind of client.", "client")
	m.secretVersion = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "bff_secret_version_info", Help: "1 for each version of a secret that this replica holds.",
	}, []string{"secret", "version", "state"})
	m.registry.MustRegister(m.secretVersion, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics. It belongs on the admin listener.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// ActiveSessions has the number of sessions asked for when metrics are fetched.
func (m *Metrics) ActiveSessions(count func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "bff_active_sessions_total", Help: "Sessions that live now, in the store.",
	}, count))
}

// SecretAges has the age of each secret's active version computed when metrics
// are fetched.
func (m *Metrics) SecretAges(rings func() []keyring.Ring) {
	m.registry.MustRegister(&ages{rings: rings})
}

// Secrets publishes which versions this replica holds.
func (m *Metrics) Secrets(rings []keyring.Ring) {
	m.secretVersion.Reset()
	for _, ring := range rings {
		for v := range ring.All() {
			m.secretVersion.WithLabelValues(ring.Name(), v.ID, string(v.State)).Set(1)
		}
	}
}

// Request counts a finished request.
func (m *Metrics) Request(e *RequestEvent) {
	method, route := methodLabel(e.Method), e.Route
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(method, route, statusLabel(e.Status)).Inc()
	m.requestDuration.WithLabelValues(method, route).Observe(e.Duration.Seconds())
	if e.Route == "verify" {
		m.verifyDuration.WithLabelValues(statusLabel(e.Status)).Observe(e.Duration.Seconds())
	}
}

// SessionCreated counts a sign-in that led to a session.
func (m *Metrics) SessionCreated() { m.sessionsCreated.Inc() }

// SessionDestroyed counts a session that ended: "logout", "replaced",
// "grant_gone".
func (m *Metrics) SessionDestroyed(reason string) { m.sessionsDestroyed.WithLabelValues(reason).Inc() }

// BindingFailure counts a session presented from elsewhere: "address",
// "user_agent".
func (m *Metrics) BindingFailure(reason string) { m.bindingFailures.WithLabelValues(reason).Inc() }

// CSRFViolation counts a refused request: "missing", "invalid", "unknown_key",
// "origin".
func (m *Metrics) CSRFViolation(reason string) { m.csrfViolations.WithLabelValues(reason).Inc() }

// Flow observes a step of a flow: "login", "callback", "refresh", "logout".
func (m *Metrics) Flow(kind string, took time.Duration) {
	m.flowDuration.WithLabelValues(kind).Observe(took.Seconds())
}

// TokenRefresh counts a refresh for the session ("session") or a service token
// ("service"), by status: "ok", "grant_gone", "unavailable", "failed".
func (m *Metrics) TokenRefresh(service, status string) {
	m.tokenRefresh.WithLabelValues(service, status).Inc()
}

// IdPRequest counts a request to the IdP by endpoint ("token", "par", …); status
// 0 means that there was no answer.
func (m *Metrics) IdPRequest(endpoint string, status int) {
	m.idpRequests.WithLabelValues(endpoint, statusLabel(status)).Inc()
}

// ClientAuth counts how the IdP took a credential: "accepted", "refused".
func (m *Metrics) ClientAuth(idp, version, outcome string) {
	m.clientAuth.WithLabelValues(idp, version, outcome).Inc()
}

// JWKSFetch counts a fetch of our keys: "idp" for a program, "browser" for a page.
func (m *Metrics) JWKSFetch(client string) { m.jwksFetches.WithLabelValues(client).Inc() }

// statusLabel is small numbers without allocation.
func statusLabel(status int) string {
	if status == 0 {
		return "none"
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

// ages is a collector, because an age changes without anybody setting it.
type ages struct{ rings func() []keyring.Ring }

var ageDesc = prometheus.NewDesc("bff_secret_age_seconds", "Time since the active version of a secret was made, or first seen.", []string{"secret"}, nil)

func (*ages) Describe(ch chan<- *prometheus.Desc) { ch <- ageDesc }

func (a *ages) Collect(ch chan<- prometheus.Metric) {
	for _, ring := range a.rings() {
		if active := ring.Active(); !active.CreatedAt.IsZero() {
			ch <- prometheus.MustNewConstMetric(ageDesc, prometheus.GaugeValue, time.Since(active.CreatedAt).Seconds(), ring.Name())
		}
	}
}
