package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFileBytes bounds one file, and with it what its parser can take.
const maxFileBytes = 1 << 20

// decoder reads one file into one struct. It walks the syntax tree itself, so
// that it can report every problem and knows where each value stands.
type decoder struct {
	*findings
	file   string
	lookup func(string) (string, bool)
	marks  map[string]mark // by key path
	root   reflect.Type
}

// decodeFile reads data into the struct that into points to, which has its
// defaults already.
func (d *decoder) decodeFile(data []byte, into any) {
	d.marks[""] = mark{file: d.file, line: 1, column: 1}
	top := d.marks[""]
	if len(data) > maxFileBytes {
		d.add(mark{file: d.file}, "", fmt.Sprintf("the file has %d bytes", len(data)), fmt.Sprintf("expected at most %d", maxFileBytes))
		return
	}
	if tooDeep(data) {
		d.add(mark{file: d.file}, "", fmt.Sprintf("brackets nested more than %d deep", maxNesting), "")
		return
	}
	// The parser counts some line breaks of two bytes twice (YAML 1.2 section 5.4 makes
	// them one anyway).
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	// Some editors begin a file with one, and nobody sees it (YAML 1.2 section 5.2).
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		// Not err itself: its text quotes the source, which may hold a secret.
		var ye yaml.Error
		if errors.As(err, &ye) && ye.GetToken() != nil {
			d.add(d.tokenMark(ye.GetToken()), "", "not readable as YAML: "+strings.ReplaceAll(ye.GetMessage(), "\t", `\t`), yamlHint(ye.GetMessage()))
		} else {
			d.add(top, "", "not readable as YAML", "")
		}
		return
	}
	if len(file.Docs) > 1 {
		d.add(top, "", "more than one document in the file", "expected one; remove the line --- between them")
		return
	}
	v := reflect.ValueOf(into).Elem()
	d.root = v.Type()
	if len(file.Docs) == 1 && file.Docs[0].Body != nil {
		d.group(file.Docs[0].Body, v, "")
	}
}

// maxNesting bounds brackets in brackets: the parser's time grows with the
// square of it. No configuration needs five.
const maxNesting = 100

// tooDeep counts brackets, also in strings, which costs nobody anything.
func tooDeep(data []byte) bool {
	depth := 0
	for _, c := range data {
		switch c {
		case '[', '{':
			if depth++; depth > maxNesting {
				return true
			}
		case ']', '}':
			depth = max(0, depth-1)
		}
	}
	return false
}

// yamlHint adds what people usually did.
func yamlHint(msg string) string {
	switch {
	case strings.Contains(msg, "' must be specified"), strings.Contains(msg, "reserved character"), strings.Contains(msg, "mapping value is not allowed"):
		return "put values with special characters into quotes, as in \"${NAME}\""
	case strings.Contains(msg, "tab character"), strings.Contains(msg, "'\t'"):
		return "indent with spaces"
	case strings.Contains(msg, "is not allowed in this context"):
		return "indent what belongs together by the same number of spaces"
	}
	return ""
}

func (d *decoder) tokenMark(t *token.Token) mark {
	if t == nil || t.Position == nil {
		return mark{file: d.file, line: 1, column: 1}
	}
	return mark{file: d.file, line: max(1, t.Position.Line), column: max(1, t.Position.Column)}
}

// nodeMark is where a node begins, which for a mapping is its first key.
func (d *decoder) nodeMark(n ast.Node) mark {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return d.tokenMark(m.Values[0].Key.GetToken())
	}
	return d.tokenMark(n.GetToken())
}

// kind names what a node is, and refuses what has no place in a configuration.
func (d *decoder) kind(n ast.Node, path string) (string, bool) {
	switch n.(type) {
	case *ast.NullNode:
		return "nothing", true
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping", true
	case *ast.SequenceNode:
		return "a list", true
	case *ast.StringNode, *ast.LiteralNode:
		return "text", true
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number", true
	case *ast.BoolNode:
		return "true or false", true
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		d.add(d.nodeMark(n), path, "a YAML anchor, alias or merge key", "write the value out; text that begins with & or * goes into quotes")
	default:
		d.add(d.nodeMark(n), path, "a YAML tag or directive", "write the plain value; text that begins with ! goes into quotes")
	}
	return "", false
}

func (d *decoder) isOff(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value == "off"
	case *ast.BoolNode:
		return !n.Value
	}
	return false
}

// pairs are the entries of a mapping, without those whose key comes twice.
func (d *decoder) pairs(n ast.Node, path string) ([]*ast.MappingValueNode, bool) {
	var all []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		all = n.Values
	case *ast.MappingValueNode:
		all = []*ast.MappingValueNode{n}
	default:
		if kind, ok := d.kind(n, path); ok {
			d.add(d.nodeMark(n), path, "found "+kind, "expected a mapping: lines of key: value")
		}
		return nil, false
	}
	first := make(map[string]mark)
	var out []*ast.MappingValueNode
	for _, p := range all {
		key, m := keyText(p), d.tokenMark(p.Key.GetToken())
		if before, dup := first[key]; dup {
			d.add(m, joinKey(path, key), "the key is given twice", fmt.Sprintf("expected once; the first is in line %d", before.line))
			continue
		}
		first[key] = m
		out = append(out, p)
	}
	return out, true
}

func keyText(p *ast.MappingValueNode) string {
	if s, ok := p.Key.(*ast.StringNode); ok {
		return s.Value
	}
	return p.Key.GetToken().Value
}

// at is where a key stands, or the nearest thing around it that stands anywhere.
func (d *decoder) at(path string) mark {
	for {
		if m, ok := d.marks[path]; ok {
			return m
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return mark{file: d.file}
		}
		path = path[:i]
	}
}

// has says whether a key was given, in the file or the environment.
func (d *decoder) has(path string) bool {
	_, ok := d.marks[path]
	return ok
}

// sortedKeys makes reports repeatable.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
