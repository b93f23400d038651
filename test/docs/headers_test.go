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

// listed are the strings that a variable of internal/upstream/names.go is made of: the
// names, or those of a list that is named instead, and the families of names.
func listed(t *testing.T, variable string) (names, families []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(parts.Root(t), "internal/upstream/names.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]ast.Expr{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
			values[spec.Names[0].Name] = spec.Values[0]
		}
		return true
	})
	made, ok := values[variable].(*ast.CallExpr)
	if !ok || len(made.Args) != 2 {
		t.Fatalf("names.go: %s is not made of names and families; the code has changed its form", variable)
	}
	texts := func(of ast.Expr) (all []string) {
		if named, ok := of.(*ast.Ident); ok {
			of = values[named.Name]
		}
		list, ok := of.(*ast.CompositeLit)
		if !ok || len(list.Elts) == 0 {
			t.Fatalf("names.go: %s lists nothing; the code has changed its form", variable)
		}
		for _, e := range list.Elts {
			literal, ok := e.(*ast.BasicLit)
			if !ok {
				t.Fatalf("names.go: %s has something that is no text; the code has changed its form", variable)
			}
			value, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, value)
		}
		return all
	}
	return texts(made.Args[0]), texts(made.Args[1])
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
	names, families := listed(t, "reservedNames")
	for _, name := range names {
		wants("removed from requests", toUpstreams, "`"+name+"`")
	}
	for _, family := range families {
		wants("removed from requests", toUpstreams, "`"+family+"`…")
	}
	for _, variable := range []string{"foreignNames", "cacheNames"} {
		names, families := listed(t, variable)
		for _, name := range names {
			wants("removed from responses", fromUpstreams, "`"+name+"`")
		}
		for _, family := range families {
			wants("removed from responses", fromUpstreams, "`"+family+"…`")
		}
	}
}
