package telemetry

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keyway/internal/keyring"
)

var (
	versionDesc = prometheus.NewDesc("bff_secret_version_info", "1 for each version of a secret that this replica holds.", []string{"secret", "version", "state"}, nil)
	useDesc     = prometheus.NewDesc("bff_secret_use_total", "What a version was used for: issue (sealed, minted) or accept (looked up by, opened, checked).", []string{"secret", "version", "op"}, nil)
	ageDesc     = prometheus.NewDesc("bff_secret_age_seconds", "Time since the active version of a secret was made, or first seen.", []string{"secret"}, nil)
)

// held is a collector over the rings that were last published, so that a fetch
// of the metrics sees those of one generation and never a half of two.
type held struct {
	rings atomic.Pointer[[]keyring.Ring]
}

func (*held) Describe(ch chan<- *prometheus.Desc) { ch <- versionDesc }

func (h *held) Collect(ch chan<- prometheus.Metric) {
	rings := h.rings.Load()
	if rings == nil {
		return
	}
	for _, ring := range *rings {
		for v := range ring.All() {
			ch <- prometheus.MustNewConstMetric(versionDesc, prometheus.GaugeValue, 1, ring.Name(), v.ID, string(v.State))
		}
	}
}

// ages is a collector, because an age changes without anybody setting it.
type ages struct{ rings func() []keyring.Ring }

func (*ages) Describe(ch chan<- *prometheus.Desc) { ch <- ageDesc }

func (a *ages) Collect(ch chan<- prometheus.Metric) {
	for _, ring := range a.rings() {
		if ring.IsZero() {
			continue
		}
		if active := ring.Active(); !active.CreatedAt.IsZero() {
			ch <- prometheus.MustNewConstMetric(ageDesc, prometheus.GaugeValue, time.Since(active.CreatedAt).Seconds(), ring.Name())
		}
	}
}

// uses is a collector over what is counted where keys are used.
type uses struct {
	all func(yield func(secret, version, op string, n uint64))
}

func (*uses) Describe(ch chan<- *prometheus.Desc) { ch <- useDesc }

func (u *uses) Collect(ch chan<- prometheus.Metric) {
	u.all(func(secret, version, op string, n uint64) {
		ch <- prometheus.MustNewConstMetric(useDesc, prometheus.CounterValue, float64(n), secret, version, op)
	})
}
