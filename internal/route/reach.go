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
