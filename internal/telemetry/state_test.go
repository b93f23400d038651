package telemetry

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestStateIsReadWhenMetricsAreFetched(t *testing.T) {
	m := NewMetrics()
	at := time.Unix(1_800_000_000, 0)
	secrets := []SecretState{
		{Secret: "client-secret", Due: at, Expires: at.Add(time.Hour), Pending: time.Now().Add(-20 * time.Minute), Trouble: "missing"},
		{Secret: "csrf-key"},
	}
	known := true
	queue := 3
	m.From(Sources{
		Secrets: func() []SecretState { return secrets },
		Fleet: func(ctx context.Context) (FleetState, bool) {
			if _, bounded := ctx.Deadline(); !bounded {
				t.Error("who fetches metrics may wait for ever")
			}
			return FleetState{ClockOffset: -3 * time.Second, Replicas: []ReplicaState{
				{ID: "a1", Host: "gw-0", Live: true, Lacks: map[string]int{"csrf-key": 0}},
				{ID: "b7", Host: "gw-1", Live: true, Lacks: map[string]int{"client-secret": 1}},
				{ID: "c9", Host: "gw-2", Lacks: map[string]int{"client-secret": 2}},
			}}, known
		},
		Checks: func(yield func(string, bool)) {
			yield("jwks", true)
			yield("bearer", false)
		},
		AuditQueue: func() int { return queue },
	})
	got := scrape(t, m)
	for _, want := range []string{
		`bff_secret_due_timestamp_seconds{secret="client-secret"} 1.8e+09`,
		`bff_secret_expires_timestamp_seconds{secret="client-secret"} 1.8000036e+09`,
		`bff_secret_pending_seconds{secret="client-secret"} 1200.`,
		`bff_secret_pending_seconds{secret="csrf-key"} 0`,
		`bff_secret_source_trouble{secret="client-secret",why="missing"} 1`,
		`bff_fleet_replicas{state="current"} 1`,
		`bff_fleet_replicas{state="lagging"} 1`,
		`bff_fleet_replicas{state="gone"} 1`,
		`bff_replica_lacks{host="gw-0",replica="a1",secret="csrf-key"} 0`,
		`bff_replica_lacks{host="gw-1",replica="b7",secret="client-secret"} 1`,
		`bff_clock_offset_seconds -3`,
		`bff_verify_checks{check="jwks",ok="true"} 1`,
		`bff_verify_checks{check="bearer",ok="false"} 1`,
		`bff_audit_queue 3`,
	} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("missing: %s", want)
		}
	}
	for _, not := range []string{"c9", `due_timestamp_seconds{secret="csrf-key"}`, `expires_timestamp_seconds{secret="csrf-key"}`, `trouble{secret="csrf-key"`} {
		if strings.Contains(got, not) {
			t.Errorf("told, and should not be: %s", not)
		}
	}
	known, queue, secrets[0].Pending = false, 0, time.Time{}
	got = scrape(t, m)
	if strings.Contains(got, "bff_fleet_replicas{") || !strings.Contains(got, "\nbff_audit_queue 0") || !strings.Contains(got, `bff_secret_pending_seconds{secret="client-secret"} 0`) {
		t.Errorf("the state is not that of now:\n%s", got)
	}
}

func TestNothingIsToldOfWhatNobodyKnows(t *testing.T) {
	m := NewMetrics()
	m.From(Sources{})
	for line := range strings.Lines(scrape(t, m)) {
		if strings.HasPrefix(line, "bff_fleet") || strings.HasPrefix(line, "bff_audit_queue") || strings.HasPrefix(line, "bff_secret_pending") {
			t.Error(line)
		}
	}
}

// A counter that begins with its first event is no change to who looks at changes.
func TestCountersOfRareEventsBeginAtZero(t *testing.T) {
	m := NewMetrics()
	m.Rotates("csrf-key")
	m.AuditSink("push")
	m.AuditDelivered("push", "delivered", 2)
	m.AuditAppended(3)
	m.AuditFailed()
	m.AuditLost(4)
	got := scrape(t, m)
	for _, want := range []string{
		`bff_rotations_total{outcome="rolled_back",secret="csrf-key"} 0`,
		`bff_rotations_total{outcome="rejected",secret="csrf-key"} 0`,
		`bff_audit_cuts_total 0`, `bff_audit_appended_total 3`, `bff_audit_failed_total 1`, `bff_audit_lost_total 4`,
		`bff_audit_delivered_total{outcome="delivered",sink="push"} 2`, `bff_audit_delivered_total{outcome="failed",sink="push"} 0`,
	} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("missing: %s", want)
		}
	}
	m.AuditCut()
	if !strings.Contains(scrape(t, m), "\nbff_audit_cuts_total 1") {
		t.Error("a cut is not counted")
	}
}

func TestSeriesOfRequests(t *testing.T) {
	m := NewMetrics()
	ask := func(route string, status int, stream bool) {
		e := RequestEvent{Start: time.Now(), Method: "GET", Route: route, Status: status, Duration: time.Hour, Stream: stream}
		m.Began(&e)
		e.Start, e.Duration = e.Start.Add(-time.Hour), time.Hour
		m.Request(&e)
	}
	ask("health_live", 200, false)
	ask("health_ready", 503, false)
	ask("events", 200, true)
	s := m.Series()
	p := s.point(1, int(s.flying.Load()))
	if p.Good != 1 || p.ServerErrors != 0 || p.P99 != 0 || p.InFlight != 0 {
		t.Errorf("probes are among the requests, or a stream's end is taken for its speed: %+v", p)
	}
}
