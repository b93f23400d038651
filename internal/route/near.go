package route

import (
	"slices"
	"strings"
)

// Near are the routes that a path would have for a server that reads it less
// strictly than we do: one that takes capitals for small letters, or for which slashes,
// dots and spaces at the end of a path, or dots and spaces at the end of a name in it,
// are nothing. Many do, by default. Routes that have the path are among them, whatever
// their methods. It is for paths of which somebody else makes what he likes; an
// ambiguous one is near to nothing. It costs no more than the table is large.
func (t *Table) Near(escapedPath string) []*Route {
	if canonical(escapedPath) != nil {
		return nil
	}
	var found []*Route
	path := strings.TrimRight(escapedPath[1:], "/")
	t.loose.near(path, &found)
	if short := withoutBlanks(path); short != path {
		t.loose.near(short, &found)
	}
	return found
}

// withoutBlanks is a path without the names at its end that are nothing.
func withoutBlanks(path string) string {
	for path != "" {
		i := strings.LastIndexByte(path, '/')
		if decoded, _ := decode(path[i+1:]); loosely(decoded) != "" {
			break
		}
		path = strings.TrimRight(path[:max(i, 0)], "/")
	}
	return path
}

// near looks below n for what is left of a path, without the slash before it. Each node
// is seen at most once.
func (n *node) near(rest string, found *[]*Route) {
	collect(found, n.stars)
	if rest == "" {
		collect(found, n.leaves)
		return
	}
	name, rest, _ := strings.Cut(rest, "/")
	decoded, _ := decode(name)
	if next := n.literals[loosely(decoded)]; next != nil {
		next.near(rest, found)
	}
	if n.param != nil {
		n.param.near(rest, found)
	}
}

func collect(found *[]*Route, entries []*entry) {
	for _, e := range entries {
		if !slices.Contains(*found, &e.Route) {
			*found = append(*found, &e.Route)
		}
	}
}

// loosely is a name as such servers compare it.
func loosely(name string) string { return strings.ToLower(strings.TrimRight(name, ". ")) }

// loose is a pattern's names as such servers compare them.
func loose(segs []segment) []segment {
	segs = slices.Clone(segs)
	for i := range segs {
		if !segs[i].param {
			segs[i].text = loosely(segs[i].text)
		}
	}
	for len(segs) > 0 && segs[len(segs)-1] == (segment{}) {
		segs = segs[:len(segs)-1]
	}
	return segs
}
