package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"
)

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

// group decodes a mapping with known keys.
func (d *decoder) group(n ast.Node, v reflect.Value, path string) {
	pairs, ok := d.pairs(n, path)
	if !ok {
		return
	}
	fields := fieldsOf(v.Type())
	var misspelt []string // reported as that, and not as missing, too
	for _, p := range pairs {
		key, m := keyText(p), d.tokenMark(p.Key.GetToken())
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == key })
		if i < 0 {
			if _, merge := p.Key.(*ast.MergeKeyNode); merge {
				d.kind(p.Key, path)
				continue
			}
			d.add(m, joinKey(path, key), "unknown key", d.whatKey(key, path, fields))
			misspelt = append(misspelt, closest(key, keysOf(fields)))
			continue
		}
		f := fields[i]
		fp := joinKey(path, f.key)
		if isGroup(f.typ) {
			d.marks[fp] = m
		}
		d.value(p.Value, v.Field(f.index), fp, f)
	}
	d.missing(fields, path, misspelt)
}

func keysOf(fields []field) []string {
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	return keys
}

// missing reports required keys that have no value.
func (d *decoder) missing(fields []field, path string, except []string) {
	for _, f := range fields {
		fp := joinKey(path, f.key)
		if _, set := d.marks[fp]; f.required && !set && !slices.Contains(except, f.key) {
			d.add(d.at(path), fp, "the key is missing", "needed: "+strings.TrimSuffix(f.doc, "."))
		}
	}
}

// moved are keys that earlier versions had, and what they are called now.
var moved = map[string]string{"telemetry.kafka_bootstrap_servers": "audit.kafka.brokers"}

// whatKey says which key an unknown one was meant to be.
func (d *decoder) whatKey(key, path string, fields []field) string {
	if now, ok := moved[joinKey(path, key)]; ok {
		return "it is " + now + " now"
	}
	keys := keysOf(fields)
	if c := closest(key, keys); c != "" {
		return "did you mean " + c + "?"
	}
	elsewhere := ""
	walkFields(d.root, "", func(p string, f field) {
		if slices.Contains(f.envs, key) {
			elsewhere = "the variable " + key + " is " + p + " in this file"
		} else if f.key == key && p != joinKey(path, key) && (elsewhere == "" || strings.Contains(elsewhere, "<") && !strings.Contains(p, "<")) {
			elsewhere = "did you mean " + p + "?" // rather one that is there once than one of many
		}
	})
	if elsewhere != "" {
		return elsewhere
	}
	return "expected " + orList(keys)
}

var mapKey = regexp.MustCompile(`^[A-Za-z0-9_./{}*~%:@-]+$`)

// mapping decodes a mapping whose keys are names. What a bad name stands for is
// read all the same, so that its own problems don't wait until the name is mended.
func (d *decoder) mapping(n ast.Node, v reflect.Value, path string) {
	pairs, ok := d.pairs(n, path)
	if !ok {
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(pairs))
	for _, p := range pairs {
		key, m := keyText(p), d.tokenMark(p.Key.GetToken())
		if !mapKey.MatchString(key) {
			d.add(m, path, "found the name "+shown(key), "expected letters, digits and -_./{}*~%:@")
			if !isGroup(v.Type().Elem()) || strings.ContainsFunc(key, func(r rune) bool { return !unicode.IsPrint(r) }) {
				continue // nothing is in it, or it would not be seen in the keys of messages
			}
		}
		kp := joinKey(path, key)
		d.marks[kp] = m
		el := reflect.New(v.Type().Elem()).Elem()
		if isGroup(el.Type()) {
			setDefaults(el)
		}
		if _, null := p.Value.(*ast.NullNode); null && isGroup(el.Type()) {
			d.missing(fieldsOf(el.Type()), kp, nil)
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
			d.add(d.nodeMark(n), path, "found "+kind, "expected a list: lines that begin with -, or [a, b]")
			return
		}
		text, vars, ok := d.text(n, path)
		if !ok {
			return
		}
		if f.list == "json" && len(vars) == 0 {
			d.add(d.nodeMark(n), path, "found text", "expected a list: lines that begin with -, or [a, b]")
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
