package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"keyway/internal/authz"
	"keyway/internal/route"
)

func printExplain(w io.Writer, a explainAnswer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n\n", a.Method, a.Path)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s  %s\n", name, fmt.Sprintf(format, args...))
	}
	r := a.Route
	if r == nil {
		line("outcome", "%s", strings.ReplaceAll(a.Outcome, "_", " "))
		line("why", "%s", a.Reason)
		if a.Allow != "" {
			line("allow", "%s", a.Allow)
		}
		for i, miss := range a.Nearest {
			name := ""
			if i == 0 {
				name = "nearest"
			}
			line(name, "%s  %s  (%s)", miss.ID, miss.Pattern, miss.Source)
			line("", "  %s", miss.Reason)
		}
		_, err := io.WriteString(w, b.String())
		return err
	}
	line("route", "%s (%s)", r.ID, r.Source)
	if r.Description != "" {
		line("", "%s", r.Description)
	}
	line("pattern", "%s for %s", r.Pattern, strings.Join(r.Methods, ", "))
	line("why", "%s", a.Reason)
	line("auth", "%s", authWords(r.Auth))
	for i, words := range bearerWords(r.Bearer) {
		name := ""
		if i == 0 {
			name = "needs"
		}
		line(name, "%s", words)
	}
	for i, row := range authzRows(r.PDP) {
		name := row[0]
		if i == 0 {
			name = "authz"
		}
		line(name, "%s", row[1])
	}
	line("token", "%s", tokenWords(r.TokenPolicy))
	line("upstream", "%s", r.UpstreamURL)
	streaming := ""
	if r.Streaming {
		streaming = ", streaming"
	}
	line("service", "%s, timeout %s%s", r.Service, r.Timeout, streaming)
	_, err := io.WriteString(w, b.String())
	return err
}

func authWords(auth string) string {
	switch route.Auth(auth) {
	case route.AuthSession:
		return "session: the cookie, and X-CSRF-Token for methods that change something"
	case route.AuthBearer:
		return "bearer: an access token in Authorization"
	}
	return "none: anyone"
}

// bearerWords are lines about what a token must be good for.
func bearerWords(b *explainBearer) []string {
	if b == nil {
		return nil
	}
	lines := []string{"audience " + strings.Join(b.Audiences, " or ")}
	if len(b.Scopes) > 0 {
		lines = append(lines, "scopes "+strings.Join(b.Scopes, " and "))
	}
	for _, e := range b.Entries {
		asked := "no opaque tokens"
		if e.Opaque {
			asked = "opaque tokens too"
		}
		lines = append(lines, fmt.Sprintf("issuer %s (%s), %s", e.Issuer, e.Name, asked))
	}
	return lines
}

// authzRows are what is asked, of what, as whom, and the answer. The first is named
// by who prints.
func authzRows(p *explainPDP) [][2]string {
	if p == nil {
		return [][2]string{{"", "none: the policy decision point is not asked"}}
	}
	var rows [][2]string
	add := func(name, format string, args ...any) {
		rows = append(rows, [2]string{name, printable(fmt.Sprintf(format, args...))})
	}
	switch p.From {
	case "none":
		add("", "pdp: nothing is mapped for this method, so always 403")
	case "switched off":
		add("", "pdp: switched off (MS_BFF_AUTHZ_ENABLED)")
		return rows
	default:
		where := p.From
		if p.Path != "" {
			where += " " + p.Path
		}
		if p.Source != "" {
			where += ", " + p.Source
		}
		add("", "pdp: may the caller %s a %s (%s)", p.Action, p.Resource, where)
		addAsked(p, add)
	}
	if a := p.Answer; a != nil {
		who := a.Subject
		if len(a.Roles) > 0 {
			who += ", roles " + strings.Join(a.Roles, " ")
		} else {
			who += ", no roles"
		}
		if len(a.Permissions) > 0 {
			who += ", permissions " + strings.Join(a.Permissions, " ")
		}
		add("as", "%s", who)
		if a.Unlikely != "" {
			add("but", "%s", a.Unlikely)
		}
		switch {
		case a.Allow:
			add("answer", "allow: %s", orSilence(a.Reason))
		case a.Asked || a.Reason != "":
			add("answer", "deny (403): %s", orSilence(a.Reason))
		default:
			add("answer", "not asked; --ask asks it")
		}
		add("by", "%s", a.By)
	}
	return rows
}

func orSilence(reason string) string {
	if reason == "" {
		return "no reason is given"
	}
	return reason
}

// addAsked adds what the question is about.
func addAsked(p *explainPDP, add func(name, format string, args ...any)) {
	if p.Unclear != "" {
		add("", "this request can't be asked about, and is denied (403): %s", p.Unclear)
		return
	}
	switch {
	case p.IDFrom == "":
		add("", "id *: no one in particular")
	case strings.HasPrefix(p.IDFrom, authz.Constant):
		add("", "id %q, always", p.ID)
	default:
		add("", "id %q, from %s", p.ID, p.IDFrom)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Props)) {
		value, ok := p.Properties[name]
		switch text, isText := value.(string); {
		case !ok:
			add("", "%s is not there, from %s", name, p.Props[name])
		case isText && (text == p.Props[name] || authz.Constant+text == p.Props[name]):
			add("", "%s %q", name, text)
		case isText:
			add("", "%s %q, from %s", name, text, p.Props[name])
		default:
			add("", "%s %v, from %s", name, value, p.Props[name])
		}
	}
}

func tokenWords(t explainToken) string {
	words := t.Mode
	if t.Audience != "" {
		words += ", audience " + t.Audience
	}
	if len(t.Scopes) > 0 {
		words += ", scopes " + strings.Join(t.Scopes, " ")
	}
	return words
}
