package route

import (
	"errors"
	"fmt"
	"strings"
)

// MaxRoutes bounds a table; building one compares every pair.
const MaxRoutes = 2000

// Table is an immutable set of routes of which at most one matches any request.
type Table struct {
	entries []*entry
	root    node
	loose   node // see Near
}

// entry is a route with what was worked out from it once.
type entry struct {
	Route   Route
	pattern Pattern
	params  []string
	methods methodSet
	tmpl    template
}

// node is one segment deep in the tree of patterns.
type node struct {
	literals map[string]*node
	param    *node
	leaves   []*entry // patterns that end here
	stars    []*entry // patterns whose * begins here
}

// Conflict is two routes that could both match a request.
type Conflict struct {
	A, B    *Route // in the order of the list
	Method  string // a method that both have
	Example string // a path that both match
	// CaseOnly: they overlap only for an upstream that ignores letter case.
	CaseOnly bool
}

func (c *Conflict) Error() string {
	if c.CaseOnly {
		return fmt.Sprintf("routes %s (%s) and %s (%s) differ only in letter case: %s %s would belong to either, for a server that ignores case",
			c.A, c.A.Source, c.B, c.B.Source, c.Method, c.Example)
	}
	return fmt.Sprintf("routes %s (%s) and %s (%s) could both match %s %s",
		c.A, c.A.Source, c.B, c.B.Source, c.Method, c.Example)
}

// InvalidError is a route that can't be in any table.
type InvalidError struct {
	Route *Route
	Field string // the key of routes.yaml: path, methods or upstream_path
	Err   error
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("route %s (%s): %s: %s", e.Route, e.Route.Source, e.Field, e.Err)
}

func (e *InvalidError) Unwrap() error { return e.Err }

