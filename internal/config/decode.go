package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
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
		d.add(mark{file: d.file}, "", fmt.Sprintf("the file has %d bytes", len(data)), fmt.Sprintf("at most %d", maxFileBytes))
		return
	}
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		// Not err itself: its text quotes the source, which may hold a secret.
		var ye yaml.Error
		if errors.As(err, &ye) && ye.GetToken() != nil {
			d.add(d.tokenMark(ye.GetToken()), "", "not readable as YAML: "+ye.GetMessage(), yamlHint(ye.GetMessage()))
		} else {
			d.add(top, "", "not readable as YAML", "")
		}
		return
	}
	if len(file.Docs) > 1 {
		d.add(top, "", "more than one document in the file", "one; remove the line --- between them")
		return
	}
	v := reflect.ValueOf(into).Elem()
	d.root = v.Type()
	if len(file.Docs) == 1 && file.Docs[0].Body != nil {
		d.group(file.Docs[0].Body, v, "")
	}
}

// yamlHint adds what people usually did.
func yamlHint(msg string) string {
	switch {
	case strings.Contains(msg, "or '}' must be specified"), strings.Contains(msg, "reserved character"), strings.Contains(msg, "mapping value is not allowed"):
		return "put values with special characters into quotes, as in \"${NAME}\""
	case strings.Contains(msg, "tab character"):
		return "indent with spaces"
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
		d.add(d.nodeMark(n), path, "a YAML tag or directive", "the plain value; text that begins with ! goes into quotes")
	}
	return "", false
}

// value decodes a node into a field, a list entry or a map's value.
func (d *decoder) value(n ast.Node, v reflect.Value, path string, f field) {
	kind, ok := d.kind(n, path)
	if !ok {
		d.marks[path] = d.nodeMark(n) // it is not missing, too
		return
	}
	if kind == "nothing" {
		return
	}
	if _, set := d.marks[path]; !set || v.Kind() != reflect.Struct {
		d.marks[path] = d.nodeMark(n)
	}
	t := v.Type()
	switch {
	case isGroup(t):
		if f.off && d.isOff(n) {
			return
		}
		d.group(n, v, path)
	case t.Kind() == reflect.Map:
		d.mapping(n, v, path)
	case t.Kind() == reflect.Slice:
		d.list(n, kind, v, path, f)
	default:
		d.scalar(n, kind, v, path, f)
	}
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
			d.add(d.nodeMark(n), path, "found "+kind, "a mapping: lines of key: value")
		}
		return nil, false
	}
	first := make(map[string]mark)
	var out []*ast.MappingValueNode
	for _, p := range all {
		key, m := keyText(p), d.tokenMark(p.Key.GetToken())
		if before, dup := first[key]; dup {
			d.add(m, joinKey(path, key), "the key is given twice", fmt.Sprintf("once; the first is in line %d", before.line))
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

// group decodes a mapping with known keys.
func (d *decoder) group(n ast.Node, v reflect.Value, path string) {
	pairs, ok := d.pairs(n, path)
	if !ok {
		return
	}
	fields := fieldsOf(v.Type())
	for _, p := range pairs {
		key, m := keyText(p), d.tokenMark(p.Key.GetToken())
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == key })
		if i < 0 {
			if _, merge := p.Key.(*ast.MergeKeyNode); merge {
				d.kind(p.Key, path)
				continue
			}
			d.add(m, joinKey(path, key), "unknown key", d.whatKey(key, path, fields))
			continue
		}
		f := fields[i]
		fp := joinKey(path, f.key)
		if isGroup(f.typ) {
			d.marks[fp] = m
		}
		d.value(p.Value, v.Field(f.index), fp, f)
	}
	d.missing(fields, path)
}

// missing reports required keys that have no value.
func (d *decoder) missing(fields []field, path string) {
	for _, f := range fields {
		fp := joinKey(path, f.key)
		if _, set := d.marks[fp]; f.required && !set {
			d.add(d.at(path), fp, "the key is missing", "needed: "+strings.TrimSuffix(f.doc, "."))
		}
	}
}

