package app

import (
	"bytes"
	"cmp"
	"context"
	"time"

	"keyway/internal/audit"
	"keyway/internal/authz"
	"keyway/internal/config"
)

// openDecisions makes ready what tells the receivers of the record of decisions. They
// are other sinks than the chain's: those have an order to keep.
func (a *app) openDecisions(o opener) error {
	if a.resources.authorizing == nil || a.config.Authz.Events == config.AuthzEventsOff {
		return nil
	}
	sinks, err := a.auditSinks(a.config.Audit, o)
	if err != nil || len(sinks) == 0 {
		return err
	}
	a.decisions = audit.NewDecisions(audit.DecisionsOptions{
		Sinks: sinks, Replica: a.id, Dropped: a.resources.metrics.DecisionEventsDropped, Logger: a.log,
	})
	return nil
}

// tellDecisions delivers until ctx ends.
func (a *app) tellDecisions(ctx context.Context) {
	if a.decisions == nil {
		<-ctx.Done()
		return
	}
	a.decisions.Run(ctx)
}

// decided is told of each decision about a request. It waits for nothing.
func (a *app) decided(e authz.Event) {
	// A route without a mapping has neither: it is of the configuration, too.
	a.resources.metrics.Decided(cmp.Or(e.Resource, "none"), cmp.Or(e.Action, "none"), e.Decision, e.Took)
	if a.decisions == nil || e.Decision == authz.Allowed && a.config.Authz.Events == config.AuthzEventsDenied {
		return
	}
	d := audit.Decision{
		At: time.Now(), Decision: e.Decision, Resource: e.Resource, Action: e.Action, ID: e.ID, Route: e.Route,
		CorrelationID: e.CorrelationID, Took: e.Took, Reason: e.Reason, Cached: e.Cached, Context: bytes.Clone(e.Context),
	}
	if e.Who != nil {
		d.Provider, d.Subject = e.Who.Provider, e.Who.Subject
	}
	a.decisions.Record(d)
}
