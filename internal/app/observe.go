package app

import (
	"context"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/rotation"
	"keyway/internal/telemetry"
)

// metricSources are of what is told when metrics are fetched.
func (a *app) metricSources() telemetry.Sources {
	return telemetry.Sources{Secrets: a.secretStates, Fleet: a.fleetState, AuditQueue: a.recorder.Waiting, Checks: a.verifiedChecks}
}

func (a *app) secretStates() []telemetry.SecretState {
	held := a.current.Load().rings
	var all []telemetry.SecretState
	for _, d := range a.defs {
		ring := held[d.name]
		_, trouble := a.sources.of(d.name)
		if ring.IsZero() {
			if trouble != "" {
				all = append(all, telemetry.SecretState{Secret: d.name, Trouble: trouble})
			}
			continue
		}
		s := telemetry.SecretState{Secret: d.name, Trouble: trouble, Expires: a.expires(d.name)}
		if every := a.config.Rotation.For(d.name).Every; every > 0 {
			s.Due = rotation.Due(ring, every)
		}
		if pending, ok := ring.Pending(); ok {
			s.Pending = pending.CreatedAt
		}
		all = append(all, s)
	}
	return all
}

// expires is when a client secret ends at its provider; zero: nobody has said.
func (a *app) expires(name string) time.Time {
	if name == nameClientSecret {
		return a.config.OIDC.ClientSecretExpiresAt
	}
	for _, idp := range a.config.IdPs {
		if name == clientSecretOf(idp.Name) {
			return idp.ClientSecretExpiresAt
		}
	}
	return time.Time{}
}

// fleetState is what the replicas said last, held against what this one holds.
func (a *app) fleetState(ctx context.Context) (telemetry.FleetState, bool) {
	roll, err := a.side.reports(ctx)
	if err != nil {
		return telemetry.FleetState{}, false
	}
	held := a.current.Load().rings
	s := telemetry.FleetState{ClockOffset: time.Since(roll.Now)}
	for _, r := range roll.Reports {
		s.Replicas = append(s.Replicas, telemetry.ReplicaState{ID: r.ID, Host: r.Host, Live: r.Live(roll.Now), Lacks: lacks(r, held, r.ID == a.id)})
	}
	return s, true
}

// lacks is how many live versions of each secret a replica does not hold; all tells
// of those too that it holds all of.
func lacks(r fleet.Report, held rings, all bool) map[string]int {
	found := map[string]int{}
	for name, ring := range held {
		n := 0
		for v := range ring.Live() {
			if _, holds := r.Secrets[name].Holds[v.ID]; !holds {
				n++
			}
		}
		if n > 0 || all {
			found[name] = n
		}
	}
	return found
}
