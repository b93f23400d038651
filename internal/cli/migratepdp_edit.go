package cli

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"keyway/internal/config"
)

// edit replaces a stretch of a source.
type edit struct {
	from, to int
	text     string
}

// apply makes edits, which do not overlap. Those of one place are made in their order.
func (s *source) apply(edits []edit) string {
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Compare(a.from, b.from) })
	var b strings.Builder
	at := 0
	for _, e := range edits {
		if e.from < at {
			e.from = at
		}
		b.WriteString(s.text[at:e.from])
		b.WriteString(e.text)
		at = max(e.to, e.from)
	}
	b.WriteString(s.text[at:])
	return b.String()
}

// errPlace is a place that can't be found again in the text.
var errPlace = errors.New("a place could not be found")

// manner is how faithfully the moved text is kept; the next is tried where one does
// not come out right.
type manner struct{ verbatim, comments bool }

var manners = []manner{{true, true}, {false, true}, {false, false}}

// isComment and isBlank say what a line is as a whole.
func isComment(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "#") }
func isBlank(line string) bool   { return strings.TrimSpace(line) == "" }

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// lastLine is the last line that a node has a token in.
func lastLine(n ast.Node) int {
	last := 0
	ast.Walk(visitor(func(n ast.Node) {
		last = max(last, n.GetToken().Position.Line-1)
		switch n := n.(type) {
		case *ast.MappingNode:
			if n.End != nil {
				last = max(last, n.End.Position.Line-1)
			}
		case *ast.SequenceNode:
			if n.End != nil {
				last = max(last, n.End.Position.Line-1)
			}
		}
	}), n)
	return last
}

// block is the lines of an entry in block style: from its key to the last that is
// indented deeper.
func (s *source) block(p *ast.MappingValueNode) (first, last int) {
	first = p.Key.GetToken().Position.Line - 1
	last = max(first, lastLine(p.Value))
	indent := p.Key.GetToken().Position.Column - 1
	for n := last + 1; n < len(s.lines); n++ {
		line := s.line(n)
		if isBlank(line) {
			continue
		}
		if indentOf(line) <= indent {
			break
		}
		last = n
	}
	return first, last
}

// above is the first of the comment lines directly above a line, with its indent.
func (s *source) above(line int) int {
	indent := indentOf(s.line(line))
	for line > 0 && isComment(s.line(line-1)) && indentOf(s.line(line-1)) == indent {
		line--
	}
	return line
}

func isFlow(n ast.Node) bool {
	m, ok := n.(*ast.MappingNode)
	return ok && m.IsFlowStyle
}

// flowEnd is behind the closing brace of a mapping in flow style.
func (s *source) flowEnd(n ast.Node) (int, error) {
	m, ok := n.(*ast.MappingNode)
	if !ok || !m.IsFlowStyle || m.End == nil {
		return 0, errPlace
	}
	at, ok := s.offset(m.End)
	if !ok {
		return 0, errPlace
	}
	return at + 1, nil
}

// rewritten is a mapping in flow style, in the order of its keys.
func rewritten(m *migrateMove) string {
	var parts []string
	list, _ := pairs(m.entry.pair.Value)
	for _, p := range list {
		key := keyOf(p)
		switch key {
		case "resource":
			parts = append(parts, key+": "+config.YAMLScalar(m.m.Resource))
		case "action":
			parts = append(parts, key+": "+config.YAMLScalar(m.m.Action))
		case "id_from":
			parts = append(parts, key+": "+config.YAMLScalar(m.m.IDFrom))
		case "props":
			props, _ := pairs(p.Value)
			var inner []string
			for _, prop := range props {
				inner = append(inner, config.YAMLScalar(keyOf(prop))+": "+config.YAMLScalar(m.m.Props[keyOf(prop)]))
			}
			parts = append(parts, key+": {"+strings.Join(inner, ", ")+"}")
		}
	}
	return m.entry.method + ": {" + strings.Join(parts, ", ") + "}"
}

// renames are the edits by which an entry's text has the names of its route. ok is
// false if it can't be had by exchanging values where they stand.
func (s *source) renames(m *migrateMove) (edits []edit, ok bool) {
	list, _ := pairs(m.entry.pair.Value)
	var values []ast.Node
	for _, p := range list {
		switch keyOf(p) {
		case "id_from":
			values = append(values, p.Value)
		case "props":
			props, _ := pairs(p.Value)
			for _, prop := range props {
				values = append(values, prop.Value)
			}
		}
	}
	for _, v := range values {
		text, _ := scalar(v)
		if !strings.HasPrefix(text, "{") {
			continue
		}
		name := strings.Trim(text, "{}")
		to, known := m.names[name]
		if !known || to == text {
			continue
		}
		at, found := s.offset(v.GetToken())
		length := len(text) + 2
		if !found || at+length > len(s.text) || s.text[at+1:at+length-1] != text {
			return nil, false
		}
		edits = append(edits, edit{at, at + length, config.YAMLScalar(to)})
	}
	return edits, true
}

// slice is a stretch of the source after edits within it.
func (s *source) slice(from, to int, edits []edit) string {
	part := &source{text: s.text[from:to]}
	moved := make([]edit, len(edits))
	for i, e := range edits {
		moved[i] = edit{e.from - from, e.to - from, e.text}
	}
	return part.apply(moved)
}

// inLines is a moved entry as lines without indent, for a block: its comments first.
func (s *source) inLines(m *migrateMove, how manner) ([]string, error) {
	edits, exact := s.renames(m)
	pair := m.entry.pair
	if isFlow(m.entry.of.Value) { // its lines are shared with others
		from, ok := s.offset(pair.Key.GetToken())
		to, err := s.flowEnd(pair.Value)
		if !ok || err != nil {
			return nil, errPlace
		}
		text := s.slice(from, to, edits)
		if !how.verbatim || !exact || strings.Contains(text, "\n") {
			return append(s.commentsOf(m, how), rewritten(m)), nil
		}
		return append(s.commentsOf(m, how), text), nil
	}
	if !how.verbatim || !exact {
		return append(s.commentsOf(m, how), rewritten(m)), nil
	}
	first, last := s.block(pair)
	to := len(s.text)
	if last+1 < len(s.lines) {
		to = s.lines[last+1]
	}
	from := s.lines[s.above(first)]
	indent := pair.Key.GetToken().Position.Column - 1
	var out []string
	for line := range strings.Lines(s.slice(from, to, edits)) {
		line = strings.TrimRight(line, "\r\n")
		out = append(out, line[min(indent, indentOf(line)):])
	}
	return out, nil
}

// commentsOf is what is said beside and above an entry whose text is written anew. An
// entry in braces has none of its own.
func (s *source) commentsOf(m *migrateMove, how manner) []string {
	if !how.comments || isFlow(m.entry.of.Value) {
		return nil
	}
	first, last := s.block(m.entry.pair)
	return s.commentsIn(s.above(first), last)
}

func (s *source) commentsIn(first, last int) []string {
	var out []string
	for n := first; n <= last; n++ {
		if c := comment(s.line(n)); c != "" {
			out = append(out, c)
		}
	}
	return out
}

// comment is the comment at the end of a line, if it has one.
func comment(line string) string {
	var quote byte
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quote == '"' && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case (c == '"' || c == '\'') && (i == 0 || strings.IndexByte(" {[,:", line[i-1]) >= 0):
			quote = c
		case c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			return strings.TrimRight(line[i:], " \r")
		}
	}
	return ""
}
