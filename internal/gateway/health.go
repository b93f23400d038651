package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Health answers liveness and readiness.
//
// Liveness says that the process runs, and asks nobody: an orchestrator that
// restarts every replica because Redis is slow makes matters worse. Readiness
// says whether sending users here makes sense: the store answers, and nobody
// asked us to stop. An IdP that is away is told but does not make a replica
// unready, because everybody who is signed in is served.
type Health struct {
	// Store asks the session store; it must honour its context.
	Store func(context.Context) error
	// IdP says why sign-ins are not possible, or nil. It must not block.
	IdP func() error
	// Starting makes the replica unready whatever the others say: what it needs is not
	// there yet.
	Starting bool

	stopping atomic.Bool
	mu       sync.Mutex
	asked    time.Time
	store    error
}

const (
	// storeProbeEvery bounds what a flood of probes costs the store.
	storeProbeEvery = time.Second
	storeProbeLimit = 2 * time.Second
)

// Stop makes the replica unready for good.
func (h *Health) Stop() { h.stopping.Store(true) }

type healthReport struct {
	Status string            `json:"status"` // "ok" or "unavailable"
	Checks map[string]string `json:"checks,omitempty"`
}

// ready asks what readiness depends on. The report says which part is at fault
// and no more: it is public.
func (h *Health) ready(ctx context.Context) (healthReport, bool) {
	report := healthReport{Status: "ok", Checks: map[string]string{"sessions": "ok", "sign_in": "ok"}}
	ok := true
	if h.IdP != nil && h.IdP() != nil {
		report.Checks["sign_in"] = "unavailable"
	}
	if h.probeStore(ctx) != nil {
		report.Checks["sessions"], ok = "unavailable", false
	}
	if h.Starting {
		report.Checks["replica"], ok = "starting", false
	}
	if h.stopping.Load() {
		report.Checks["replica"], ok = "stopping", false
	}
	if !ok {
		report.Status = "unavailable"
	}
	return report, ok
}

func (h *Health) probeStore(ctx context.Context) error {
	if h.Store == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.asked.IsZero() && time.Since(h.asked) < storeProbeEvery {
		return h.store
	}
	// Detached: a probe that hangs up must not be remembered as a store that failed.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeProbeLimit)
	defer cancel()
	h.store, h.asked = h.Store(ctx), time.Now()
	return h.store
}

// Live serves liveness.
func (h *Health) Live(w http.ResponseWriter, _ *http.Request) {
	writeHealth(w, healthReport{Status: "ok"}, true)
}

// Ready serves readiness.
func (h *Health) Ready(w http.ResponseWriter, r *http.Request) {
	report, ok := h.ready(r.Context())
	writeHealth(w, report, ok)
}

func writeHealth(w http.ResponseWriter, report healthReport, ok bool) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	status := http.StatusOK
	if !ok {
		status = http.StatusServiceUnavailable
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(report)
}
