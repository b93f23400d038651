package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"keyway/internal/testkit/parts"
)

// listed are the strings of a list, or the keys of a mapping, that a variable of
// internal/upstream/names.go is, or that it is made of by a call.
func listed(t *testing.T, variable string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(parts.Root(t), "internal/upstream/names.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != variable {
			return true
		}
		var all []ast.Expr
		switch v := spec.Values[0].(type) {
		case *ast.CompositeLit:
			all = v.Elts
		case *ast.CallExpr:
			all = v.Args
		}
		for _, e := range all {
			if pair, ok := e.(*ast.KeyValueExpr); ok {
				e = pair.Key
			}
			value, err := strconv.Unquote(e.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, value)
		}
		return false
	})
	if len(values) == 0 {
		t.Fatalf("names.go: %s lists nothing; the code has changed its form", variable)
	}
	return values
}

func TestHeadersPage(t *testing.T) {
	page := strings.ToLower(read(t, "docs/reference/headers.md").text)
	toUpstreams, rest, _ := strings.Cut(page, "## from upstreams")
	fromUpstreams, _, _ := strings.Cut(rest, "## from clients")
	wants := func(where, text, what string) {
		if !strings.Contains(text, what) {
			t.Errorf("headers.md, %s: %s is not documented", where, what)
		}
	}
	for _, m := range inSource(t, "internal/upstream", regexp.MustCompile(`(?m)^\s+h[A-Z][A-Za-z]+\s+= "([A-Z][A-Za-z-]+)"`)) {
		wants("set by Keyway", page, "`"+strings.ToLower(m[0])+"`")
	}
	for _, name := range listed(t, "reservedNames") {
		wants("removed from requests", toUpstreams, "`"+name+"`")
	}
	for _, family := range listed(t, "reservedPrefixes") {
		wants("removed from requests", toUpstreams, "`"+family+"`…")
	}
	for _, variable := range []string{"foreignNames", "cacheNames"} {
		for _, name := range listed(t, variable) {
			wants("removed from responses", fromUpstreams, "`"+name+"`")
		}
	}
	for _, family := range listed(t, "foreignPrefixes") {
		wants("removed from responses", fromUpstreams, "`"+family+"…`")
	}
}
