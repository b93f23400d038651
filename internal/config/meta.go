package config

import (
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"time"

	"keyway/internal/limit"
)

// field is one key, as its struct tags describe it.
type field struct {
	index    int
	typ      reflect.Type
	key      string
	envs     []string
	def      string
	doc      string
	enum     []string
	fold     bool
	min, max string
	required bool
	url      string
	list     string
	off      bool
}

var (
	typeURL       = reflect.TypeFor[*url.URL]()
	typePrefix    = reflect.TypeFor[netip.Prefix]()
	typeDuration  = reflect.TypeFor[time.Duration]()
	typeTime      = reflect.TypeFor[time.Time]()
	typeRate      = reflect.TypeFor[limit.Rate]()
	typeSecretRef = reflect.TypeFor[SecretRef]()
	typeRedisURL  = reflect.TypeFor[RedisURL]()
	typeSwitch    = reflect.TypeFor[Switch]()
)

// fieldsOf describes the keys of a struct type, in their order.
func fieldsOf(t reflect.Type) []field {
	fields := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		sf := t.Field(i)
		f := field{
			index: i, typ: sf.Type, key: sf.Tag.Get("yaml"), def: sf.Tag.Get("default"), doc: sf.Tag.Get("doc"),
			fold: sf.Tag.Get("fold") != "", min: sf.Tag.Get("min"), max: sf.Tag.Get("max"),
			required: sf.Tag.Get("required") != "", url: sf.Tag.Get("url"), list: sf.Tag.Get("list"), off: sf.Tag.Get("off") != "",
		}
		if e := sf.Tag.Get("env"); e != "" {
			f.envs = strings.Split(e, ",")
		}
		if e := sf.Tag.Get("enum"); e != "" {
			f.enum = strings.Split(e, "|")
		}
		fields = append(fields, f)
	}
	return fields
}

// isGroup says whether a type is a mapping with known keys, rather than a value.
func isGroup(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != typeSecretRef && t != typeRedisURL && t != typePrefix && t != typeTime && t != typeRate
}

// walkFields visits every key below a struct type, groups before their keys.
// Keys of list entries have [] in their path, those of maps <name>.
func walkFields(t reflect.Type, prefix string, visit func(path string, f field)) {
	for _, f := range fieldsOf(t) {
		path := joinKey(prefix, f.key)
		visit(path, f)
		walkType(f.typ, path, visit)
	}
}

func walkType(t reflect.Type, path string, visit func(string, field)) {
	switch {
	case isGroup(t):
		walkFields(t, path, visit)
	case t.Kind() == reflect.Slice:
		walkType(t.Elem(), path+"[]", visit)
	case t.Kind() == reflect.Map:
		walkType(t.Elem(), path+".<"+mapKeyName(path)+">", visit)
	}
}

// mapKeyName says what the keys of a map are, for documentation.
func mapKeyName(path string) string {
	switch path[strings.LastIndexByte(path, '.')+1:] {
	case "authz_map", "<path>":
		return "METHOD"
	case "endpoint_map":
		return "path"
	}
	return "name"
}

func joinKey(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

// setDefaults gives every key below v its default.
func setDefaults(v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		fv := v.Field(f.index)
		switch {
		case isGroup(f.typ):
			setDefaults(fv)
		case f.typ == typeSecretRef && len(f.envs) > 0:
			fv.Set(reflect.ValueOf(SecretRef{Kind: SecretEnv, Name: f.envs[0], Default: true}))
		case f.def == "":
		case f.typ.Kind() == reflect.Slice:
			fv.Set(reflect.ValueOf(strings.Fields(f.def)))
		default:
			val, err := parseScalar(f.def, f.typ, f)
			if err != nil {
				panic("config: the default of " + f.key + " is wrong: " + err.Error()) // a test reads every default
			}
			fv.Set(val)
		}
	}
}
