package authz

import (
	"context"
	"net/netip"
	"time"
)

// Entity is a subject or a resource (AuthZEN 1.0 section 5.1 and 5.2).
type Entity struct {
	Type       string         `json:"type"`
	ID         string         `json:"id"`
	Properties map[string]any `json:"properties,omitempty"`
}

// Action is what is to be done (section 5.3).
type Action struct {
	Name       string         `json:"name"`
	Properties map[string]any `json:"properties,omitempty"`
}

// Question is an access evaluation request (section 6.1). Nobody changes one that
// was asked: its subject is one value for all questions of somebody.
type Question struct {
	Subject  Entity  `json:"subject"`
	Action   Action  `json:"action"`
	Resource Entity  `json:"resource"`
	Context  Context `json:"context,omitzero"`
	// Prepared is what a Preparer has made of the subject, for itself; nil: nothing.
	Prepared any `json:"-"`
}

// Context is under which circumstances it is asked (section 5.4). What is zero is not
// told.
type Context struct {
	Time          time.Time  `json:"time,omitzero"` // UTC, whole seconds
	Address       netip.Addr `json:"ip,omitzero"`   // of the user, as far as it is known; no zone, nor IPv4 as IPv6
	CorrelationID string     `json:"correlation_id,omitempty"`
}

// Decision is the answer to a question (section 6.2). The zero Decision denies.
type Decision struct {
	Allow bool
	// Reason is for the log and the record: why there is no allow, or what the PDP
	// said about it. It never goes to the caller.
	Reason string
	// Context is what the PDP said besides, such as obligations: an object as it came,
	// within bounds; nil: nothing.
	Context []byte
}

// PDP decides. Implementations are safe for concurrent use, and keep the context's
// deadline.
type PDP interface {
	// Evaluate answers one question. An error means that there is no answer; it is
	// never an allow.
	Evaluate(ctx context.Context, q Question) (Decision, error)
	// EvaluateAll answers each of several questions, in their order.
	EvaluateAll(ctx context.Context, qs []Question) ([]Decision, error)
}

// Preparer is a PDP that can make something of a subject once, for many questions: it
// finds it in Question.Prepared.
type Preparer interface {
	// Prepare reads nothing but the subject. On an error the questions have none.
	Prepare(subject Entity) (any, error)
}

// timeText is how a time is written in a property.
func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339) }
