package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"keyway/internal/config"
	"keyway/internal/route"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxMigrateBytes is what the configuration takes of one file.
const maxMigrateBytes = 1 << 20

// source is a YAML file of which parts are moved and everything else stays as it is,
// byte for byte.
type source struct {
	name  string
	text  string
	eol   string
	lines []int // where each begins
	body  ast.Node
}

// unfit is a file that can't be migrated, and where that is.
type unfit struct{ where, what string }

func (e *unfit) Error() string { return e.where + ": " + e.what }

func readSource(name string) (*source, error) {
	info, err := os.Stat(name)
	if err == nil && info.Size() > maxMigrateBytes {
		return nil, &unfit{name, fmt.Sprintf("expected at most %d bytes, found %d", maxMigrateBytes, info.Size())}
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parseSource(name, string(data))
}

func parseSource(name, text string) (*source, error) {
	s := &source{name: name, text: text, eol: "\n", lines: []int{0}}
	if n := strings.Count(text, "\r\n"); n > 0 && n*2 >= strings.Count(text, "\n") {
		s.eol = "\r\n"
	}
	for i, c := range []byte(text) {
		if c == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	if !utf8.ValidString(text) {
		return nil, &unfit{name, "expected UTF-8"}
	}
	// The parser counts line breaks of two bytes as two here and there. With a space
	// for the first, every place is where it was.
	file, err := parser.ParseBytes([]byte(strings.ReplaceAll(text, "\r\n", " \n")), 0)
	if err != nil || len(file.Docs) > 1 {
		return nil, &unfit{name, "not one readable YAML document; 'keyway config check' says where"}
	}
	if len(file.Docs) == 1 {
		s.body = file.Docs[0].Body
	}
	if s.body == nil {
		return s, nil
	}
	var odd ast.Node
	ast.Walk(visitor(func(n ast.Node) {
		switch n.(type) {
		case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode, *ast.TagNode, *ast.DirectiveNode:
			if odd == nil {
				odd = n
			}
		}
	}), s.body)
	if odd != nil {
		return nil, s.unfit(odd.GetToken(), "a YAML anchor, alias, merge key or tag, which a configuration can't have; write the value out")
	}
	return s, nil
}

type visitor func(ast.Node)

func (v visitor) Visit(n ast.Node) ast.Visitor {
	v(n)
	return v
}

func (s *source) unfit(t *token.Token, what string) error { return &unfit{s.where(t), what} }

func (s *source) where(t *token.Token) string {
	return fmt.Sprintf("%s:%d:%d", s.name, t.Position.Line, t.Position.Column)
}

// offset is where a token begins. ok is false if it does not begin there: what its
// text looks like is checked, since nothing is cut by an unproved place.
func (s *source) offset(t *token.Token) (at int, ok bool) {
	line := t.Position.Line - 1
	if line < 0 || line >= len(s.lines) {
		return 0, false
	}
	at = s.lines[line]
	for range t.Position.Column - 1 {
		_, n := utf8.DecodeRuneInString(s.text[at:])
		at += n
	}
	rest := s.text[at:]
	return at, strings.HasPrefix(rest, t.Value) || strings.HasPrefix(rest, `"`) || strings.HasPrefix(rest, `'`)
}

// line is one line without its end.
func (s *source) line(n int) string {
	end := len(s.text)
	if n+1 < len(s.lines) {
		end = s.lines[n+1]
	}
	return strings.TrimRight(s.text[s.lines[n]:end], "\r\n")
}

// pairs are a mapping's entries; ok is false for what is none.
func pairs(n ast.Node) (list []*ast.MappingValueNode, ok bool) {
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return nil, true
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

func pairOf(list []*ast.MappingValueNode, key string) *ast.MappingValueNode {
	for _, p := range list {
		if keyOf(p) == key {
			return p
		}
	}
	return nil
}

func keyOf(p *ast.MappingValueNode) string { return p.Key.GetToken().Value }

// scalar is a value as text; ok is false for what is more than one.
func scalar(n ast.Node) (text string, ok bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	case *ast.NullNode:
		return "", true
	}
	return "", false
}

// routeAt is a route, and where its parts stand.
type routeAt struct {
	name, path, where string
	methods           []string
	asks              bool
	node              ast.Node
	authz, mapped     *ast.MappingValueNode // nil: not there
	inline            map[string]route.Mapping
}

const notValid = "not what a configuration has here; 'keyway config check' says what is"

func readRoutes(s *source) ([]*routeAt, error) {
	top, ok := pairs(s.body)
	if !ok {
		return nil, s.unfit(s.body.GetToken(), notValid)
	}
	list := pairOf(top, "routes")
	if list == nil {
		return nil, nil
	}
	seq, ok := list.Value.(*ast.SequenceNode)
	if !ok {
		return nil, s.unfit(list.Key.GetToken(), notValid)
	}
	var routes []*routeAt
	for _, n := range seq.Values {
		r, err := readRoute(s, n)
		if err != nil {
			return nil, err
		}
		routes = append(routes, r)
	}
	return routes, nil
}

// swapped refuses files that are what the other one should be: in each by itself there
// would be nothing to move.
func swapped(routes, pdp *source) error {
	has := func(s *source, keys ...string) string {
		top, _ := pairs(s.body)
		for _, key := range keys {
			if pairOf(top, key) != nil {
				return key
			}
		}
		return ""
	}
	wrongRoutes, wrongPDP := has(routes, "endpoint_map", "connection", "policies"), has(pdp, "routes", "services")
	switch {
	case wrongRoutes != "" && has(routes, "routes") == "" && wrongPDP != "" && has(pdp, "endpoint_map") == "":
		return &unfit{routes.name, fmt.Sprintf("it has %s, and %s has %s: the files look swapped; expected --routes %s --pdp %s", wrongRoutes, pdp.name, wrongPDP, pdp.name, routes.name)}
	case wrongRoutes != "" && has(routes, "routes") == "":
		return &unfit{routes.name, fmt.Sprintf("it has %s and no routes; expected --routes to name the file with the routes", wrongRoutes)}
	case wrongPDP != "" && has(pdp, "endpoint_map") == "":
		return &unfit{pdp.name, fmt.Sprintf("it has %s and no endpoint_map; expected --pdp to name the file with the endpoint_map", wrongPDP)}
	}
	return nil
}

func readRoute(s *source, n ast.Node) (*routeAt, error) {
	list, ok := pairs(n)
	if !ok || len(list) == 0 {
		return nil, s.unfit(n.GetToken(), notValid)
	}
	r := &routeAt{node: n, where: s.where(list[0].Key.GetToken()), inline: map[string]route.Mapping{}}
	text := func(key string) (string, error) {
		p := pairOf(list, key)
		if p == nil {
			return "", nil
		}
		value, ok := scalar(p.Value)
		if !ok {
			return "", s.unfit(p.Key.GetToken(), notValid)
		}
		if key != "id" && strings.Contains(value, "${") {
			return "", s.unfit(p.Key.GetToken(), "a variable: which entries are about this route can't be told here; write the value out")
		}
		return value, nil
	}
	var authz string
	var err error
	for key, into := range map[string]*string{"path": &r.path, "id": &r.name, "authz": &authz} {
		if *into, err = text(key); err != nil {
			return nil, err
		}
	}
	if r.name == "" {
		r.name = r.path
	}
	r.asks = authz == string(route.AuthzPDP)
	r.authz, r.mapped = pairOf(list, "authz"), pairOf(list, "authz_map")
	var written []string
	if p := pairOf(list, "methods"); p != nil {
		seq, ok := p.Value.(*ast.SequenceNode)
		if !ok {
			return nil, s.unfit(p.Key.GetToken(), notValid)
		}
		for _, item := range seq.Values {
			method, ok := scalar(item)
			if !ok || !slices.Contains(route.Methods(), method) {
				return nil, s.unfit(item.GetToken(), notValid)
			}
			written = append(written, method)
		}
	}
	r.methods = (&route.Route{Methods: written}).EffectiveMethods()
	if r.mapped == nil {
		return r, nil
	}
	inline, ok := pairs(r.mapped.Value)
	if !ok {
		return nil, s.unfit(r.mapped.Key.GetToken(), notValid)
	}
	for _, p := range inline {
		m, err := readMapping(s, p)
		if err != nil {
			return nil, err
		}
		r.inline[keyOf(p)] = route.Mapping(m)
	}
	return r, nil
}

func readMapping(s *source, p *ast.MappingValueNode) (config.Mapping, error) {
	var m config.Mapping
	bad := func(p *ast.MappingValueNode) (config.Mapping, error) {
		return m, s.unfit(p.Key.GetToken(), notValid)
	}
	list, ok := pairs(p.Value)
	if !ok || len(list) == 0 {
		return bad(p)
	}
	for _, kv := range list {
		if keyOf(kv) == "props" {
			props, ok := pairs(kv.Value)
			if !ok {
				return bad(kv)
			}
			for _, prop := range props {
				text, ok := scalar(prop.Value)
				if !ok {
					return bad(prop)
				}
				if m.Props == nil {
					m.Props = map[string]string{}
				}
				m.Props[keyOf(prop)] = text
			}
			continue
		}
		into := map[string]*string{"resource": &m.Resource, "action": &m.Action, "id_from": &m.IDFrom}[keyOf(kv)]
		text, ok := scalar(kv.Value)
		if into == nil || !ok {
			return bad(kv)
		}
		*into = text
	}
	return m, nil
}

// entryAt is what the endpoint_map says about one method of a path.
type entryAt struct {
	path, method, where string
	m                   config.Mapping
	pair                *ast.MappingValueNode // of the method
	of                  *ast.MappingValueNode // of the path
}

func readEndpoints(s *source) (all *ast.MappingValueNode, entries []*entryAt, err error) {
	top, ok := pairs(s.body)
	if !ok {
		return nil, nil, s.unfit(s.body.GetToken(), notValid)
	}
	all = pairOf(top, "endpoint_map")
	if all == nil {
		return nil, nil, nil
	}
	paths, ok := pairs(all.Value)
	if !ok {
		return nil, nil, s.unfit(all.Key.GetToken(), notValid)
	}
	for _, path := range paths {
		if strings.Contains(keyOf(path), "${") {
			return nil, nil, s.unfit(path.Key.GetToken(), "a variable: which routes this entry is about can't be told here; write the path out")
		}
		methods, ok := pairs(path.Value)
		if !ok {
			return nil, nil, s.unfit(path.Key.GetToken(), notValid)
		}
		for _, p := range methods {
			m, err := readMapping(s, p)
			if err != nil {
				return nil, nil, err
			}
			entries = append(entries, &entryAt{keyOf(path), keyOf(p), s.where(p.Key.GetToken()), m, p, path})
		}
	}
	return all, entries, nil
}
