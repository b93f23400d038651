package cli

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"keyway/internal/config"
	"keyway/internal/route"
)

// migrateMove is an entry of the endpoint_map that goes to a route.
type migrateMove struct {
	entry *entryAt
	route *routeAt
	names map[string]string
	m     route.Mapping // as the route has it
	there bool          // the route says the same already
}

// migrateLeft is an entry that stays, and why.
type migrateLeft struct {
	Path   string `json:"path"`
	Method string `json:"method"`
	Where  string `json:"where"`
	Reason string `json:"reason"`
}

// planMigration decides about each entry by itself, and then takes back whatever
// would change what any method of any route is asked.
func planMigration(routes []*routeAt, entries []*entryAt) (moves []*migrateMove, left []migrateLeft) {
	reasons := make(map[*entryAt]string)
	for _, e := range entries {
		m, reason := planEntry(routes, e)
		if reason != "" {
			reasons[e] = reason
			continue
		}
		moves = append(moves, m)
	}
	// Two entries about one method of one route: nobody can say which counts.
	for i, a := range moves {
		for _, b := range moves[i+1:] {
			if a.route == b.route && a.entry.method == b.entry.method {
				reasons[a.entry] = fmt.Sprintf("%s (%s) is about %s of route %s, too; remove one", b.entry.path, b.entry.where, a.entry.method, a.route.name)
				reasons[b.entry] = fmt.Sprintf("%s (%s) is about %s of route %s, too; remove one", a.entry.path, a.entry.where, a.entry.method, a.route.name)
			}
		}
	}
	for again := true; again; {
		moves = slices.DeleteFunc(moves, func(m *migrateMove) bool { return reasons[m.entry] != "" })
		again = false
		for _, r := range routes {
			method, same := sameAsked(r, entries, moves)
			if same {
				continue
			}
			for _, m := range moves {
				if m.route == r && reasons[m.entry] == "" {
					reasons[m.entry] = fmt.Sprintf("%s of route %s (%s) would be decided otherwise; write its mapping into the route first", method, r.name, r.where)
					again = true
				}
			}
		}
	}
	for _, e := range entries {
		if reasons[e] != "" {
			left = append(left, migrateLeft{e.path, e.method, e.where, reasons[e]})
		}
	}
	return moves, left
}

func planEntry(routes []*routeAt, e *entryAt) (*migrateMove, string) {
	if _, err := route.ParsePattern(e.path); err != nil {
		return nil, err.Error()
	}
	if !slices.Contains(route.Methods(), e.method) {
		return nil, "no route has this method"
	}
	var found []*routeAt
	var names map[string]string
	for _, r := range routes {
		n, coverage := config.Cover(e.path, r.path)
		switch {
		case coverage == config.CoversNone:
		case e.method == "GET" && !slices.Contains(r.methods, "GET") && slices.Contains(r.methods, "HEAD"):
			return nil, fmt.Sprintf("route %s (%s) answers HEAD and not GET; write HEAD", r.name, r.where)
		case !slices.Contains(r.methods, e.method):
		case coverage == config.CoversSome:
			return nil, fmt.Sprintf("it is about some paths of route %s (%s), %s, and not about all; %s", r.name, r.where, r.path, config.Apart(e.path, e.method, e.m, r.name, r.path))
		default:
			found, names = append(found, r), n
		}
	}
	switch {
	case len(found) == 0:
		return nil, "no route has this path and method; remove it, or correct it"
	case len(found) > 1:
		var list []string
		for _, r := range found {
			list = append(list, fmt.Sprintf("%s (%s)", r.name, r.where))
		}
		return nil, "more than one route has it: " + strings.Join(list, ", ") + "; write it into each"
	}
	r := found[0]
	if !r.asks {
		return nil, fmt.Sprintf("route %s (%s) has authz: none, so nobody is asked; set authz: pdp there if somebody should be", r.name, r.where)
	}
	m, err := e.m.At(names)
	if err != nil {
		return nil, fmt.Sprintf("at route %s (%s), %s, %v", r.name, r.where, r.path, err)
	}
	before, inline := (&route.Route{AuthzMap: r.inline}).Mapping(e.method)
	if inline && !sameMapping(before, m) {
		return nil, fmt.Sprintf("route %s (%s) says otherwise in its authz_map, which counts; remove one", r.name, r.where)
	}
	return &migrateMove{entry: e, route: r, names: names, m: m, there: inline}, ""
}

func sameMapping(a, b route.Mapping) bool {
	if len(a.Props) == 0 && len(b.Props) == 0 {
		a.Props, b.Props = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

// sameAsked says whether each method of a route is asked after the moves what it is
// asked before; if not, which is not.
func sameAsked(r *routeAt, entries []*entryAt, moves []*migrateMove) (method string, same bool) {
	inline := make(map[string]route.Mapping)
	for method, m := range r.inline {
		inline[method] = m
	}
	moved := make(map[*entryAt]bool)
	for _, m := range moves {
		moved[m.entry] = true
		if m.route == r && !m.there {
			inline[m.entry.method] = m.m
		}
	}
	rest := slices.DeleteFunc(slices.Clone(entries), func(e *entryAt) bool { return moved[e] })
	for _, method := range r.methods {
		if !reflect.DeepEqual(askedBy(r, r.inline, entries, method), askedBy(r, inline, rest, method)) {
			return method, false
		}
	}
	return "", true
}

// askedBy is what a method is asked, of each entry that is about it; none: whatever
// is derived.
func askedBy(r *routeAt, inline map[string]route.Mapping, entries []*entryAt, method string) []string {
	words := func(m route.Mapping) string {
		return fmt.Sprintf("%q %q %q %q", m.Resource, m.Action, m.IDFrom, m.Props)
	}
	if m, ok := (&route.Route{AuthzMap: inline}).Mapping(method); ok {
		return []string{words(m)}
	}
	for _, as := range []string{method, "GET"} {
		if as != method && method != "HEAD" {
			break
		}
		var all []string
		for _, e := range entries {
			if names, c := config.Cover(e.path, r.path); c == config.CoversAll && e.method == as {
				m, err := e.m.At(names)
				if err != nil {
					all = append(all, err.Error())
					continue
				}
				all = append(all, words(m))
			}
		}
		if all != nil {
			slices.Sort(all)
			return all
		}
	}
	return nil
}