// whatKey says which key an unknown one was meant to be.
func (d *decoder) whatKey(key, path string, fields []field) string {
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	if c := closest(key, keys); c != "" {
		return "did you mean " + c + "?"
	}
	elsewhere := ""
	walkFields(d.root, "", func(p string, f field) {
		if slices.Contains(f.envs, key) {
			elsewhere = "the variable " + key + " is " + p + " in this file"
		} else if f.key == key && elsewhere == "" && p != joinKey(path, key) {
			elsewhere = "did you mean " + p + "?"
		}
	})
	if elsewhere != "" {
		return elsewhere
	}
	return "expected " + orList(keys)
}

var mapKey = regexp.MustCompile(`^[A-Za-z0-9_./{}*~%:@-]+$`)

// mapping decodes a mapping whose keys are names.
func (d *decoder) mapping(n ast.Node, v reflect.Value, path string) {
	pairs, ok := d.pairs(n, path)
	if !ok {
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(pairs))
	for _, p := range pairs {
		key, m := keyText(p), d.tokenMark(p.Key.GetToken())
		if !mapKey.MatchString(key) {
			d.add(m, path, "found the name "+shown(key), "letters, digits and -_./{}*~%:@")
			continue
		}
		kp := joinKey(path, key)
		d.marks[kp] = m
		el := reflect.New(v.Type().Elem()).Elem()
		if isGroup(el.Type()) {
			setDefaults(el)
		}
		if _, null := p.Value.(*ast.NullNode); null && isGroup(el.Type()) {
			d.missing(fieldsOf(el.Type()), kp)
		}
		d.value(p.Value, el, kp, field{})
		out.SetMapIndex(reflect.ValueOf(key), el)
	}
	v.Set(out)
}

// list decodes a sequence, or a string that holds one.
func (d *decoder) list(n ast.Node, kind string, v reflect.Value, path string, f field) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		if kind != "text" || f.list == "" {
			d.add(d.nodeMark(n), path, "found "+kind, "a list: lines that begin with -, or [a, b]")
			return
		}
		text, vars, ok := d.text(n, path)
		if !ok {
			return
		}
		if f.list == "json" && len(vars) == 0 {
			d.add(d.nodeMark(n), path, "found text", "a list: lines that begin with -, or [a, b]")
			return
		}
		d.set(d.marks[path], path, text, vars, v, f)
		return
	}
	out := reflect.MakeSlice(v.Type(), 0, len(seq.Values))
	for i, item := range seq.Values {
		ip := fmt.Sprintf("%s[%d]", path, i)
		el := reflect.New(v.Type().Elem()).Elem()
		if isGroup(el.Type()) {
			setDefaults(el)
		}
		if _, null := item.(*ast.NullNode); null {
			d.add(d.nodeMark(item), ip, "an empty list entry", "remove it, or fill it in")
			continue
		}
		before := len(d.problems)
		d.value(item, el, ip, f)
		if isGroup(el.Type()) || d.has(ip) && len(d.problems) == before {
			out = reflect.Append(out, el)
		}
	}
	v.Set(out)
}

// scalar decodes one value, and insists on the type that it has in YAML unless
// it came from a variable.
func (d *decoder) scalar(n ast.Node, kind string, v reflect.Value, path string, f field) {
	m, t := d.marks[path], v.Type()
	if t == typeSecretRef {
		d.secret(n, kind, v, path)
		return
	}
	var text string
	var vars []string
	switch n := n.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		var ok bool
		if text, vars, ok = d.text(n, path); !ok {
			return
		}
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		text = n.GetToken().Value
	default:
		d.add(m, path, "found "+kind, "one value")
		return
	}
	want := "text"
	switch {
	case t == typeDuration:
		want = ""
	case t == typeSwitch && kind == "true or false":
		want = kind
	case t.Kind() == reflect.Int:
		want = "a number"
	case t.Kind() == reflect.Bool:
		want = "true or false"
	}
	if want != "" && kind != want && len(vars) == 0 {
		found := "found " + kind
		if kind == "text" {
			found += " " + shown(text)
		}
		if want == "text" {
			want = "text; put it into quotes"
		} else if kind == "text" {
			want += ", without quotes"
		}
		d.add(m, path, found, want)
		return
	}
	if t == typeRedisURL && redisLiteralPassword(n) {
		d.add(m, path, "a password written out in the URL (not shown)", "take it from a variable: ${REDIS_URL}, or redis://:${REDIS_PASSWORD}@host:6379")
		return
	}
	d.set(m, path, text, vars, v, f)
}

