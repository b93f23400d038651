package cli

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// moveInto is routes.yaml with the moved entries.
func moveInto(routes, pdp *source, all *ast.MappingValueNode, moves []*migrateMove, how manner) (string, error) {
	byRoute := make(map[*routeAt][]*migrateMove)
	var order []*routeAt
	for _, m := range moves {
		if m.there {
			continue
		}
		if byRoute[m.route] == nil {
			order = append(order, m.route)
		}
		byRoute[m.route] = append(byRoute[m.route], m)
	}
	whole := wholePaths(pdp, all, moves)
	var edits []edit
	for _, r := range order {
		e, err := intoRoute(routes, pdp, r, byRoute[r], whole, how)
		if err != nil {
			return "", err
		}
		edits = append(edits, e...)
	}
	return routes.apply(edits), nil
}

// wholePaths are the comments of paths of which nothing stays, by the first entry
// that is moved.
func wholePaths(pdp *source, all *ast.MappingValueNode, moves []*migrateMove) map[*migrateMove][]string {
	comments := make(map[*migrateMove][]string)
	seen := make(map[*ast.MappingValueNode]bool)
	for _, m := range moves {
		if seen[m.entry.of] || m.there || isFlow(all.Value) || !allMoved(m.entry.of, moves) {
			continue
		}
		seen[m.entry.of] = true
		first := m.entry.of.Key.GetToken().Position.Line - 1
		last := first
		if isFlow(m.entry.of.Value) {
			last = lastLine(m.entry.of.Value)
		}
		comments[m] = pdp.commentsIn(pdp.above(first), last)
	}
	return comments
}

func allMoved(path *ast.MappingValueNode, moves []*migrateMove) bool {
	list, _ := pairs(path.Value)
	for _, p := range list {
		if !slices.ContainsFunc(moves, func(m *migrateMove) bool { return m.entry.pair == p }) {
			return false
		}
	}
	return true
}

// intoRoute are the edits of one route.
func intoRoute(s, pdp *source, r *routeAt, moves []*migrateMove, whole map[*migrateMove][]string, how manner) ([]edit, error) {
	flowRoute := isFlow(r.node)
	if flowRoute || r.mapped != nil && isFlow(r.mapped.Value) {
		return intoFlow(s, pdp, r, moves, whole, how, flowRoute)
	}
	var at, indent int
	var head string
	switch {
	case r.mapped == nil: // behind authz
		line := lastLine(r.authz.Value)
		indent = r.authz.Key.GetToken().Position.Column - 1
		head = strings.Repeat(" ", indent) + "authz_map:" + s.eol
		indent += 2
		at = s.lineEnd(line)
	default:
		first, last := s.block(r.mapped)
		inline, _ := pairs(r.mapped.Value)
		indent = r.mapped.Key.GetToken().Position.Column - 1 + 2
		if len(inline) > 0 {
			indent = inline[0].Key.GetToken().Position.Column - 1
		} else if rest := s.line(first)[r.mapped.Key.GetToken().Position.Column-1:]; strings.TrimSpace(strings.TrimSuffix(rest, comment(rest))) != "authz_map:" {
			return nil, errPlace // null, written out
		}
		at = s.lineEnd(last)
	}
	var b strings.Builder
	if at == len(s.text) && !strings.HasSuffix(s.text, "\n") {
		b.WriteString(s.eol)
	}
	b.WriteString(head)
	for _, m := range moves {
		lines, err := pdp.inLines(m, how)
		if err != nil {
			return nil, err
		}
		if how.comments {
			lines = append(slices.Clone(whole[m]), lines...)
		}
		for _, line := range lines {
			if line != "" {
				line = strings.Repeat(" ", indent) + line
			}
			b.WriteString(line + s.eol)
		}
	}
	return []edit{{at, at, b.String()}}, nil
}

// intoFlow writes into braces, and comments above the line on which they begin.
func intoFlow(s, pdp *source, r *routeAt, moves []*migrateMove, whole map[*migrateMove][]string, how manner, flowRoute bool) ([]edit, error) {
	var entries, comments []string
	for _, m := range moves {
		comments = append(append(comments, whole[m]...), pdp.commentsOf(m, how)...)
		entries = append(entries, rewritten(m))
	}
	text := strings.Join(entries, ", ")
	var line, at int
	switch {
	case r.mapped != nil:
		m, ok := r.mapped.Value.(*ast.MappingNode)
		if !ok || m.Start == nil || !m.IsFlowStyle {
			return nil, errPlace
		}
		open, ok := s.offset(m.Start)
		if !ok {
			return nil, errPlace
		}
		switch rest := s.text[open+1:]; {
		case len(m.Values) == 0:
		case rest[0] == '\n' || rest[0] == '\r':
			text += ","
		default:
			text += ", "
		}
		at, line = open+1, r.mapped.Key.GetToken().Position.Line-1
	default:
		value, ok := s.offset(r.authz.Value.GetToken())
		if !ok {
			return nil, errPlace
		}
		length := len("pdp")
		if c := s.text[value]; c == '"' || c == '\'' {
			length += 2
		}
		at, line = value+length, r.node.GetToken().Position.Line-1
		text = ", authz_map: {" + text + "}"
	}
	if flowRoute {
		line = r.node.GetToken().Position.Line - 1
	}
	edits := []edit{{at, at, text}}
	if how.comments && len(comments) > 0 {
		indent := strings.Repeat(" ", indentOf(s.line(line)))
		above := ""
		for _, c := range comments {
			above += indent + c + s.eol
		}
		edits = append(edits, edit{s.lines[line], s.lines[line], above})
	}
	return edits, nil
}

