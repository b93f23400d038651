package telemetry

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func decidedText(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestDecisionsAreCounted(t *testing.T) {
	m := NewMetrics()
	m.Decides("note", "read")
	m.WatchesPolicies()
	m.Decided("note", "read", DecisionAllow, 2*time.Microsecond)
	m.Decided("note", "read", DecisionDeny, time.Millisecond)
	m.Decided("note", "read", DecisionDeny, time.Millisecond)
	m.PDPRequest("evaluation", 200)
	m.PDPRequest("evaluation", 0)
	m.PoliciesReloaded(PoliciesRefused)
	m.DecisionEventsDropped(3)
	m.Questioned(DecisionDeny)
	text := decidedText(t, m)
	for _, want := range []string{
		`bff_authz_requests_total{action="read",decision="allow",resource="note"} 1`,
		`bff_authz_requests_total{action="read",decision="deny",resource="note"} 2`,
		`bff_authz_requests_total{action="read",decision="error",resource="note"} 0`,
		`bff_authz_latency_seconds_count{resource="note"} 3`,
		`bff_authz_latency_seconds_bucket{resource="note",le="5e-06"} 1`,
		`bff_pdp_requests_total{endpoint="evaluation",status="200"} 1`,
		`bff_pdp_requests_total{endpoint="evaluation",status="none"} 1`,
		`bff_policies_reloads_total{outcome="refused"} 1`,
		`bff_policies_reloads_total{outcome="taken"} 0`,
		`bff_authz_events_dropped_total 3`,
		`bff_authz_questions_total{decision="allow"} 0`,
		`bff_authz_questions_total{decision="deny"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("expected %s", want)
		}
	}
}

// Whatever names come, there is room for so many.
func TestDecidedSeriesAreBounded(t *testing.T) {
	m := NewMetrics()
	for i := range maxDecided + 100 {
		m.Decided(fmt.Sprint("r", i), "read", DecisionAllow, 0)
	}
	text := decidedText(t, m)
	if n := strings.Count(text, "\nbff_authz_requests_total{"); n > maxDecided+1 {
		t.Errorf("%d series", n)
	}
	if !strings.Contains(text, `bff_authz_requests_total{action="other",decision="allow",resource="other"} 100`) {
		t.Error("those beyond the bound are not counted as another")
	}
}

func TestCountingADecisionAllocatesNothing(t *testing.T) {
	m := NewMetrics()
	if n := testing.AllocsPerRun(100, func() { m.Decided("note", "read", DecisionAllow, time.Microsecond) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
