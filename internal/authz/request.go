package authz

import (
	"encoding/json"
	"errors"
	"fmt"

	"keyway/internal/jwks"
)

// Semantic is how many of several questions are answered (AuthZEN 1.0 section 7.1.2).
type Semantic string

// The semantics.
const (
	ExecuteAll  Semantic = "execute_all"
	DenyFirst   Semantic = "deny_on_first_deny"
	PermitFirst Semantic = "permit_on_first_permit"
)

// Request is an access evaluation request, or an access evaluations request, of a
// page. Its context is not read: that is told by who asks the decision point.
type Request struct {
	Items []Item
	// Subjects are those that the request names: whom it thinks that it asks about.
	Subjects []Entity
	Semantic Semantic
	// Batch says that the answer is that of an access evaluations request.
	Batch bool
}

// MaxName is the size of a type or an action's name that a page asks about, in bytes.
const MaxName = 256

type rawQuestion struct {
	Subject  json.RawMessage `json:"subject"`
	Action   json.RawMessage `json:"action"`
	Resource json.RawMessage `json:"resource"`
}

type rawEntity struct {
	Type       string          `json:"type"`
	ID         string          `json:"id"`
	Name       string          `json:"name"` // of an action
	Properties json.RawMessage `json:"properties"`
}

// ParseRequest reads a request (AuthZEN 1.0 sections 6.1 and 7.1), as strictly as an
// answer. With batch it may have evaluations, of which at most MaxBatch; one without
// them is a single question (section 7.1).
func ParseRequest(body []byte, batch bool) (Request, error) {
	var raw struct {
		rawQuestion
		Evaluations []rawQuestion `json:"evaluations"`
		Options     struct {
			Semantic Semantic `json:"evaluations_semantic"`
		} `json:"options"`
	}
	if err := jwks.DecodeObject(body, &raw); err != nil {
		return Request{}, err
	}
	r := Request{Semantic: ExecuteAll}
	if !batch || len(raw.Evaluations) == 0 {
		return r, r.add(raw.rawQuestion)
	}
	r.Batch = true
	if raw.Options.Semantic != "" {
		r.Semantic = raw.Options.Semantic
	}
	switch r.Semantic {
	case ExecuteAll, DenyFirst, PermitFirst:
	default:
		return Request{}, fmt.Errorf("options.evaluations_semantic: expected %s, %s or %s", ExecuteAll, DenyFirst, PermitFirst)
	}
	if len(raw.Evaluations) > MaxBatch {
		return Request{}, fmt.Errorf("evaluations: expected at most %d, found %d", MaxBatch, len(raw.Evaluations))
	}
	for i, q := range raw.Evaluations {
		// What one leaves out is said for all (section 7.1.1).
		for _, part := range []struct{ own, common *json.RawMessage }{
			{&q.Subject, &raw.Subject}, {&q.Action, &raw.Action}, {&q.Resource, &raw.Resource},
		} {
			if *part.own == nil {
				*part.own = *part.common
			}
		}
		if err := r.add(q); err != nil {
			return Request{}, fmt.Errorf("evaluations[%d]: %w", i, err)
		}
	}
	return r, nil
}

func (r *Request) add(q rawQuestion) error {
	if q.Subject != nil {
		subject, _, err := entityIn(q.Subject)
		if err != nil {
			return fmt.Errorf("subject: %w", err)
		}
		r.Subjects = append(r.Subjects, subject)
	}
	resource, properties, err := entityIn(q.Resource)
	if err != nil {
		return fmt.Errorf("resource: %w", err)
	}
	if resource.Properties, err = propertiesIn(properties); err != nil {
		return fmt.Errorf("resource.properties: %w", err)
	}
	var action rawEntity
	if err := jwks.DecodeObject(q.Action, &action); err != nil {
		return fmt.Errorf("action: %w", err)
	}
	if err := checkName(action.Name); err != nil {
		return fmt.Errorf("action.name: %w", err)
	}
	// The decision point would not look at them, and so allow what they were to forbid.
	if len(action.Properties) > 0 && string(action.Properties) != "{}" && string(action.Properties) != "null" {
		return errors.New("action.properties: expected none")
	}
	r.Items = append(r.Items, Item{Action: action.Name, Resource: resource})
	return nil
}

func entityIn(raw json.RawMessage) (Entity, json.RawMessage, error) {
	var e rawEntity
	if err := jwks.DecodeObject(raw, &e); err != nil {
		return Entity{}, nil, err
	}
	if err := checkName(e.Type); err != nil {
		return Entity{}, nil, fmt.Errorf("type: %w", err)
	}
	if e.ID != anyID {
		if err := checkID(e.ID); err != nil {
			return Entity{}, nil, fmt.Errorf("id: %w", err)
		}
	}
	return Entity{Type: e.Type, ID: e.ID}, e.Properties, nil
}

func checkName(name string) error {
	if len(name) > MaxName {
		return fmt.Errorf("expected 1 to %d bytes", MaxName)
	}
	return checkID(name)
}

// CheckID says whether text can be the id of something in particular.
func CheckID(text string) error { return checkID(text) }

// ParseProperties reads a JSON object as the properties of a resource, as strictly as
// a request.
func ParseProperties(text string) (map[string]any, error) { return propertiesIn([]byte(text)) }

func propertiesIn(raw json.RawMessage) (map[string]any, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	n, err := document(raw)
	if err != nil {
		return nil, err
	}
	value, err := plainValue(n)
	if err != nil || value == nil {
		return nil, err
	}
	all, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("expected an object")
	}
	return all, nil
}
