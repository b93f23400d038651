package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"
)

// roots are the files and what they are decoded into.
var roots = []struct {
	name, title string
	typ         reflect.Type
}{
	{"settings", "settings.yaml: the gateway itself", reflect.TypeFor[Settings]()},
	{"routes", "routes.yaml: which request goes where", reflect.TypeFor[routesFile]()},
	{"idps", "idps.yaml: whose access tokens are accepted", reflect.TypeFor[idpsFile]()},
	{"pdp", "pdp.yaml: the policy decision point", reflect.TypeFor[PDP]()},
}

// SchemaNames are the names that Schema takes.
func SchemaNames() []string {
	names := make([]string, len(roots))
	for i, r := range roots {
		names[i] = r.name
	}
	return names
}

// Schema is the JSON Schema (2020-12) of one file, for editors. It knows the
// shape; what only several keys together can tell, config check tells.
func Schema(name string) ([]byte, error) {
	for _, r := range roots {
		if r.name == name {
			s := reflectSchema(r.typ)
			s.Title = r.title
			return json.MarshalIndent(s, "", "  ")
		}
	}
	return nil, fmt.Errorf("there is no schema %q; expected %s", name, orList(SchemaNames()))
}

func reflectSchema(t reflect.Type) *jsonschema.Schema {
	r := &jsonschema.Reflector{
		Anonymous: true, DoNotReference: true, ExpandedStruct: true,
		RequiredFromJSONSchemaTags: true, FieldNameTag: "yaml",
		// Leaves are described by describe, from the same tags that the decoder reads.
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			if isGroup(t) || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
				return nil
			}
			return &jsonschema.Schema{}
		},
	}
	s := r.ReflectFromType(t)
	describeGroup(s, t)
	return s
}

// describeGroup adds to a reflected object what the tags say.
func describeGroup(s *jsonschema.Schema, t reflect.Type) {
	for _, f := range fieldsOf(t) {
		prop, ok := s.Properties.Get(f.key)
		if !ok {
			continue
		}
		s.Properties.Set(f.key, describe(prop, f.typ, f))
		if f.required {
			s.Required = append(s.Required, f.key)
		}
	}
}

// describe is the schema of one key.
func describe(s *jsonschema.Schema, t reflect.Type, f field) *jsonschema.Schema {
	switch {
	case isGroup(t):
		describeGroup(s, t)
		if f.off {
			s = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Enum: []any{"off", false}}, s}}
		}
	case t.Kind() == reflect.Slice:
		item := f
		item.doc, item.def, item.list = "", "", ""
		s.Items = describe(orNew(s.Items), t.Elem(), item)
		if f.list != "" {
			s = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{s, textSchema(f.list)}}
		}
	case t.Kind() == reflect.Map:
		s.AdditionalProperties = describe(orNew(s.AdditionalProperties), t.Elem(), field{})
	default:
		s = leafSchema(t, f)
	}
	s.Description = f.doc
	if f.def != "" && t.Kind() != reflect.Slice {
		s.Default = defaultValue(t, f)
	} else if f.def != "" {
		s.Default = strings.Fields(f.def)
	}
	return s
}

func orNew(s *jsonschema.Schema) *jsonschema.Schema {
	if s == nil {
		return &jsonschema.Schema{}
	}
	return s
}

// variable is any value that holds a ${VAR}.
func variable() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `\$\{`}
}

// textSchema is a list written in one string.
func textSchema(list string) *jsonschema.Schema {
	if list == "json" {
		return variable()
	}
	return &jsonschema.Schema{Type: "string"}
}

func leafSchema(t reflect.Type, f field) *jsonschema.Schema {
	either := func(s ...*jsonschema.Schema) *jsonschema.Schema {
		return &jsonschema.Schema{AnyOf: append(s, variable())}
	}
	switch t {
	case typeSecretRef:
		return &jsonschema.Schema{Type: "string", Pattern: `^(file:(/|\./|\$\{).*|\$\{[A-Za-z_][A-Za-z0-9_]*\})$`}
	case typeDuration:
		return either(&jsonschema.Schema{Type: "integer", Minimum: "0"},
			&jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$|^[0-9]+$`})
	case typeTime:
		return either(&jsonschema.Schema{Type: "string", Pattern: `^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt][0-9:.]+([Zz]|[+-][0-9]{2}:[0-9]{2}))?$`})
	case typeRate:
		return either(&jsonschema.Schema{Enum: []any{"off", false}}, &jsonschema.Schema{Type: "string", Pattern: `^[0-9]+/([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$`})
	case typeURL:
		return either(&jsonschema.Schema{Type: "string", Pattern: `^https?://`})
	case typeRedisURL:
		return either(&jsonschema.Schema{Type: "string", Pattern: `^(redis|rediss|valkey|valkeys|unix)://`})
	case typePrefix:
		return &jsonschema.Schema{Type: "string"}
	case typeSwitch:
		return either(&jsonschema.Schema{Enum: []any{"auto", true, false, "true", "false"}})
	}
	switch t.Kind() {
	case reflect.Bool:
		return either(&jsonschema.Schema{Type: "boolean"})
	case reflect.Int:
		return either(&jsonschema.Schema{Type: "integer", Minimum: json.Number(f.min), Maximum: json.Number(f.max)})
	}
	switch {
	case f.url != "":
		return either(&jsonschema.Schema{Type: "string", Pattern: `^https?://`})
	case len(f.enum) > 0:
		values := make([]any, len(f.enum))
		for i, e := range f.enum {
			values[i] = e
		}
		return either(&jsonschema.Schema{Enum: values})
	}
	return &jsonschema.Schema{Type: "string"}
}

func defaultValue(t reflect.Type, f field) any {
	switch t.Kind() {
	case reflect.Bool:
		return f.def == "true"
	case reflect.Int:
		n, _ := strconv.Atoi(f.def)
		return n
	}
	if n, err := strconv.Atoi(f.def); err == nil && t == typeDuration {
		return n
	}
	return f.def
}
