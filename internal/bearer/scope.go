package bearer

import (
	"errors"
	"slices"
	"strings"

	"keyway/internal/nqchar"
)

// isScope says whether s is one scope-token (RFC 6749 section 3.3), so that it can
// stand in a challenge as it is.
func isScope(s string) bool { return s != "" && nqchar.Only(s) }

// scopesOf reads what a token is good for: scope (RFC 7662 section 2.2, RFC 9068
// section 2.2.3), a string; where that is not there, scp, as Entra ID (a string)
// and Okta (a list) call it. A scope in any other shape is none, and so is a value
// that no scope-token is: what can't be read grants nothing.
func scopesOf(all map[string]any) []string {
	said, ok := all["scope"]
	if _, isText := said.(string); ok && !isText {
		return nil
	}
	if !ok {
		said = all["scp"]
	}
	var scopes []string
	add := func(s string) {
		if isScope(s) && len(scopes) < maxValues && !slices.Contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	switch v := said.(type) {
	case string:
		// At spaces alone: a no-break space in a name must not make two of it.
		for part := range strings.SplitSeq(v, " ") {
			add(part)
		}
	case []any:
		for _, item := range v {
			if s, ok := item.(string); ok {
				add(s)
			}
		}
	}
	return scopes
}

// accepts says whether an entry's tokens can be good for a need at all.
func (n *Need) accepts(e *Entry) bool {
	return (len(n.IdPs) == 0 || slices.Contains(n.IdPs, e.Name)) && (len(n.Audience) == 0 || overlap(n.Audience, e.Audience))
}

// isFor says whether one audience of a token is the entry's and the need's.
func (n *Need) isFor(e *Entry, audience []string) bool {
	for _, a := range audience {
		if slices.Contains(e.Audience, a) && (len(n.Audience) == 0 || slices.Contains(n.Audience, a)) {
			return true
		}
	}
	return false
}

// checkScopes wants all of them (RFC 6750 section 3.1).
func (n *Need) checkScopes(c *claims) error {
	for _, s := range n.Scopes {
		if !slices.Contains(c.scopes, s) {
			return insufficient(n.Scopes, errors.New("it lacks a scope that the route needs"))
		}
	}
	return nil
}
