package authz

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"

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
// page. Its context is not read: that is told by who asks the decision point. Items may
// share properties: don't change them.
type Request struct {
	Items []Item
	// Subjects are those that the request names: whom it thinks that it asks about.
	Subjects []Entity
	Semantic Semantic
	// Batch says that the answer is that of an access evaluations request.
	Batch bool
}

// Bounds of what a page asks about, in bytes: MaxName of a type or an action's name, and
// MaxProperties of what it says of a resource, as JSON.
const (
	MaxName       = 256
	MaxProperties = 4096
)

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
	common := readOnce(raw.rawQuestion)
	if !batch || len(raw.Evaluations) == 0 {
		return r, r.add(common)
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
		own := readOnce(q)
		// What one leaves out is said for all (section 7.1.1).
		if q.Subject == nil {
			own.subject = common.subject
		}
		if q.Action == nil {
			own.action = common.action
		}
		if q.Resource == nil {
			own.resource = common.resource
		}
		if err := r.add(own); err != nil {
			return Request{}, fmt.Errorf("evaluations[%d]: %w", i, err)
		}
	}
	return r, nil
}

// parts are those of a question, each read once when it is wanted: one that is said for
// all may be as large as the whole body.
type parts struct {
	subject  func() (*Entity, error) // the nil one: none is named
	action   func() (string, error)
	resource func() (Entity, error)
}

func readOnce(q rawQuestion) parts {
	return parts{
		sync.OnceValues(func() (*Entity, error) { return subjectIn(q.Subject) }),
		sync.OnceValues(func() (string, error) { return actionIn(q.Action) }),
		sync.OnceValues(func() (Entity, error) { return resourceIn(q.Resource) }),
	}
}

func (r *Request) add(p parts) error {
	subject, err := p.subject()
	if err != nil {
		return fmt.Errorf("subject: %w", err)
	}
	if subject != nil {
		r.Subjects = append(r.Subjects, *subject)
	}
	item := Item{}
	if item.Resource, err = p.resource(); err != nil {
		return err
	}
	if item.Action, err = p.action(); err != nil {
		return err
	}
	r.Items = append(r.Items, item)
	return nil
}

func subjectIn(raw json.RawMessage) (*Entity, error) {
	if raw == nil {
		return nil, nil
	}
	subject, _, err := entityIn(raw)
	return &subject, err
}

func resourceIn(raw json.RawMessage) (Entity, error) {
	resource, properties, err := entityIn(raw)
	if err != nil {
		return Entity{}, fmt.Errorf("resource: %w", err)
	}
	if resource.Properties, err = propertiesIn(properties); err != nil {
		return Entity{}, fmt.Errorf("resource.properties: %w", err)
	}
	return resource, nil
}

func actionIn(raw json.RawMessage) (string, error) {
	var action rawEntity
	if err := jwks.DecodeObject(raw, &action); err != nil {
		return "", fmt.Errorf("action: %w", err)
	}
	if err := checkName(action.Name); err != nil {
		return "", fmt.Errorf("action.name: %w", err)
	}
	// The decision point would not look at them, and so allow what they were to forbid.
	if len(action.Properties) > 0 && string(action.Properties) != "{}" && string(action.Properties) != "null" {
		return "", errors.New("action.properties: expected none")
	}
	return action.Name, nil
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
	if len(raw) > MaxProperties {
		return nil, fmt.Errorf("expected at most %d bytes, found %d", MaxProperties, len(raw))
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
