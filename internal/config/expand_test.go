package config

import (
	"strings"
	"testing"
)

func lookupIn(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}

func TestExpand(t *testing.T) {
	vars := lookupIn(map[string]string{"A": "1", "EMPTY": "", "NESTED": "${A}", "_x9": "y"})
	for in, want := range map[string]string{
		"":                  "",
		"plain":             "plain",
		"${A}":              "1",
		"x${A}y${A}z":       "x1y1z",
		"${NO:-d}":          "d",
		"${EMPTY:-d}":       "d",
		"${EMPTY}":          "",
		"${NO:-}":           "",
		"${NO:-http://x:1}": "http://x:1",
		"${NESTED}":         "${A}", // once
		"${_x9}":            "y",
		"$.a.b":             "$.a.b",
		"$A $ $$":           "$A $ $$",
		"$${A}":             "${A}",
		"$${A} ${A}":        "${A} 1",
		"{param}":           "{param}",
	} {
		if got, _, err := expand(in, vars); got != want || err != nil {
			t.Errorf("expand(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"${NO}":     "NO is not set",
		"${A":       "without a closing",
		"${}":       "does not hold",
		"${a b}":    "does not hold",
		"${1}":      "does not hold",
		"${${A}}":   "does not hold",
		"x ${A} ${": "without a closing",
	} {
		if got, _, err := expand(in, vars); err == nil || !strings.Contains(err.Error(), want) || got != "" {
			t.Errorf("expand(%q) = %q, %v, want an error with %q", in, got, err, want)
		}
	}
	big := lookupIn(map[string]string{"B": strings.Repeat("x", 1000)})
	if _, _, err := expand(strings.Repeat("${B}", 100), big); err == nil {
		t.Error("100 kB were accepted")
	}
}

// FuzzExpand: text without ${ is itself, results are bounded, and an error
// comes with nothing.
func FuzzExpand(f *testing.F) {
	for _, s := range []string{"${A}", "${A:-b}", "$${A}", "${", "$$${A}", "${A}${B:-${A}}"} {
		f.Add(s, "value")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		out, names, err := expand(text, lookupIn(map[string]string{"A": value}))
		if err != nil {
			if out != "" || names != nil {
				t.Fatalf("%q: an error, and %q", text, out)
			}
			return
		}
		if !strings.Contains(text, "${") && out != text {
			t.Fatalf("%q became %q", text, out)
		}
		if len(out) > maxExpanded+len(text) {
			t.Fatalf("%d bytes", len(out))
		}
	})
}
