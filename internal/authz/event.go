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

// Event is one decision about a request, for metrics and the record. Of what it
// points to nobody may keep anything but what he has copied.
type Event struct {
	Decision string
	// Resource and Action are the mapping's; empty: there is no mapping. ID is the
	// resource's.
	Resource, ID, Action string
	Route                string // id
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
}

// Principal is the account that the decision is about.
func (e *Event) Principal() string { return e.Who.Account() }
