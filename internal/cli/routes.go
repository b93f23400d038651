package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"keyway/internal/config"
	"keyway/internal/route"

	"github.com/spf13/cobra"
)

func newRoutesCommand(s *streams) *cobra.Command {
	return group(&cobra.Command{
		Use:   "routes",
		Short: "Say which route a request takes",
	}, newExplainCommand(s))
}

// explainAnswer is routes explain --json.
type explainAnswer struct {
	Method  string        `json:"method"`
	Path    string        `json:"path"`
	Outcome string        `json:"outcome"` // found, not_found, method_not_allowed, refused, gateway
	Reason  string        `json:"reason"`
	Allow   string        `json:"allow,omitempty"`
	Route   *explainRoute `json:"route,omitempty"`
	Nearest []explainMiss `json:"nearest,omitempty"`
}

type explainRoute struct {
	ID          string            `json:"id"`
	Description string            `json:"description,omitempty"`
	Source      string            `json:"source"`
	Pattern     string            `json:"pattern"`
	Methods     []string          `json:"methods"`
	Params      map[string]string `json:"params,omitempty"`
	Rest        *string           `json:"rest,omitempty"` // what * matched
	Auth        string            `json:"auth"`
	Bearer      *explainBearer    `json:"bearer,omitempty"` // with auth bearer
	Authz       string            `json:"authz"`
	PDP         *explainPDP       `json:"pdp,omitempty"`
	TokenPolicy explainToken      `json:"token_policy"`
	Service     string            `json:"service"`
	Timeout     string            `json:"timeout"`
	UpstreamURL string            `json:"upstream_url"`
	Streaming   bool              `json:"streaming"`
}

type explainPDP struct {
	From     string            `json:"from"`             // authz_map, endpoint_map, derived, none, switched off
	Source   string            `json:"source,omitempty"` // where that is written
	Path     string            `json:"path,omitempty"`   // of the endpoint_map
	Resource string            `json:"resource,omitempty"`
	Action   string            `json:"action,omitempty"`
	IDFrom   string            `json:"id_from,omitempty"`
	Props    map[string]string `json:"props,omitempty"`

	ID         string           `json:"id,omitempty"` // of the resource, for this request
	Properties map[string]any   `json:"properties,omitempty"`
	Unclear    string           `json:"unclear,omitempty"` // why this request can't be asked about: 403
	Answer     *explainAnswered `json:"answer,omitempty"`  // with --as
}

// explainBearer is what a token must be good for.
type explainBearer struct {
	Entries   []explainEntry `json:"entries"` // whose tokens are accepted
	Audiences []string       `json:"audiences"`
	Scopes    []string       `json:"scopes,omitempty"`
}

type explainEntry struct {
	Name   string `json:"name"`
	Issuer string `json:"issuer"`
	Opaque bool   `json:"opaque"` // it is asked about tokens that don't say whose they are
}

type explainToken struct {
	Mode     string   `json:"mode"`
	Audience string   `json:"audience,omitempty"`
	Scopes   []string `json:"scopes,omitempty"`
}

type explainMiss struct {
	ID      string `json:"id"`
	Source  string `json:"source"`
	Pattern string `json:"pattern"`
	Reason  string `json:"reason"`
}

var methodSyntax = regexp.MustCompile(`^[A-Za-z]+$`)

func newExplainCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain METHOD PATH",
		Short: "Which route a request takes and why, or the nearest that it does not take",
		Long: `Say which route a request takes and why: its auth, its token policy and the URL
that the upstream is asked for; with authz: pdp, what the policy decision point is
asked. If no route matches, say which come nearest and why they don't.

PATH is escaped as a client sends it, and may have a query.

With --as, say also what the answer is: by the policies of the configuration, or
with --ask by the decision point that it names. What else it knows of the subject
is not known here: --role and --permission say it. If no claims_mapping gives what
they say, so that nobody has it, that is said, too.

Exit code 0: it is served. 1: it is not, or is denied, or the configuration is not
valid.`,
		Example: "  keyway routes explain GET /api/notes/7\n  keyway routes explain --json POST '/api/notes?draft=1'\n  keyway routes explain DELETE /api/notes/7 --as ada --role editor",
		Args:    exactly(2, "METHOD and PATH"),
	}
	dir, asJSON, by := configFlag(cmd), jsonFlag(cmd), askingFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		method, target := strings.ToUpper(args[0]), args[1]
		if !methodSyntax.MatchString(method) {
			return usage("%q is not a method; expected METHOD PATH, as in GET /api/notes", args[0])
		}
		if !strings.HasPrefix(target, "/") {
			return usage("%q is not a path; expected one that starts with a slash, as in /api/notes", target)
		}
		if err := by.check(); err != nil {
			return err
		}
		if by.query != "" {
			if strings.Contains(target, "?") {
				return usage("a query in PATH and --query; expected one of the two")
			}
			target += "?" + strings.TrimPrefix(by.query, "?")
		}
		cfg, problems, err := loadConfig(s, *dir)
		if err != nil {
			return err
		}
		if len(problems) > 0 {
			var b strings.Builder
			writeProblems(&b, problems)
			fmt.Fprintf(&b, "\nThe configuration is not valid, so no request takes any route. See 'keyway config check'.\n")
			_, _ = io.WriteString(s.stderr, b.String())
			return notSo()
		}
		if err := by.checkProvider(cfg); err != nil {
			return err
		}
		a := explain(cmd.Context(), s, cfg, method, target, by)
		if *asJSON {
			err = printJSON(s.stdout, a)
		} else {
			err = printExplain(s.stdout, a)
		}
		if err == nil && !a.served() {
			err = notSo()
		}
		return err
	}
	return cmd
}

