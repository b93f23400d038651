package telemetry

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// SecretState is what is known of one secret besides its versions. Zero dates are
// not told.
type SecretState struct {
	Secret string
	// Due is when it should be rotated, by its age.
	Due time.Time
	// Expires is when a peer says that it stops accepting it.
	Expires time.Time
	// Pending is since when a new version is waited for.
	Pending time.Time
	// Trouble is of which kind the trouble is with the place where it is handed in;
	// empty: none.
	Trouble string
}

// FleetState is what is known of the replicas.
type FleetState struct {
	Replicas []ReplicaState
	// ClockOffset is how far this replica's clock is ahead of that of the store.
	ClockOffset time.Duration
}

// ReplicaState is one replica. Its id is another with each start; those of the dead
// are not told, so that there are as many labels as replicas.
type ReplicaState struct {
	ID, Host string
	Live     bool
	// Lacks is how many live versions of each secret it does not hold. Of secrets that
	// are not in it nothing is told.
	Lacks map[string]int
}

// Sources are asked for when metrics are fetched, each for at most 2 s, by as many
// goroutines at once as there are who fetch. nil: nobody knows.
type Sources struct {
	Secrets func() []SecretState
	// Fleet says false if it can't be known.
	Fleet func(context.Context) (FleetState, bool)
	// Checks are those of the last checklist that was gone through.
	Checks func(yield func(check string, ok bool))
	// AuditQueue is how many events wait to be written.
	AuditQueue func() int
}

// From has the state of the process asked for when metrics are fetched. It is to be
// called once.
func (m *Metrics) From(s Sources) { m.registry.MustRegister(&state{s}) }

var (
	dueDesc       = prometheus.NewDesc("bff_secret_due_timestamp_seconds", "When a secret should be rotated, by its age.", []string{"secret"}, nil)
	expiresDesc   = prometheus.NewDesc("bff_secret_expires_timestamp_seconds", "When a secret ends at its peer, as far as the configuration says.", []string{"secret"}, nil)
	pendingDesc   = prometheus.NewDesc("bff_secret_pending_seconds", "How long a new version has been waited for; 0: none is.", []string{"secret"}, nil)
	troubleDesc   = prometheus.NewDesc("bff_secret_source_trouble", "1 while the place where a secret is handed in to this replica can not be used, by kind.", []string{"secret", "why"}, nil)
	replicasDesc  = prometheus.NewDesc("bff_fleet_replicas", "Replicas, as this one knows them: current, lagging (lives, and lacks a live version), gone.", []string{"state"}, nil)
	lacksDesc     = prometheus.NewDesc("bff_replica_lacks", "Live versions of a secret that a live replica does not hold; of others than this one only if there are any.", []string{"replica", "host", "secret"}, nil)
	clockDesc     = prometheus.NewDesc("bff_clock_offset_seconds", "How far the clock of this replica is ahead of that of the store.", nil, nil)
	checksDesc    = prometheus.NewDesc("bff_verify_checks", "1 for each check of the last checklist that this replica went through, with what came of it.", []string{"check", "ok"}, nil)
	auditWaitDesc = prometheus.NewDesc("bff_audit_queue", "Events that wait to be written into the record.", nil, nil)
)

// askWithin bounds what a fetch of the metrics waits for the store.
const askWithin = 2 * time.Second

// state is a collector, because nobody tells when these change.
type state struct{ Sources }

func (s *state) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{dueDesc, expiresDesc, pendingDesc, troubleDesc, replicasDesc, lacksDesc, clockDesc, checksDesc, auditWaitDesc} {
		ch <- d
	}
}

func (s *state) Collect(ch chan<- prometheus.Metric) {
	if s.Secrets != nil {
		now := time.Now()
		for _, secret := range s.Secrets() {
			secret.collect(ch, now)
		}
	}
	if s.Fleet != nil {
		ctx, cancel := context.WithTimeout(context.Background(), askWithin)
		defer cancel()
		if fleet, ok := s.Fleet(ctx); ok {
			fleet.collect(ch)
		}
	}
	if s.Checks != nil {
		s.Checks(func(check string, ok bool) {
			text := "false"
			if ok {
				text = "true"
			}
			ch <- prometheus.MustNewConstMetric(checksDesc, prometheus.GaugeValue, 1, check, text)
		})
	}
	if s.AuditQueue != nil {
		ch <- prometheus.MustNewConstMetric(auditWaitDesc, prometheus.GaugeValue, float64(s.AuditQueue()))
	}
}

func (s SecretState) collect(ch chan<- prometheus.Metric, now time.Time) {
	if !s.Due.IsZero() {
		ch <- prometheus.MustNewConstMetric(dueDesc, prometheus.GaugeValue, float64(s.Due.Unix()), s.Secret)
	}
	if !s.Expires.IsZero() {
		ch <- prometheus.MustNewConstMetric(expiresDesc, prometheus.GaugeValue, float64(s.Expires.Unix()), s.Secret)
	}
	waited := 0.0
	if !s.Pending.IsZero() {
		waited = max(0, now.Sub(s.Pending).Seconds())
	}
	ch <- prometheus.MustNewConstMetric(pendingDesc, prometheus.GaugeValue, waited, s.Secret)
	if s.Trouble != "" {
		ch <- prometheus.MustNewConstMetric(troubleDesc, prometheus.GaugeValue, 1, s.Secret, s.Trouble)
	}
}

func (f FleetState) collect(ch chan<- prometheus.Metric) {
	states := map[string]int{"current": 0, "lagging": 0, "gone": 0}
	for _, r := range f.Replicas {
		if !r.Live {
			states["gone"]++
			continue
		}
		of := "current"
		for secret, n := range r.Lacks {
			if n > 0 {
				of = "lagging"
			}
			ch <- prometheus.MustNewConstMetric(lacksDesc, prometheus.GaugeValue, float64(n), r.ID, r.Host, secret)
		}
		states[of]++
	}
	for name, n := range states {
		ch <- prometheus.MustNewConstMetric(replicasDesc, prometheus.GaugeValue, float64(n), name)
	}
	ch <- prometheus.MustNewConstMetric(clockDesc, prometheus.GaugeValue, f.ClockOffset.Seconds())
}
