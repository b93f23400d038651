package authz

import (
	"maps"
	"slices"

	"keyway/internal/route"
)

// Asks are what is asked about the requests of a table's routes. They are immutable,
// and safe for concurrent use. The nil Asks have none.
type Asks struct {
	by      map[askKey]*Ask
	actions map[string][]string         // by type of resource, sorted
	fixed   map[fixedKey]map[string]any // see Fixed
	ids     map[fixedKey]string         // see FixedID
}

type fixedKey struct{ resource, action string }

// askKey has the route as its table keeps it.
type askKey struct {
	route  *route.Route
	method string
}

// CompileAll collects what is asked about each method that a protected route of the
// table answers. asked says what that is; nil: nothing, so that nobody may.
func CompileAll(table *route.Table, asked func(r *route.Route, method string) *Ask) *Asks {
	a := &Asks{by: map[askKey]*Ask{}, actions: map[string][]string{}, fixed: map[fixedKey]map[string]any{}, ids: map[fixedKey]string{}}
	for _, r := range table.Routes() {
		if r.Authz != route.AuthzPDP {
			continue
		}
		for _, method := range r.EffectiveMethods() {
			ask := asked(r, method)
			if ask == nil {
				continue
			}
			a.by[askKey{r, method}] = ask
			what := fixedKey{ask.resource, ask.action}
			if !slices.Contains(a.actions[ask.resource], ask.action) {
				a.actions[ask.resource] = append(a.actions[ask.resource], ask.action)
				a.fixed[what], a.ids[what] = ask.constants(), ask.constantID()
			} else {
				other := ask.constants()
				maps.DeleteFunc(a.fixed[what], func(name string, value any) bool { return other[name] != value })
				if a.ids[what] != ask.constantID() {
					a.ids[what] = ""
				}
			}
		}
	}
	for _, actions := range a.actions {
		slices.Sort(actions)
	}
	return a
}

// Of is what is asked about a method of a route; nil: nothing, so that nobody may.
func (a *Asks) Of(r *route.Route, method string) *Ask {
	if a == nil {
		return nil
	}
	return a.by[askKey{r, method}]
}

// Actions are the names of all actions that are asked about on resources of a type,
// sorted. Don't change them.
func (a *Asks) Actions(resource string) []string {
	if a == nil {
		return nil
	}
	return a.actions[resource]
}

// Fixed are the properties that all mappings of an action on resources of a type set
// to the same constant: those that are known without a request. Don't change them.
func (a *Asks) Fixed(resource, action string) map[string]any {
	if a == nil {
		return nil
	}
	return a.fixed[fixedKey{resource, action}]
}

// FixedID is the id that all mappings of an action on resources of a type set to the
// same constant; empty: they don't.
func (a *Asks) FixedID(resource, action string) string {
	if a == nil {
		return ""
	}
	return a.ids[fixedKey{resource, action}]
}

// constantID is the id that is the mapping's own.
func (a *Ask) constantID() string {
	if a.hasID && a.id.constant {
		return a.id.text
	}
	return ""
}

// constants are the properties that are the mapping's own.
func (a *Ask) constants() map[string]any {
	all := map[string]any{}
	for i := range a.props {
		if s := &a.props[i]; s.constant {
			all[a.names[i]] = s.text
		}
	}
	return all
}
