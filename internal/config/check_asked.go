package config

import (
	"fmt"
	"slices"
	"strings"

	"keyway/internal/authz"
	"keyway/internal/route"
)

// endpoint is one path of the endpoint_map, and what it turned out to be for.
type endpoint struct {
	shape
	mappings map[string]Mapping
	used     map[string]bool   // methods that some route asks by
	instead  map[string]string // where the route's own mapping of a method is
	idle     bool              // it takes in a route, which does not ask
}

// checkAsked works out what each method of each route is asked about, and looks at
// what is mapped twice, for nothing, or not at all. What is wrong with a mapping
// itself is said already.
func (l *loader) checkAsked() {
	if l.table == nil || l.unreadable(PDPFile) {
		return
	}
	var endpoints []*endpoint
	for _, path := range sortedKeys(l.pdp.EndpointMap) {
		if s, ok := shapeOf(path); ok {
			endpoints = append(endpoints, &endpoint{shape: s, mappings: l.pdp.EndpointMap[path], used: make(map[string]bool), instead: make(map[string]string)})
		}
	}
	keys := make(map[string]string, len(l.routes.Routes)) // of entries, by source
	for i := range l.routes.Routes {
		key := fmt.Sprintf("routes[%d]", i)
		keys[l.files[RoutesFile].at(key).String()] = key
	}
	l.asked = make(map[*route.Route]map[string]Asked)
	for _, r := range l.table.Routes() {
		s, ok := shapeOf(r.Path)
		if !ok {
			continue
		}
		if r.Authz != route.AuthzPDP {
			for _, e := range endpoints {
				if _, covers := e.covers(&s); covers {
					e.idle = true
				}
			}
			continue
		}
		l.askedOf(r, &s, keys[r.Source], endpoints)
	}
	l.checkIdle(endpoints)
}

// askedOf is about one route.
func (l *loader) askedOf(r *route.Route, s *shape, key string, endpoints []*endpoint) {
	methods := r.EffectiveMethods()
	own := make(map[string]string) // where the route's own mappings are
	for _, method := range methods {
		if _, inline := r.Mapping(method); inline {
			at := method
			if _, written := r.AuthzMap[method]; !written {
				at = "GET"
			}
			own[method] = l.files[RoutesFile].at(key + ".authz_map." + at).String()
		}
	}
	byMethod := l.fromEndpoints(r, s, methods, own, endpoints)
	all := make(map[string]Asked, len(methods))
	var missing []string
	for _, method := range methods {
		a, ok := Asked{}, false
		if m, inline := r.Mapping(method); inline {
			a, ok = Asked{Mapping: m, From: FromAuthzMap, Source: own[method]}, true
		} else if a, ok = byMethod[method]; !ok && method == "HEAD" {
			a, ok = byMethod["GET"]
		}
		if !ok && l.pdp.DerivedDefaults {
			a.From = FromDerived
			a.Mapping, ok = s.derived(method)
		}
		if !ok {
			missing = append(missing, method)
			continue
		}
		ask, err := authz.Compile(authz.Mapping(a.Mapping))
		if err != nil {
			continue // said with the mapping
		}
		if ask.ReadsBody() && l.pdp.BodyBytes == 0 {
			l.wrong(PDPFile, "body_bytes", "found 0, and "+method+" of route "+r.String()+" ("+a.Source+") is decided by its body", "expected the size of its bodies, or a mapping without JSONPath")
		}
		a.Ask = ask
		all[method] = a
	}
	l.asked[r] = all
	l.checkMissing(r, key, missing)
}

func (l *loader) checkMissing(r *route.Route, key string, missing []string) {
	if len(missing) == 0 {
		return
	}
	found := fmt.Sprintf("route %s has no mapping for %s", r, strings.Join(missing, ", "))
	const want = "a mapping in authz_map, methods without them, or derived_defaults in pdp.yaml"
	switch {
	case l.pdp.Strict:
		l.wrong(RoutesFile, key+".authz_map", found+", and authz_validation_strict is on", want)
	case slices.Equal(missing, []string{"OPTIONS"}): // what a route without methods answers, and nobody calls
	default:
		l.note(l.files[RoutesFile].at(key+".authz_map"), key+".authz_map", found+": always 403", want)
	}
}

// fromEndpoints is what the endpoint_map says about a route, by method, where the
// route says nothing of its own.
func (l *loader) fromEndpoints(r *route.Route, s *shape, methods []string, own map[string]string, endpoints []*endpoint) map[string]Asked {
	found := make(map[string]Asked)
	for _, e := range endpoints {
		names, covers := e.covers(s)
		if !covers {
			l.checkPartly(r, s, methods, e)
			continue
		}
		for _, method := range sortedKeys(e.mappings) {
			if !slices.Contains(methods, method) && (method != "GET" || !slices.Contains(methods, "HEAD")) {
				continue
			}
			key := "endpoint_map." + e.path + "." + method
			if before, twice := found[method]; twice {
				l.wrong(PDPFile, key, fmt.Sprintf("%s and %s (%s) are both about %s of route %s (%s)", e.path, before.Path, before.Source, method, r, r.Source),
					"one of the two: there is no order among them")
				continue
			}
			m, err := renamed(e.mappings[method], names)
			if err != nil {
				if !l.brokenBelow(PDPFile, key) {
					l.wrong(PDPFile, key, fmt.Sprintf("it is about route %s (%s), %s, too, and %v", r, r.Source, r.Path, err), "a mapping of the route's own, and a path here that leaves it out")
				}
				continue
			}
			if own[method] != "" {
				e.instead[method] = own[method]
				continue
			}
			e.used[method] = true
			found[method] = Asked{Mapping: m, From: FromEndpointMap, Path: e.path, Source: l.files[PDPFile].at(key).String()}
		}
	}
	return found
}

// checkPartly refuses an entry for some of the paths of a route: what is asked is
// the same for all of them, so the entry would not be obeyed.
func (l *loader) checkPartly(r *route.Route, s *shape, methods []string, e *endpoint) {
	example, overlap := e.pattern.Overlap(s.pattern, false)
	if !overlap {
		return
	}
	for _, method := range sortedKeys(e.mappings) {
		if slices.Contains(methods, method) {
			l.wrong(PDPFile, "endpoint_map."+e.path+"."+method,
				fmt.Sprintf("it is about some paths of route %s (%s), %s, such as %s, and not about all", r, r.Source, r.Path, example),
				Apart(e.path, method, e.mappings[method], r.String(), r.Path))
		}
	}
}

// checkIdle tells of entries that nobody asks by.
func (l *loader) checkIdle(endpoints []*endpoint) {
	for _, e := range endpoints {
		for _, method := range sortedKeys(e.mappings) {
			key := "endpoint_map." + e.path + "." + method
			switch {
			case e.used[method] || l.brokenBelow(PDPFile, key):
			case e.instead[method] != "":
				l.note(l.files[PDPFile].at(key), key, "never asked: the route's own authz_map counts ("+e.instead[method]+")", "remove it")
			case e.idle:
				l.note(l.files[PDPFile].at(key), key, "never asked: the route has authz: none", "authz: pdp on the route, or remove it")
			default:
				l.note(l.files[PDPFile].at(key), key, "never asked: no route with authz: pdp has this path and method", "correct it, or remove it")
			}
		}
	}
}

// brokenBelow is broken for a key and all that is in it.
func (l *loader) brokenBelow(file, key string) bool {
	return slices.ContainsFunc(l.problems, func(p Problem) bool {
		return p.File == l.files[file].file && (p.Key == key || strings.HasPrefix(p.Key, key+"."))
	})
}