// set parses text into v. An empty value counts as none, so that ${VAR:-} and
// an empty variable leave the default alone. vars are the variables that text
// came from; if one is named like a secret, no message shows the text.
func (d *decoder) set(m mark, path, text string, vars []string, v reflect.Value, f field) {
	fail := func(key string, err error) {
		if ve, ok := errors.AsType[*valueError](err); ok && slices.ContainsFunc(vars, secretish.MatchString) {
			err = bad("the value of ${"+strings.Join(vars, "}, ${")+"} (not shown)", ve.want)
		}
		d.addErr(m, key, err)
	}
	if text == "" {
		delete(d.marks, path)
		return
	}
	if v.Kind() != reflect.Slice {
		val, err := parseScalar(text, v.Type(), f)
		if err != nil {
			fail(path, err)
			return
		}
		v.Set(val)
		return
	}
	items, err := splitList(text, f.list)
	if err != nil {
		fail(path, err)
		return
	}
	out := reflect.MakeSlice(v.Type(), 0, len(items))
	for i, item := range items {
		val, err := parseScalar(item, v.Type().Elem(), f)
		if err != nil {
			fail(fmt.Sprintf("%s[%d]", path, i), err)
			continue
		}
		out = reflect.Append(out, val)
	}
	v.Set(out)
}

// secret decodes a reference. Nothing of its text reaches a message.
func (d *decoder) secret(n ast.Node, kind string, v reflect.Value, path string) {
	m := d.marks[path]
	s, ok := n.(*ast.StringNode)
	if !ok {
		if kind == "a mapping" || kind == "a list" {
			d.add(m, path, "found "+kind, secretWant)
		} else {
			d.add(m, path, "found a secret written out (not shown here)", secretWant)
		}
		return
	}
	text := s.Value
	if text == "" {
		delete(d.marks, path)
		return
	}
	if strings.HasPrefix(text, "file:") {
		var err error
		if text, _, err = expand(text, d.lookup); err != nil {
			d.addErr(m, path, err)
			return
		}
	}
	ref, err := parseSecretRef(text)
	if err != nil {
		d.addErr(m, path, err)
		return
	}
	v.Set(reflect.ValueOf(ref))
}

// text is a string node's text, expanded.
func (d *decoder) text(n ast.Node, path string) (text string, vars []string, ok bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		text = n.Value
	case *ast.LiteralNode:
		text = strings.TrimSuffix(n.Value.Value, "\n")
	}
	out, names, err := expand(text, d.lookup)
	if err != nil {
		d.addErr(d.nodeMark(n), path, err)
		return "", nil, false
	}
	return out, names, true
}

// secretish finds variables whose value no message should show.
var secretish = regexp.MustCompile(`(?i)SECRET|PASSW|TOKEN|KEY|SALT|CREDENTIAL`)

var varDefault = regexp.MustCompile(`\$\{[A-Za-z0-9_]*(?::-([^}]*))?\}`)

// redisLiteralPassword says whether a URL in YAML has a password that does not
// come from a variable.
func redisLiteralPassword(n ast.Node) bool {
	s, ok := n.(*ast.StringNode)
	if !ok {
		return true
	}
	literal := varDefault.ReplaceAllString(s.Value, "$1")
	_, rest, _ := strings.Cut(literal, "://")
	rest, query, _ := strings.Cut(rest, "?")
	if strings.Contains(strings.ToLower(query), "password=") && !strings.Contains(s.Value, "password=${") {
		return true
	}
	i := strings.LastIndexByte(rest, '@')
	if i < 0 {
		return false
	}
	_, password, _ := strings.Cut(rest[:i], ":")
	return password != ""
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
