package bearer

import (
	"slices"
	"strings"

	"keyway/internal/principal"
)

// Claim is where roles or permissions are.
type Claim struct {
	// Source is the claim's name; dots go into objects, unless a claim has that
	// very name.
	Source string
	// SpaceDelimited splits a string at spaces, as scope is written (RFC 8693
	// section 4.2). Otherwise a string is one value.
	SpaceDelimited bool
}

// maxValues bounds what one principal carries, whatever a provider says: one more than
// may decide, so that who decides sees that there were too many.
const maxValues = principal.MaxRights + 1

// pick collects the values of several claims, each once, in their order. What is
// no text, or could break out of a header, is left out: nobody has such a role here,
// so no policy that works is about one.
func pick(all map[string]any, from []Claim) []string {
	var values []string
	add := func(s string) {
		if plain(s) && len(values) < maxValues && !slices.Contains(values, s) {
			values = append(values, s)
		}
	}
	for _, c := range from {
		switch v := find(all, c.Source).(type) {
		case string:
			if !c.SpaceDelimited {
				add(v)
				continue
			}
			for part := range strings.SplitSeq(v, " ") { // and at nothing else that looks like one
				add(part)
			}
		case []any:
			for _, item := range v {
				if s, ok := item.(string); ok {
					add(s)
				}
			}
		}
	}
	return values
}

func find(all map[string]any, path string) any {
	if v, ok := all[path]; ok {
		return v
	}
	head, rest, more := strings.Cut(path, ".")
	inner, ok := all[head].(map[string]any)
	if !more || !ok {
		return nil
	}
	return find(inner, rest)
}

// Pick is what of claims the places say, each value once, in their order: texts of at
// most 255 printable characters. Everything else is left out. Of more than
// principal.MaxRights there is one too many, see principal.Principal.Whole.
func Pick(claims map[string]any, from []Claim) []string { return pick(claims, from) }

// Has reports whether claims have one of the places.
func Has(claims map[string]any, from []Claim) bool {
	return slices.ContainsFunc(from, func(c Claim) bool { return find(claims, c.Source) != nil })
}
