package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

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
	line("authz", "%s", authzWords(r))
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

func authzWords(r *explainRoute) string {
	p := r.PDP
	if p == nil {
		return "none: the policy decision point is not asked"
	}
	switch p.From {
	case "none":
		return "pdp: nothing is mapped for this method, so always 403"
	case "switched off":
		return "pdp: switched off (MS_BFF_AUTHZ_ENABLED)"
	case "derived":
		return "pdp: resource and action derived from path and method"
	}
	words := fmt.Sprintf("pdp (%s): may the caller %s a %s", p.From, p.Action, p.Resource)
	if p.IDFrom != "" {
		words += ", id from " + p.IDFrom
		if v, ok := r.Params[strings.Trim(p.IDFrom, "{}")]; ok {
			words += fmt.Sprintf(" = %q", v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Props)) {
		words += ", " + name + " from " + p.Props[name]
	}
	return words
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
