package authz

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Mapping is what is asked for one method of a route, as it is written.
type Mapping struct {
	Resource string            // type of the resource
	Action   string            // name of the action
	IDFrom   string            // source of the resource's id, or = and a text; empty: no one in particular
	Props    map[string]string // sources of the resource's properties, or texts
}

const (
	// anyID is the id of a resource when no one in particular is meant, as at a list
	// or a creation. AuthZEN 1.0 section 5.2 wants an id. No request can name it.
	anyID = "*"
	maxID = 512
)

// Ask is a Mapping made ready. It is immutable.
type Ask struct {
	resource, action string
	id               source
	hasID            bool
	names            []string // of properties, sorted
	props            []source
}

// Compile makes a mapping ready, or says what is wrong with it, with the key that
// it is wrong at.
func Compile(m Mapping) (*Ask, error) {
	if m.Resource == "" || m.Action == "" {
		return nil, errors.New("expected a resource and an action")
	}
	a := &Ask{resource: m.Resource, action: m.Action, hasID: m.IDFrom != ""}
	if a.hasID {
		var err error
		if a.id, err = parseSource(m.IDFrom); err != nil {
			return nil, fmt.Errorf("id_from: %w", err)
		}
		// A constant needs its sign here: a word alone is more likely a {param} without braces.
		if a.id.constant && !strings.HasPrefix(m.IDFrom, Constant) || a.id.path != nil && !a.id.single {
			return nil, errors.New("id_from: expected {param}, ?name, =text, or JSONPath of names and indexes, which has one value")
		}
		if a.id.constant {
			if err := checkID(a.id.text); err != nil {
				return nil, fmt.Errorf("id_from: %w", err)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Props)) {
		s, err := parseSource(m.Props[name])
		if err != nil {
			return nil, fmt.Errorf("props.%s: %w", name, err)
		}
		a.names, a.props = append(a.names, name), append(a.props, s)
	}
	return a, nil
}

// ReadsBody reports whether the body has to be read before the question can be put.
func (a *Ask) ReadsBody() bool {
	return a.id.path != nil || slices.ContainsFunc(a.props, func(s source) bool { return s.path != nil })
}

// Action is the name of the action, Resource the type of what it is about. Both are
// the configuration's, and so fit for a metric.
func (a *Ask) Action() string   { return a.action }
func (a *Ask) Resource() string { return a.resource }

// Resolve reads from a request what the question is about. An error denies: the
// request does not say clearly what is to be done.
func (a *Ask) Resolve(f Facts) (resource Entity, err error) {
	r := reading{facts: f}
	resource = Entity{Type: a.resource, ID: anyID}
	if a.hasID {
		if resource.ID, err = r.identifier(&a.id); err != nil {
			return Entity{}, fmt.Errorf("id_from %s: %w", a.id.text, err)
		}
	}
	for i := range a.props {
		value, err := r.value(&a.props[i])
		if errors.Is(err, errAbsent) {
			continue // what is not there, the policy does not see
		}
		if err != nil {
			return Entity{}, fmt.Errorf("props.%s %s: %w", a.names[i], a.props[i].text, err)
		}
		if resource.Properties == nil {
			resource.Properties = make(map[string]any, len(a.props))
		}
		resource.Properties[a.names[i]] = value
	}
	return resource, nil
}

// Derived is the mapping of a method that has none: GET and HEAD read, POST creates,
// PUT and PATCH update, DELETE deletes. The resource is the last literal segment of
// the route's path, and its id the parameter behind it. ok is false for other
// methods, and for a path without a literal segment.
func Derived(method string, literals []string, lastParam string) (m Mapping, ok bool) {
	action := map[string]string{
		"GET": "read", "HEAD": "read", "POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete",
	}[method]
	if action == "" || len(literals) == 0 {
		return Mapping{}, false
	}
	m = Mapping{Resource: literals[len(literals)-1], Action: action}
	if lastParam != "" {
		m.IDFrom = "{" + lastParam + "}"
	}
	return m, true
}
