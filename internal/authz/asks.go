package authz

import (
	"slices"

	"keyway/internal/route"
)

// Asks are what is asked about the requests of a table's routes. They are immutable,
// and safe for concurrent use. The nil Asks have none.
type Asks struct {
	by      map[askKey]*Ask
	actions map[string][]string // by type of resource, sorted
}

// askKey has the route as its table keeps it.
type askKey struct {
	route  *route.Route
	method string
}

// CompileAll collects what is asked about each method that a protected route of the
// table answers. asked says what that is; nil: nothing, so that nobody may.
func CompileAll(table *route.Table, asked func(r *route.Route, method string) *Ask) *Asks {
	a := &Asks{by: map[askKey]*Ask{}, actions: map[string][]string{}}
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
			if !slices.Contains(a.actions[ask.resource], ask.action) {
				a.actions[ask.resource] = append(a.actions[ask.resource], ask.action)
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