// lineEnd is where the line behind one begins.
func (s *source) lineEnd(line int) int {
	if line+1 < len(s.lines) {
		return s.lines[line+1]
	}
	return len(s.text)
}

// takeOut is pdp.yaml without the moved entries.
func takeOut(s *source, all *ast.MappingValueNode, moves []*migrateMove) (string, error) {
	gone := make(map[*ast.MappingValueNode]bool)
	carried := make(map[*ast.MappingValueNode]bool) // its comments went along
	for _, m := range moves {
		gone[m.entry.pair] = true
		carried[m.entry.pair] = !m.there
	}
	paths, _ := pairs(all.Value)
	every := len(paths) > 0
	for _, path := range paths {
		methods, _ := pairs(path.Value)
		whole := len(methods) > 0
		for _, p := range methods {
			whole = whole && gone[p]
			carried[path] = carried[path] || carried[p]
		}
		gone[path] = whole
		every = every && whole
	}
	gone[all] = every
	r := remover{s: s, gone: gone, carried: carried, lines: make(map[int]bool), keep: make(map[int]string)}
	if top, ok := s.body.(*ast.MappingNode); ok && top.IsFlowStyle {
		if err := r.container(top); err != nil {
			return "", err
		}
	} else if err := r.pair(all); err != nil {
		return "", err
	}
	return s.apply(append(r.edits, r.wholeLines()...)), nil
}

// remover collects what is taken out of a source.
type remover struct {
	s       *source
	gone    map[*ast.MappingValueNode]bool
	carried map[*ast.MappingValueNode]bool
	lines   map[int]bool
	keep    map[int]string // what stays of such a line
	edits   []edit
}

// pair takes out an entry of a block, or what is gone of it.
func (r *remover) pair(p *ast.MappingValueNode) error {
	first, last := p.Key.GetToken().Position.Line-1, 0
	if isFlow(p.Value) {
		if !r.gone[p] {
			return r.container(p.Value.(*ast.MappingNode))
		}
		end, err := r.s.flowEnd(p.Value)
		if err != nil {
			return err
		}
		for last = first; r.s.lineEnd(last) < end; last++ {
		}
		r.removeLines(p, first, last)
		return nil
	}
	list, _ := pairs(p.Value)
	if len(list) > 0 && (keyOf(list[0]) == "resource" || keyOf(list[0]) == "action" || keyOf(list[0]) == "id_from" || keyOf(list[0]) == "props") && r.gone[p] {
		first, last := r.s.block(p)
		r.removeLines(p, first, last)
		return nil
	}
	for _, inner := range list {
		if err := r.pair(inner); err != nil {
			return err
		}
	}
	if r.gone[p] {
		r.removeLines(p, first, first)
	}
	return nil
}

// removeLines takes out lines, with the comments above that went along.
func (r *remover) removeLines(p *ast.MappingValueNode, first, last int) {
	if r.carried[p] {
		first = r.s.above(first)
	} else if c := comment(r.s.line(first)); c != "" {
		r.keep[first] = strings.Repeat(" ", indentOf(r.s.line(first))) + c + r.s.eol
	}
	for n := first; n <= last; n++ {
		r.lines[n] = true
	}
}

// container takes out of braces what is gone.
func (r *remover) container(m *ast.MappingNode) error {
	begin := func(i int) (int, error) {
		at, ok := r.s.offset(m.Values[i].Key.GetToken())
		if !ok {
			return 0, errPlace
		}
		return at, nil
	}
	for i := 0; i < len(m.Values); i++ {
		if !r.gone[m.Values[i]] {
			if inner, ok := m.Values[i].Value.(*ast.MappingNode); ok && inner.IsFlowStyle {
				if err := r.container(inner); err != nil {
					return err
				}
			}
			continue
		}
		j := i
		for j+1 < len(m.Values) && r.gone[m.Values[j+1]] {
			j++
		}
		from, err := begin(i)
		if err != nil {
			return err
		}
		to, err := r.s.flowEnd(m.Values[j].Value)
		if err != nil {
			return err
		}
		if j+1 < len(m.Values) {
			if to, err = begin(j + 1); err != nil {
				return err
			}
		} else if i > 0 {
			if from, err = r.s.flowEnd(m.Values[i-1].Value); err != nil {
				return err
			}
		}
		r.edits = append(r.edits, edit{from, to, ""})
		i = j
	}
	return nil
}

// wholeLines are the edits for lines that go, with one of two blank lines that would
// meet.
func (r *remover) wholeLines() []edit {
	var edits []edit
	for n := 0; n < len(r.s.lines); n++ {
		if !r.lines[n] {
			continue
		}
		first, kept := n, r.keep[n]
		for r.lines[n+1] {
			n++
			kept += r.keep[n]
		}
		blankBefore := first == 0 || isBlank(r.s.line(first-1))
		for kept == "" && blankBefore && n+1 < len(r.s.lines)-1 && isBlank(r.s.line(n+1)) {
			n++
		}
		edits = append(edits, edit{r.s.lines[first], r.s.lineEnd(n), kept})
	}
	return edits
}
