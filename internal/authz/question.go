package authz

import (
	"context"
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
// was asked.
type Question struct {
	Subject  Entity         `json:"subject"`
	Action   Action         `json:"action"`
	Resource Entity         `json:"resource"`
	Context  map[string]any `json:"context,omitempty"`
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

// Names of what a question's context holds.
const (
	ContextTime        = "time"           // RFC 3339, UTC
	ContextAddress     = "ip"             // of the user, as far as it is known
	ContextCorrelation = "correlation_id" // of the request
)

// timeText is how a time is written in a context.
func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339) }
