package telemetry

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Decisions, as they are counted.
const (
	DecisionAllow = "allow"
	DecisionDeny  = "deny"
	DecisionError = "error" // nobody decided, and so it was denied
)

// maxDecided bounds the series of decisions. Resources and actions are the
// configuration's; what is beyond is counted as another.
const maxDecided = 2000

// decided counts who may do what, and how long it took to know.
type decided struct {
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	pdp      *prometheus.CounterVec
	reloads  *prometheus.CounterVec
	dropped  prometheus.Counter
	asked    *prometheus.CounterVec

	mu   sync.Mutex
	seen atomic.Pointer[map[decidedKey]decidedCounts]
}

// decidedKey names a series.
type decidedKey struct{ resource, action, decision string }

type decidedCounts struct {
	total   prometheus.Counter
	latency prometheus.Observer
}

// quick are buckets for what takes less than a microsecond from memory, and as long
// as a deadline when somebody has to be asked.
var quick = []float64{.000001, .000005, .00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}

func newDecided(counter func(name, help string, labels ...string) *prometheus.CounterVec,
	histogram func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec,
) *decided {
	d := &decided{
		requests: counter("bff_authz_requests_total", "Decisions of who may do what: allow, deny, or error where nobody decided (which denies, too).", "resource", "action", "decision"),
		latency:  histogram("bff_authz_latency_seconds", "Time that a decision took, remembered ones too.", quick, "resource"),
		asked:    counter("bff_authz_questions_total", "What pages asked about what their users may do: allow, deny, or error where nobody decided.", "decision"),
		pdp:      counter("bff_pdp_requests_total", "Requests to the policy decision point.", "endpoint", "status"),
		reloads:  counter("bff_policies_reloads_total", "Changes of the folder of policies that were taken, or refused as a whole.", "outcome"),
		dropped:  counter("bff_authz_events_dropped_total", "Events of decisions that nobody was told of, because too many waited or a receiver did not take them.").WithLabelValues(),
	}
	for _, decision := range []string{DecisionAllow, DecisionDeny, DecisionError} {
		d.asked.WithLabelValues(decision)
	}
	return d
}

// Questioned counts what a page was told about what its user may do: DecisionAllow,
// DecisionDeny or DecisionError. Nothing was let through or refused by it, so it is not
// among the requests, whose denials people are woken by.
func (m *Metrics) Questioned(decision string) { m.decided.asked.WithLabelValues(decision).Inc() }

// Decides has the decisions about one resource and action known from the start at
// zero, so that the first one is a change that an alert can see.
func (m *Metrics) Decides(resource, action string) {
	for _, decision := range []string{DecisionAllow, DecisionDeny, DecisionError} {
		m.decided.find(decidedKey{resource, action, decision})
	}
}

// Decided counts a decision: DecisionAllow, DecisionDeny or DecisionError. It
// allocates nothing for what was counted before.
func (m *Metrics) Decided(resource, action, decision string, took time.Duration) {
	counts := m.decided.find(decidedKey{resource, action, decision})
	counts.total.Inc()
	counts.latency.Observe(took.Seconds())
}

// find looks into a map that is never changed; new series are rare, and it is
// copied for them.
func (d *decided) find(key decidedKey) decidedCounts {
	if seen := d.seen.Load(); seen != nil {
		if counts, ok := (*seen)[key]; ok {
			return counts
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	next := map[decidedKey]decidedCounts{}
	if seen := d.seen.Load(); seen != nil {
		if len(*seen) >= maxDecided {
			key.resource, key.action = "other", "other"
		}
		if counts, ok := (*seen)[key]; ok {
			return counts
		}
		next = maps.Clone(*seen)
	}
	counts := decidedCounts{d.requests.WithLabelValues(key.resource, key.action, key.decision), d.latency.WithLabelValues(key.resource)}
	next[key] = counts
	d.seen.Store(&next)
	return counts
}

// PDPRequest counts a request to the decision point by endpoint ("evaluation",
// "evaluations"); status 0 means that there was no answer.
func (m *Metrics) PDPRequest(endpoint string, status int) {
	m.decided.pdp.WithLabelValues(endpoint, statusLabel(boundStatus(status))).Inc()
}

// Outcomes of a change of the folder of policies.
const (
	PoliciesTaken   = "taken"
	PoliciesRefused = "refused" // those before stay in use
)

// WatchesPolicies has reloads known from the start at zero.
func (m *Metrics) WatchesPolicies() {
	for _, outcome := range []string{PoliciesTaken, PoliciesRefused} {
		m.decided.reloads.WithLabelValues(outcome)
	}
}

// PoliciesReloaded counts a change of the folder of policies.
func (m *Metrics) PoliciesReloaded(outcome string) { m.decided.reloads.WithLabelValues(outcome).Inc() }

// DecisionEventsDropped counts events of decisions that nobody was told of.
func (m *Metrics) DecisionEventsDropped(n int) { m.decided.dropped.Add(float64(n)) }
