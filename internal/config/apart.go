package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Apart says what to write where an entry of the endpoint_map is about some paths of a
// route only: with Cover, CoversSome. A request has one route and so one mapping, and
// nothing looks at its path a second time; so these paths need a route of their own.
func Apart(entry, method string, m Mapping, route, path string) string {
	e, _ := shapeOf(entry)
	r, _ := shapeOf(path)
	both, ok := shapeOf(e.meet(&r))
	own := m
	if names, covers := e.covers(&both); ok && covers {
		if there, err := renamed(m, names); err == nil {
			own = Mapping(there)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "in routes.yaml a route like %s with path: %s, methods: [%s], authz_map: {%s: %s}, and %s of route %s ", route, YAMLScalar(both.path), method, method, own.flow(), method, route)
	if rest := both.without(&r); rest != nil {
		fmt.Fprintf(&b, "at its other paths alone, which are %s: no request has two routes", strings.Join(rest, ", "))
	} else {
		b.WriteString("at each other path by itself: no request has two routes, and no pattern is all but some")
	}
	for i := range min(len(both.texts), len(r.texts)) {
		if r.params[i] && !both.params[i] {
			fmt.Fprintf(&b, "; or a mapping for all of that route, with props: {%s: \"{%s}\"}, by which policies tell %s", r.texts[i], r.texts[i], shown(both.texts[i]))
			break
		}
	}
	fmt.Fprintf(&b, "; or the path %s in the endpoint_map, if all of that route is asked about so", path)
	return b.String()
}

// meet is the pattern of what both take, of two that overlap, in the names of s.
func (s *shape) meet(r *shape) string {
	var b strings.Builder
	longer := s
	if len(r.texts) > len(s.texts) {
		longer = r
	}
	parts := func(x *shape) []string { return strings.Split(x.path[1:], "/") }
	for i := range longer.texts {
		part := parts(longer)[i]
		switch {
		case i >= len(s.texts) || i >= len(r.texts):
		case s.params[i] && !r.params[i]:
			part = parts(r)[i]
		default:
			part = parts(s)[i]
		}
		b.WriteString("/" + part)
	}
	if s.star && r.star {
		b.WriteString("/*")
	}
	return b.String()
}

// without is the patterns that take together what r takes and s, which is a part of
// it, does not; nil: no patterns do.
func (s *shape) without(r *shape) []string {
	n, m := len(r.texts), len(s.texts)
	if !r.star || m <= n || slices.Contains(s.params[n:], false) || !slices.Equal(s.params[:n], r.params) {
		return nil
	}
	parts := strings.Split(s.path[1:], "/")
	var rest []string
	for k := n; k <= m; k++ {
		path := "/" + strings.Join(parts[:k], "/")
		switch {
		case k == m && s.star: // which has everything below
			rest = append(rest, path)
		case k == m:
			rest = append(rest, path+"/*")
		case k == n: // the route itself has no path that ends here
			rest = append(rest, strings.TrimSuffix(path, "/")+"/")
		default:
			rest = append(rest, path, path+"/")
		}
	}
	return rest
}

// flow is a mapping as it is written in one line.
func (m Mapping) flow() string {
	parts := []string{"resource: " + YAMLScalar(m.Resource), "action: " + YAMLScalar(m.Action)}
	if m.IDFrom != "" {
		parts = append(parts, "id_from: "+YAMLScalar(m.IDFrom))
	}
	if len(m.Props) > 0 {
		var props []string
		for _, name := range slices.Sorted(maps.Keys(m.Props)) {
			props = append(props, YAMLScalar(name)+": "+YAMLScalar(m.Props[name]))
		}
		parts = append(parts, "props: {"+strings.Join(props, ", ")+"}")
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

var plainScalar = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_./-]*$`)

// YAMLScalar is a text as a value or key of YAML, in quotes where it needs them.
func YAMLScalar(text string) string {
	reserved := []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
	if plainScalar.MatchString(text) && !slices.Contains(reserved, strings.ToLower(text)) {
		return text
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text) // of a string: never an error
	return strings.TrimSpace(b.String())
}
