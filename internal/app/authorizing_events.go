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

// onDecision is told of each decision. It waits for nothing.
func (a *app) onDecision(e authz.Event) {
	if e.Asked {
		// What a page asks about may be called whatever it likes: no label has it.
		a.resources.metrics.Questioned(e.Decision)
	} else {
		// A route without a mapping has neither: it is of the configuration, too.
		a.resources.metrics.Decided(cmp.Or(e.Resource, "none"), cmp.Or(e.Action, "none"), e.Decision, e.Took)
	}
	if a.decisions == nil || !toBeTold(&e, a.config.Authz.Events) {
		return
	}
	d := audit.Decision{
		At: time.Now(), Kind: kindOf(&e), Decision: e.Decision, Resource: e.Resource, Action: e.Action, ID: e.ID, Route: e.Route,
		CorrelationID: e.CorrelationID, Took: e.Took, Reason: e.Reason, Cached: e.Cached, Context: bytes.Clone(e.Context),
	}
	if e.Who != nil {
		d.Provider, d.Subject, d.Roles = e.Who.Provider, e.Who.Subject, len(e.Who.Roles)
	}
	a.decisions.Record(d)
}

// toBeTold says whether the receivers of decisions want to know of one. A page is
// answered no whenever it hides a button: that is no denial, and who wants denials only
// does not want it. An answer that was remembered was told when it was given, and a page
// may ask again each second.
func toBeTold(e *authz.Event, events config.AuthzEvents) bool {
	switch {
	case e.Asked:
		return events == config.AuthzEventsAll && !e.Cached
	case events == config.AuthzEventsDenied:
		return e.Decision != authz.Allowed
	}
	return events != config.AuthzEventsOff
}

func kindOf(e *authz.Event) audit.DecisionKind {
	switch {
	case e.Asked:
		return audit.DecisionQuestion
	case e.Again:
		return audit.DecisionStream
	}
	return audit.DecisionCall
}