// served says whether the request is answered by whom it is meant for, as far as
// that was to be found out.
func (a *explainAnswer) served() bool {
	if a.Route != nil && a.Route.PDP != nil && a.Route.PDP.Answer != nil {
		answer := a.Route.PDP.Answer
		return answer.Allow || !answer.Asked && answer.Reason == ""
	}
	return a.Outcome == "found" || a.Outcome == "gateway"
}

func explain(ctx context.Context, s *streams, cfg *config.Config, method, target string, by *asking) explainAnswer {
	a := explainAnswer{Method: method, Path: target}
	path, query, err := route.SplitTarget(target)
	if err != nil {
		a.Outcome, a.Reason = "refused", "400 ambiguous_path before any route is looked at: "+err.Error()
		return a
	}
	if config.OwnPath(path) {
		a.Outcome, a.Reason = "gateway", "the gateway serves this path itself; no route is asked"
		return a
	}
	m, outcome := cfg.Routes.Match(method, path)
	switch outcome {
	case route.Found:
		a.Outcome = "found"
		a.Reason = why(&m)
		var asked *explainPDP
		if m.Route.Authz == route.AuthzPDP {
			asked = explainAsked(ctx, s, cfg, &m, method, query, by)
		}
		a.Route = describeRoute(cfg, &m, query, asked)
		return a
	case route.MethodNotAllowed:
		a.Outcome, a.Allow = "method_not_allowed", m.Allow()
		a.Reason = "405: the path has routes, for other methods"
	default:
		a.Outcome = "not_found"
		a.Reason = "404: no route has this path"
	}
	for _, miss := range cfg.Routes.Nearest(method, path, 3) {
		a.Nearest = append(a.Nearest, explainMiss{miss.Route.String(), miss.Route.Source, miss.Route.Path, miss.Reason})
	}
	return a
}

// why says what each variable piece of the pattern took.
func why(m *route.Match) string {
	var parts []string
	params := m.Params()
	for _, name := range slices.Sorted(maps.Keys(params)) {
		parts = append(parts, fmt.Sprintf("{%s} is %q", name, params[name]))
	}
	if strings.HasSuffix(m.Route.Path, "*") {
		parts = append(parts, fmt.Sprintf("* is %q", m.Rest()))
	}
	if len(parts) == 0 {
		return "the path is the pattern, letter for letter"
	}
	return strings.Join(parts, ", ")
}

func describeRoute(cfg *config.Config, m *route.Match, query string, asked *explainPDP) *explainRoute {
	r, svc := m.Route, cfg.Services[m.Route.Service]
	e := &explainRoute{
		ID: r.String(), Description: r.Description, Source: r.Source, Pattern: r.Path, Methods: r.EffectiveMethods(),
		Params: m.Params(), Auth: string(r.Auth), Authz: string(r.Authz),
		TokenPolicy: explainToken{string(r.TokenPolicy.Mode), r.TokenPolicy.Audience, r.TokenPolicy.Scopes},
		Service:     r.Service, Timeout: svc.Timeout.String(), Streaming: r.Streaming,
		UpstreamURL: route.Join(svc.BaseURL, m.UpstreamPath(), query).String(),
	}
	if strings.HasSuffix(r.Path, "*") {
		rest := m.Rest()
		e.Rest = &rest
	}
	if r.Auth == route.AuthBearer {
		e.Bearer = describeNeed(cfg, r)
	}
	e.PDP = asked
	return e
}

// describeNeed says whose tokens a route accepts, and for what.
func describeNeed(cfg *config.Config, r *route.Route) *explainBearer {
	need := &explainBearer{Entries: []explainEntry{}, Audiences: []string{}, Scopes: r.Bearer.Scopes}
	for _, idp := range cfg.IdPs {
		good := r.Bearer.Accepts(idp.Name, idp.Audience)
		for _, audience := range good {
			if !slices.Contains(need.Audiences, audience) {
				need.Audiences = append(need.Audiences, audience)
			}
		}
		if len(good) > 0 {
			need.Entries = append(need.Entries, explainEntry{idp.Name, idp.Issuer, idp.ClientID != "" && idp.OpaqueTokens})
		}
	}
	return need
}
