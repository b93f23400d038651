package config

import (
	"regexp"
	"strings"
)

// maxExpanded bounds one value after expansion, in bytes.
const maxExpanded = 1 << 16

var varName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand replaces ${NAME} and ${NAME:-default} once: what a variable holds is
// never expanded again. A default stands in for an unset or empty variable. A
// dollar not followed by a brace is itself (JSONPath needs it), and $${ is ${.
// names are the variables that were used.
func expand(text string, lookup func(string) (string, bool)) (out string, names []string, err error) {
	var b strings.Builder
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			b.WriteString(text)
			break
		}
		if i > 0 && text[i-1] == '$' {
			b.WriteString(text[:i-1] + "${")
			text = text[i+2:]
			continue
		}
		b.WriteString(text[:i])
		inner, after, closed := strings.Cut(text[i+2:], "}")
		if !closed {
			return "", nil, bad("${ without a closing }", "write ${NAME} or ${NAME:-default}; $${ stands for ${ itself")
		}
		name, fallback, hasDefault := strings.Cut(inner, ":-")
		if !varName.MatchString(name) {
			return "", nil, bad("${…} that does not hold a variable's name", "write ${NAME} or ${NAME:-default}")
		}
		value, set := lookup(name)
		switch {
		case hasDefault && value == "":
			value = fallback
		case !set:
			return "", nil, bad("${"+name+"}, and the variable "+name+" is not set", "set it, or give a default: ${"+name+":-default}")
		}
		names = append(names, name)
		b.WriteString(value)
		text = after
		if b.Len() > maxExpanded {
			return "", nil, bad("a value that expands to more than 64 KiB", "shorten it")
		}
	}
	return b.String(), names, nil
}
