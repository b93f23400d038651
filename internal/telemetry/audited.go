package telemetry

import "github.com/prometheus/client_golang/prometheus"

// audited counts what happens to the record.
type audited struct {
	appended, failed, lost, cuts *prometheus.CounterVec
	delivered                    *prometheus.CounterVec
}

func newAudited(counter func(name, help string, labels ...string) *prometheus.CounterVec) audited {
	a := audited{
		appended:  counter("bff_audit_appended_total", "Events that this replica has written into the record."),
		failed:    counter("bff_audit_failed_total", "Attempts to write into the record that failed; what was to be written waits."),
		lost:      counter("bff_audit_lost_total", "Events that are not in the record, because too many waited."),
		cuts:      counter("bff_audit_cuts_total", "Times that the record ended earlier, or otherwise, than it had before, or had in it what no replica has written."),
		delivered: counter("bff_audit_delivered_total", "Events handed to where the record is streamed to, by outcome.", "sink", "outcome"),
	}
	// Known from the start at zero, so that the first one is a change that an alert
	// can see.
	for _, c := range []*prometheus.CounterVec{a.appended, a.failed, a.lost, a.cuts} {
		c.WithLabelValues()
	}
	return a
}

// AuditAppended counts events that were written into the record.
func (m *Metrics) AuditAppended(events int) {
	m.audited.appended.WithLabelValues().Add(float64(events))
}

// AuditFailed counts an attempt to write that failed.
func (m *Metrics) AuditFailed() { m.audited.failed.WithLabelValues().Inc() }

// AuditLost counts events that could not be kept waiting.
func (m *Metrics) AuditLost(events int) { m.audited.lost.WithLabelValues().Add(float64(events)) }

// AuditCut counts that the record ended earlier, or otherwise, than before.
func (m *Metrics) AuditCut() { m.audited.cuts.WithLabelValues().Inc() }

// AuditSink has a place that the record is streamed to known from the start.
func (m *Metrics) AuditSink(sink string) {
	for _, outcome := range []string{"delivered", "failed", "passed_over"} {
		m.audited.delivered.WithLabelValues(sink, outcome)
	}
}

// AuditDelivered counts events by the place that the record is streamed to ("push",
// "kafka") and the outcome: "delivered", "failed" (it is tried again) or
// "passed_over" (the receiver does not take it).
func (m *Metrics) AuditDelivered(sink, outcome string, events int) {
	m.audited.delivered.WithLabelValues(sink, outcome).Add(float64(events))
}
