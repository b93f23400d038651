package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Reference is docs/reference/configuration.md, made from the same tags as the
// decoder and the schema, so that it can't say anything else.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, r := range roots {
		file, what, _ := strings.Cut(r.title, ": ")
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n", file, upper(what))
		writeGroup(&b, r.typ, "", "")
	}
	b.WriteString(referenceTail)
	return b.String()
}

const referenceHead = `<!-- Generated from the tags in internal/config. Rewrite it with: go test ./internal/config -update -->

# Configuration

A directory, named by ` + "`--config`, `BFF_CONFIG_DIR`, or else `./config`" + `, with up to four files. Each is optional; the
environment alone is enough for one provider.

- **Order**: defaults, then YAML with ` + "`${VAR}` and `${VAR:-default}`" + ` expanded, then the environment. What comes later wins.
  A variable that is set but empty counts as unset. ` + "`$${`" + ` stands for ` + "`${`" + ` itself.
- **Strict**: an unknown key is an error. ` + "`keyway config check`" + ` reports every problem at once, with file, line and column.
- **Secrets** are named, never needed: ` + "`file:/run/secrets/x` or `${NAME}`" + `. A secret written out in YAML is an error.
  A secret ` + "`NAME` is looked for in `NAME_FILE` (a path), the variable `NAME`, and the secrets folder as `name` or `na-me`" + `.
- **Durations** are written as ` + "`90s` or `1h30m`" + `, or as a number of seconds.
- **Lists** in a variable are separated by commas (scopes by spaces; origins are a JSON array).
- **Plain http** is refused beyond loopback, unless ` + "`allow_insecure_http`" + ` is set beside it.
- Editors: ` + "`keyway config schema settings`" + ` (or routes, idps, pdp) prints a JSON Schema.
`

const referenceTail = `
## Paths and templates in routes.yaml

| written | matches |
| --- | --- |
| ` + "`/api/notes`" + ` | exactly that path; letter case counts, and so does a slash at the end |
| ` + "`/api/notes/{id}`" + ` | one segment in place of ` + "`{id}`" + `, not empty |
| ` + "`/files/*`" + ` | whatever follows the slash, also nothing; not ` + "`/files`" + ` |

Two routes that could both match a request are an error: there is no order among them. Routes can't take the gateway's own
paths: ` + "`/auth/*`, `/.well-known/jwks.json`, `/.well-known/oauth-protected-resource`, `/health`" + `. A request whose path could be read in two ways (dot segments,
` + "`//`, `;`" + `, backslashes, encoded slashes, double encoding) is refused with 400 before any route is looked at; what passes is
forwarded byte for byte.
`

// writeGroup writes the table of a group's own keys, then its groups.
func writeGroup(b *strings.Builder, t reflect.Type, prefix, doc string) {
	if prefix != "" {
		fmt.Fprintf(b, "\n### `%s`\n\n%s\n", prefix, strings.NewReplacer("<", "&lt;").Replace(doc))
	}
	var groups []func()
	head := false
	for _, f := range fieldsOf(t) {
		path := joinKey(prefix, f.key)
		inner, key := f.typ, path
		for inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map {
			if inner.Kind() == reflect.Slice {
				key += "[]"
			} else {
				key += ".<" + mapKeyName(key) + ">"
			}
			inner = inner.Elem()
		}
		if isGroup(inner) {
			groups = append(groups, func() { writeGroup(b, inner, key, f.doc) })
			continue
		}
		if !head {
			b.WriteString("\n| key | variable | value | default | meaning |\n| --- | --- | --- | --- | --- |\n")
			head = true
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", f.key, code(strings.Join(f.envs, "`, `")), valueKind(f), defaultText(f), cell(f))
	}
	for _, g := range groups {
		g()
	}
}

func cell(f field) string {
	doc := strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`).Replace(f.doc)
	if f.required {
		doc = "**Required.** " + doc
	}
	return doc
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

func defaultText(f field) string {
	if f.off {
		return "`off`"
	}
	return code(f.def)
}

// valueKind says in a word or two what a key holds.
func valueKind(f field) string {
	kind := leafKind(f.typ, f)
	switch f.typ.Kind() {
	case reflect.Slice:
		return "list of " + leafKind(f.typ.Elem(), f)
	case reflect.Map:
		return "mapping to text"
	}
	return kind
}

func leafKind(t reflect.Type, f field) string {
	switch t {
	case typeSecretRef:
		return "secret"
	case typeDuration:
		return "duration" + bounds(f)
	case typeTime:
		return "date or time (RFC 3339)"
	case typeRate:
		return "rate, such as `30/1m`, or `off`"
	case typeURL, typeRedisURL:
		return "URL"
	case typePrefix:
		return "CIDR"
	}
	switch {
	case len(f.enum) > 0:
		return "`" + strings.Join(f.enum, "`, `") + "`"
	case f.url != "":
		return "URL"
	case t.Kind() == reflect.Bool:
		return "`true`, `false`"
	case t.Kind() == reflect.Int:
		return "number" + bounds(f)
	}
	return "text"
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
