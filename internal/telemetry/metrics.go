package telemetry

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"keyway/internal/keyring"
	"keyway/internal/limit"
)

// Metrics counts. Its names are those that this kind of gateway has always had,
// so that dashboards go on working. Safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	requests        *prometheus.CounterVec
	requestDuration *prometheus.HistogramVec
	known           requestSeries
	series          *Series

	sessionsCreated   prometheus.Counter
	sessionsDestroyed *prometheus.CounterVec
	bindingFailures   *prometheus.CounterVec
	verifyDuration    *prometheus.HistogramVec
	flowDuration      *prometheus.HistogramVec
	tokenRefresh      *prometheus.CounterVec
	idpRequests       *prometheus.CounterVec
	clientAuth        *prometheus.CounterVec
	csrfViolations    *prometheus.CounterVec
	rateLimited       *prometheus.CounterVec
	jwksFetches       *prometheus.CounterVec
	tokenValidation   *prometheus.CounterVec
	rotations         *prometheus.CounterVec
	rotationPhase     *prometheus.GaugeVec
	audited           audited
	decided           *decided
	held              held
}

// fast are buckets for what takes microseconds to seconds.
var fast = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// slow are buckets for what waits for people and peers.
var slow = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// NewMetrics builds the metrics on a registry of their own.
func NewMetrics() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), series: NewSeries()}
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
	m.rateLimited = counter("bff_rate_limited_total", "Requests refused because too many came before, by what is limited.", "kind")
	m.jwksFetches = counter("bff_jwks_fetches_total", "Fetches of our public keys, by kind of client.", "client")
	m.tokenValidation = counter("bff_token_validation_total", "Presented tokens, by kind and outcome.", "token_type", "status")
	m.rotations = counter("bff_rotations_total", "Rotations that came to an end, by outcome.", "secret", "outcome")
	m.rotationPhase = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "bff_rotation_phase", Help: "Where a secret is between two versions: 0 one version, 1 a new one is waited for, 2 it is watched, 3 the old one drains. As this replica holds it.",
	}, []string{"secret"})
	m.registry.MustRegister(m.rotationPhase)
	m.audited = newAudited(counter)
	m.decided = newDecided(counter, histogram)
	// Known from the start at zero, so that the first one is a change that an alert
	// can see.
	for _, reason := range []string{"logout", "grant_gone"} {
		m.sessionsDestroyed.WithLabelValues(reason)
	}
	for _, reason := range []string{"missing", "invalid", "unknown_key", "origin"} {
		m.csrfViolations.WithLabelValues(reason)
	}
	for _, kind := range limit.Kinds() {
		m.rateLimited.WithLabelValues(string(kind))
	}
	for _, reason := range []string{"address", "user_agent"} {
		m.bindingFailures.WithLabelValues(reason)
	}
	for _, status := range []string{"ok", "grant_gone", "unavailable", "failed"} {
		m.tokenRefresh.WithLabelValues("session", status)
	}
	m.registry.MustRegister(&m.held, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics. It belongs on the admin listener.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Series is what Began and Request have counted, by the second; health probes are
// not in it.
func (m *Metrics) Series() *Series { return m.series }

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

// SecretUses has what each version was used for asked for when metrics are
// fetched.
func (m *Metrics) SecretUses(all func(yield func(secret, version, op string, n uint64))) {
	m.registry.MustRegister(&uses{all: all})
}

// Secrets publishes which versions this replica holds.
func (m *Metrics) Secrets(rings []keyring.Ring) { m.held.rings.Store(&rings) }

// SessionCreated counts a sign-in that led to a session.
func (m *Metrics) SessionCreated() { m.sessionsCreated.Inc() }

// SessionDestroyed counts a session that ended: "logout", "everywhere",
// "backchannel_logout", "operator", "grant_gone".
func (m *Metrics) SessionDestroyed(reason string) { m.sessionsDestroyed.WithLabelValues(reason).Inc() }

// BindingFailure counts a session presented from elsewhere: "address",
// "user_agent".
func (m *Metrics) BindingFailure(reason string) { m.bindingFailures.WithLabelValues(reason).Inc() }

// CSRFViolation counts a refused request: "missing", "invalid", "unknown_key",
// "origin".
func (m *Metrics) CSRFViolation(reason string) { m.csrfViolations.WithLabelValues(reason).Inc() }

// RateLimited counts a request that was refused because too many came before.
func (m *Metrics) RateLimited(kind limit.Kind) { m.rateLimited.WithLabelValues(string(kind)).Inc() }

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
	m.idpRequests.WithLabelValues(endpoint, statusLabel(boundStatus(status))).Inc()
}

// ClientAuth counts how the IdP took a credential: "accepted", "refused".
func (m *Metrics) ClientAuth(idp, version, outcome string) {
	m.clientAuth.WithLabelValues(idp, version, outcome).Inc()
}

// JWKSFetch counts a fetch of our keys: "program", as an IdP is, or "browser". The
// caller classifies; what a client says of itself is no label.
func (m *Metrics) JWKSFetch(client string) { m.jwksFetches.WithLabelValues(client).Inc() }

// Rotates has a secret's rotations known from the start at zero.
func (m *Metrics) Rotates(secret string) {
	for _, outcome := range []string{"active", "rolled_back", "rejected", "failed"} {
		m.rotations.WithLabelValues(secret, outcome)
	}
}

// Rotation counts a rotation that came to an outcome: "active", "rolled_back",
// "rejected", "failed".
func (m *Metrics) Rotation(secret, outcome string) {
	m.rotations.WithLabelValues(secret, outcome).Inc()
}

// RotationPhase says where a secret is between two versions, from 0 (at rest) to
// 3 (the old one drains).
func (m *Metrics) RotationPhase(secret string, phase int) {
	m.rotationPhase.WithLabelValues(secret).Set(float64(phase))
}

// TokenValidation counts a presented token by its kind ("jwt", "opaque") and what
// came of it: "accepted", "refused", "unavailable".
func (m *Metrics) TokenValidation(kind, status string) {
	m.tokenValidation.WithLabelValues(kind, status).Inc()
}
