package authz

import (
	"time"

	"keyway/internal/principal"
)

// The values of Event.Decision.
const (
	Allowed  = "allow"
	Denied   = "deny"
	NoAnswer = "error" // it was denied, because there was no answer
)

// Event is one decision, for metrics and the record. Of what it points to nobody may
// keep anything but what he has copied.
type Event struct {
	Decision string
	// Resource and Action are the mapping's; empty: there is no mapping. ID is the
	// resource's. Where a page has asked, all of them may be what it likes: not for a
	// metric.
	Resource, ID, Action string
	Route                string // id; empty where a page has asked
	Who                  *principal.Principal
	CorrelationID        string
	Took                 time.Duration
	// Reason is why it was denied, or what the PDP said: for the record, never for the
	// caller.
	Reason string
	Cached bool
	// Context is what the PDP said besides, as JSON; nil: nothing.
	Context []byte
	// Again: a stream that was open already was decided about.
	Again bool
	// Asked: a page has asked what its user may do. Nothing was tried, and nothing was let
	// through or refused by it.
	Asked bool
}

// Principal is the account that the decision is about.
func (e *Event) Principal() string { return e.Who.Account() }
