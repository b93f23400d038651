package config

import (
	"fmt"
	"net/url"
	"strings"

	"keyway/internal/authz"
	"keyway/internal/route"
)

// AskedFrom is where a mapping was found.
type AskedFrom string

// The places, in the order in which they are looked at.
const (
	FromAuthzMap    AskedFrom = "authz_map"
	FromEndpointMap AskedFrom = "endpoint_map"
	FromDerived     AskedFrom = "derived"
)

// Asked is what the decision point is asked for one method of a route.
type Asked struct {
	// Mapping has the names of the route's parameters, also where an entry of the
	// endpoint_map calls them otherwise.
	Mapping route.Mapping
	Ask     *authz.Ask // Mapping, made ready
	From    AskedFrom
	Path    string // the entry of the endpoint_map, if it is from there
	Source  string // file:line:column; empty if derived
}

// Asked is what is asked for a method of a route of c.Routes that has authz: pdp:
// its own authz_map (HEAD as GET), else the endpoint_map (likewise), else what is
// derived, where that is switched on. ok is false if nothing is mapped: the answer
// is 403.
func (c *Config) Asked(r *route.Route, method string) (a Asked, ok bool) {
	a, ok = c.asked[r][method]
	return a, ok
}

// shape is a pattern that was found to be one, in segments.
type shape struct {
	path    string
	pattern route.Pattern
	params  []bool
	texts   []string // names of parameters, and literals decoded
	star    bool
}

func shapeOf(path string) (shape, bool) {
	pattern, err := route.ParsePattern(path)
	if err != nil {
		return shape{}, false
	}
	s := shape{path: path, pattern: pattern, star: pattern.HasWildcard()}
	parts := strings.Split(path[1:], "/")
	if s.star {
		parts = parts[:len(parts)-1]
	}
	for _, part := range parts {
		param := strings.HasPrefix(part, "{")
		if param {
			part = part[1 : len(part)-1]
		} else if text, err := url.PathUnescape(part); err == nil {
			part = text
		}
		s.params, s.texts = append(s.params, param), append(s.texts, part)
	}
	return s, true
}

// covers says whether each path of r is one of s, too. If so, names is what each
// parameter of s is at r, as a source: a parameter there, or a constant.
func (s *shape) covers(r *shape) (names map[string]string, ok bool) {
	n := len(s.texts)
	switch {
	case !s.star && (r.star || len(r.texts) != n):
		return nil, false
	case s.star && len(r.texts) <= n && (!r.star || len(r.texts) < n):
		return nil, false
	}
	names = make(map[string]string)
	for i, text := range s.texts {
		switch {
		case s.params[i] && r.params[i]:
			names[text] = "{" + r.texts[i] + "}"
		case s.params[i] && r.texts[i] != "": // a parameter is never empty
			names[text] = authz.Constant + r.texts[i]
		case s.params[i] || r.params[i] || text != r.texts[i]:
			return nil, false
		}
	}
	return names, true
}

// derived is what is asked where nothing is mapped: the last literal, and the
// parameter behind it.
func (s *shape) derived(method string) (route.Mapping, bool) {
	var literals []string
	last := ""
	for i, text := range s.texts {
		switch {
		case s.params[i]:
			last = text
		case text != "":
			literals, last = append(literals, text), ""
		}
	}
	m, ok := authz.Derived(method, literals, last)
	return route.Mapping(m), ok
}

// Coverage is how an entry of the endpoint_map and a route's path lie to one another.
type Coverage uint8

// The ways. Only an entry that takes in all of a route's paths is asked by.
const (
	CoversNone Coverage = iota
	CoversSome
	CoversAll
)

// Cover compares the path of an entry of the endpoint_map with that of a route. With
// CoversAll, names are what the entry's parameters are at the route. A path that is
// none covers nothing.
func Cover(entry, path string) (names map[string]string, c Coverage) {
	e, ok := shapeOf(entry)
	if !ok {
		return nil, CoversNone
	}
	r, ok := shapeOf(path)
	if !ok {
		return nil, CoversNone
	}
	if names, ok := e.covers(&r); ok {
		return names, CoversAll
	}
	if _, overlap := e.pattern.Overlap(r.pattern, false); overlap {
		return nil, CoversSome
	}
	return nil, CoversNone
}

// At is the mapping in the names of a route, which Cover gave. It fails where it has
// a parameter that is none of its path, and where its id would be no id there.
func (m Mapping) At(names map[string]string) (route.Mapping, error) { return renamed(m, names) }

// renamed is a mapping of the endpoint_map in the names of a route.
func renamed(m Mapping, names map[string]string) (route.Mapping, error) {
	out := route.Mapping{Resource: m.Resource, Action: m.Action}
	rename := func(source string) (string, error) {
		if !strings.HasPrefix(source, "{") {
			return source, nil
		}
		to, ok := names[strings.Trim(source, "{}")]
		if !ok {
			return "", fmt.Errorf("%s is no parameter of it", source)
		}
		return to, nil
	}
	var err error
	if m.IDFrom != "" {
		if out.IDFrom, err = rename(m.IDFrom); err != nil {
			return out, err
		}
		if id, constant := strings.CutPrefix(out.IDFrom, authz.Constant); constant {
			if err := authz.CheckID(id); err != nil {
				return out, fmt.Errorf("%s, its id_from, is always %s there: %w", m.IDFrom, shown(id), err)
			}
		}
	}
	if m.Props != nil {
		out.Props = make(map[string]string, len(m.Props))
		for name, source := range m.Props {
			if out.Props[name], err = rename(source); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}