// NewTable builds a table, or says everything that is wrong with the routes:
// the error joins an *InvalidError or *Conflict for each.
func NewTable(routes []Route) (*Table, error) {
	if len(routes) > MaxRoutes {
		return nil, fmt.Errorf("a table has at most %d routes, not %d", MaxRoutes, len(routes))
	}
	t := &Table{}
	var errs []error
	for _, r := range routes {
		e, err := newEntry(r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, other := range t.entries {
			if c := conflict(other, e); c != nil {
				errs = append(errs, c)
			}
		}
		t.entries = append(t.entries, e)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	for _, e := range t.entries {
		t.root.insert(e.pattern.segs, e)
		t.loose.insert(loose(e.pattern.segs), e)
	}
	return t, nil
}

func newEntry(r Route) (*entry, error) {
	e := &entry{Route: r}
	var err error
	if e.pattern, err = ParsePattern(r.Path); err != nil {
		return nil, &InvalidError{&e.Route, "path", err}
	}
	e.params = e.pattern.Params()
	if e.methods, err = parseMethods(r.Methods); err != nil {
		return nil, &InvalidError{&e.Route, "methods", err}
	}
	switch {
	case r.PreservePath && r.UpstreamPath != "":
		return nil, &InvalidError{&e.Route, "upstream_path", errors.New("preserve_path keeps the path as it came; use one of the two")}
	case r.UpstreamPath != "":
		if e.tmpl, err = parseTemplate(r.UpstreamPath, e.pattern); err != nil {
			return nil, &InvalidError{&e.Route, "upstream_path", err}
		}
	}
	return e, nil
}

func conflict(a, b *entry) *Conflict {
	both := a.methods & b.methods
	if both == 0 {
		return nil
	}
	example, overlap := a.pattern.Overlap(b.pattern, true)
	if !overlap {
		return nil
	}
	c := &Conflict{A: &a.Route, B: &b.Route, Method: both.names()[0], Example: example, CaseOnly: true}
	if example, exact := a.pattern.Overlap(b.pattern, false); exact {
		c.Example, c.CaseOnly = example, false
	}
	return c
}

func (n *node) insert(segs []segment, e *entry) {
	for _, s := range segs {
		var next *node
		if s.param {
			if n.param == nil {
				n.param = &node{}
			}
			next = n.param
		} else {
			if next = n.literals[s.text]; next == nil {
				if n.literals == nil {
					n.literals = make(map[string]*node)
				}
				next = &node{}
				n.literals[s.text] = next
			}
		}
		n = next
	}
	if e.pattern.star {
		n.stars = append(n.stars, e)
	} else {
		n.leaves = append(n.leaves, e)
	}
}

// Routes are the routes in the order they were given. Don't change them.
func (t *Table) Routes() []*Route {
	out := make([]*Route, len(t.entries))
	for i, e := range t.entries {
		out[i] = &e.Route
	}
	return out
}

// Outcome is what came of matching a request.
type Outcome uint8

// The outcomes. The zero value is the one that lets nothing through.
const (
	NotFound         Outcome = iota // no route has this path
	MethodNotAllowed                // one or more have it, for other methods: Match.Allow
	Refused                         // the path is ambiguous: Match.Err is an *AmbiguousError
	Found
)

func (o Outcome) String() string {
	return [...]string{"not found", "method not allowed", "refused", "found"}[o]
}

// Match is a request and the route it takes. Its strings are parts of the path
// that was matched.
type Match struct {
	Route *Route // nil unless Found
	Err   error  // why it was Refused

	entry   *entry
	path    string
	values  [MaxPatternParams]span
	n       int
	rest    int
	allowed methodSet
}

// span is where a parameter's raw value is in the path.
type span struct{ from, to int }

// Match finds the route of a request. The path is the escaped one, as sent; it
// is checked by Canonical first, so an ambiguous path reaches no route.
func (t *Table) Match(method, escapedPath string) (Match, Outcome) {
	m := Match{path: escapedPath}
	if e := canonical(escapedPath); e != nil {
		m.Err = e
		return m, Refused
	}
	if m.find(&t.root, 1, methodBit(method)) {
		m.Route = &m.entry.Route
		return m, Found
	}
	if m.allowed != 0 {
		return m, MethodNotAllowed
	}
	return m, NotFound
}

// find looks below n for the segments from pos on. Each node of the tree is
// seen at most once, so a long path costs no more than the table is large.
func (m *Match) find(n *node, pos int, method methodSet) bool {
	end := len(m.path)
	if i := strings.IndexByte(m.path[pos:], '/'); i >= 0 {
		end = pos + i
	}
	seg := m.path[pos:end]
	if n.literals != nil {
		lit, _ := decode(seg)
		if next := n.literals[lit]; next != nil && m.step(next, end, method) {
			return true
		}
	}
	if n.param != nil && seg != "" {
		m.values[m.n] = span{pos, end}
		m.n++
		if m.step(n.param, end, method) {
			return true
		}
		m.n--
	}
	if m.take(n.stars, method) {
		m.rest = pos
		return true
	}
	return false
}

// step goes past a segment that ends at end.
func (m *Match) step(n *node, end int, method methodSet) bool {
	if end == len(m.path) {
		return m.take(n.leaves, method)
	}
	return m.find(n, end+1, method)
}

// take picks the one entry that has the method. All of them have the path.
func (m *Match) take(entries []*entry, method methodSet) bool {
	for _, e := range entries {
		if e.methods&method != 0 {
			m.entry = e
			return true
		}
		m.allowed |= e.methods
	}
	return false
}

// Allow lists the methods that the path does have, for the Allow header
// (RFC 9110 section 10.2.1), comma-separated. It is empty unless the outcome
// was MethodNotAllowed.
func (m *Match) Allow() string { return m.allowed.String() }

// Rest is what * matched, escaped as it came; empty if there is no *.
func (m *Match) Rest() string {
	if m.entry == nil || !m.entry.pattern.star {
		return ""
	}
	return m.path[m.rest:]
}

// Path is the escaped path that was matched.
func (m *Match) Path() string { return m.path }

// Param is the decoded value of a path parameter.
func (m *Match) Param(name string) (string, bool) {
	if m.entry == nil {
		return "", false
	}
	for i, p := range m.entry.params {
		if p == name {
			v, _ := decode(m.raw(i))
			return v, true
		}
	}
	return "", false
}

// Params are all path parameters, decoded; nil if the route has none.
func (m *Match) Params() map[string]string {
	if m.entry == nil || len(m.entry.params) == 0 {
		return nil
	}
	out := make(map[string]string, len(m.entry.params))
	for _, name := range m.entry.params {
		out[name], _ = m.Param(name)
	}
	return out
}

func (m *Match) raw(i int) string { return m.path[m.values[i].from:m.values[i].to] }
