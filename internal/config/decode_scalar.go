package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

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
		want := "expected one value"
		if kind == "a mapping" {
			want += "; put text with a colon into quotes"
		}
		d.add(m, path, "found "+kind, want)
		return
	}
	want := "text"
	switch {
	case t == typeDuration, t == typeRate: // parsed as what it is written like
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
		if want == "text" && len(f.enum) > 0 {
			want = orList(f.enum)
		} else if want == "text" {
			want = "text; put it into quotes"
		} else if quoted(n) {
			want += ", without quotes"
		} else if want == "a number" {
			want += ", in digits alone"
		}
		d.add(m, path, found, "expected "+want)
		return
	}
	if t == typeRedisURL && redisLiteralPassword(n) {
		d.add(m, path, "a password written out in the URL (not shown)", "take it from a variable: ${REDIS_URL}, or redis://:${REDIS_PASSWORD}@host:6379")
		return
	}
	d.set(m, path, text, vars, v, f)
}

// quoted reports whether a value is text only because it was written as such.
func quoted(n ast.Node) bool {
	t := n.GetToken().Type
	return t == token.SingleQuoteType || t == token.DoubleQuoteType
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
	rest, _, _ = strings.Cut(rest, "?")
	i := strings.LastIndexByte(rest, '@')
	if i < 0 {
		return false
	}
	_, password, _ := strings.Cut(rest[:i], ":")
	return password != ""
}
