package route

import (
	"net/url"
	"slices"
	"strings"
)

// Reach is what a route can ask the server at base for: a pattern of escaped
// paths, base's own path included. It is exact unless the route's upstream_path
// has a parameter twice, whose two places then need not be the same. The route
// must be one that NewTable accepts.
func (r *Route) Reach(base *url.URL) (reach Pattern, exact bool, err error) {
	pattern, err := ParsePattern(r.Path)
	if err != nil {
		return Pattern{}, false, err
	}
	exact = true
	if r.UpstreamPath != "" {
		if err := CheckTemplate(r.UpstreamPath, pattern); err != nil {
			return Pattern{}, false, err
		}
		pattern, exact = Pattern{}, true
		var used []string
		for s := range strings.SplitSeq(r.UpstreamPath[1:], "/") {
			switch name := strings.Trim(s, "{}"); {
			case s == "{path}":
				pattern.star = true
			case name != s:
				exact = exact && !slices.Contains(used, name)
				used = append(used, name)
				pattern.segs = append(pattern.segs, segment{param: true, text: name})
			default:
				lit, _ := decode(s) // checked with the template
				pattern.segs = append(pattern.segs, segment{text: lit})
			}
		}
	}
	// As Join does it.
	if prefix := strings.TrimSuffix(base.EscapedPath(), "/"); prefix != "" {
		var segs []segment
		for s := range strings.SplitSeq(prefix[1:], "/") {
			lit, _ := decode(s)
			segs = append(segs, segment{text: lit})
		}
		pattern.segs = append(segs, pattern.segs...)
	}
	pattern.text = ""
	return pattern, exact, nil
}

// Within says whether every path that p matches is matched by q too. The answer
// is exact. With fold, letter case in literals is ignored.
func (p Pattern) Within(q Pattern, fold bool) bool {
	switch {
	case p.star && !q.star, len(p.segs) < len(q.segs):
		return false
	case !q.star && len(p.segs) != len(q.segs):
		return false
	case q.star && !p.star && len(p.segs) == len(q.segs):
		return false // the * wants one more segment
	}
	for i, t := range q.segs {
		s := p.segs[i]
		switch {
		case t.param:
			if !s.param && s.text == "" {
				return false
			}
		case s.param, s.text != t.text && !(fold && strings.EqualFold(s.text, t.text)):
			return false
		}
	}
	return true
}

// Fixed says whether the pattern matches one path only.
func (p Pattern) Fixed() bool {
	return !p.star && !slices.ContainsFunc(p.segs, func(s segment) bool { return s.param })
}
