package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"keyway/internal/app"
	"keyway/internal/authz"
	"keyway/internal/config"
	"keyway/internal/principal"
	"keyway/internal/route"

	"github.com/spf13/cobra"
)

// asking is who asks what, beside method and path.
type asking struct {
	as, provider, body, ip string
	query                  string
	roles, permissions     []string
	ask                    bool
}

func askingFlags(cmd *cobra.Command) *asking {
	a := &asking{}
	f := cmd.Flags()
	f.StringVar(&a.as, "as", "", "say what the answer is to this `subject`: the sub at its provider")
	f.StringArrayVar(&a.roles, "role", nil, "a `role` of the subject; may come several times")
	f.StringArrayVar(&a.permissions, "permission", nil, "a `permission` of the subject; may come several times")
	f.StringVar(&a.provider, "provider", "", "the subject's `provider`, by its alias (default that of the sign-in, or of the first whose tokens the route accepts)")
	f.StringVar(&a.ip, "ip", "", "the `address` that the subject calls from")
	f.StringVar(&a.query, "query", "", "the `query` of the request, if it is not in PATH")
	f.StringVar(&a.body, "body", "", "a `file` with the JSON body of the request")
	f.BoolVar(&a.ask, "ask", false, "with --as: ask the decision point that is configured, over the network")
	return a
}

// check refuses flags that say nothing together.
func (a *asking) check() error {
	if a.as == "" && (len(a.roles) > 0 || len(a.permissions) > 0 || a.provider != "" || a.ip != "" || a.ask) {
		return usage("--role, --permission, --provider, --ip and --ask are about a subject; expected --as SUBJECT, too")
	}
	if a.ip != "" {
		if _, err := netip.ParseAddr(a.ip); err != nil {
			return usage("--ip: expected an address such as 192.0.2.7")
		}
	}
	if a.body != "" {
		if _, err := os.Stat(a.body); err != nil {
			return usage("--body: expected a file: %w", err)
		}
	}
	return nil
}

// checkProvider refuses an alias that nobody has: what is answered about it is true of
// nobody.
func (a *asking) checkProvider(cfg *config.Config) error {
	known := []string{cfg.OIDC.Provider}
	for _, idp := range cfg.IdPs {
		if !slices.Contains(known, idp.Provider) {
			known = append(known, idp.Provider)
		}
	}
	if a.provider == "" || slices.Contains(known, a.provider) {
		return nil
	}
	return usage("--provider: no provider has the alias %q; expected one of %s (oidc.provider, and provider or name of an entry of idps.yaml)", a.provider, strings.Join(known, ", "))
}

// unlikely says why nobody of that provider has the roles or permissions that are asked
// about; empty: somebody may.
func (a *asking) unlikely(cfg *config.Config, r *route.Route, who *principal.Principal) string {
	without := func(m config.ClaimsMapping) (lacking []string) {
		if len(a.roles) > 0 && len(m.Roles) == 0 {
			lacking = append(lacking, "roles")
		}
		if len(a.permissions) > 0 && len(m.Permissions) == 0 {
			lacking = append(lacking, "permissions")
		}
		return lacking
	}
	var lacking []string
	where := "no entry of idps.yaml with issuer " + cfg.OIDC.Issuer + " has"
	if r.Auth == route.AuthBearer {
		where = "no entry of idps.yaml whose tokens this route accepts has, of provider " + who.Provider + ","
		lacking = without(config.ClaimsMapping{})
		for _, idp := range cfg.IdPs {
			if idp.Provider == who.Provider && r.Bearer.Accepts(idp.Name, idp.Audience) != nil {
				if of := without(idp.ClaimsMapping); len(of) < len(lacking) {
					lacking = of
				}
			}
		}
	} else {
		lacking = without(cfg.Rights())
	}
	if len(lacking) == 0 {
		return ""
	}
	return fmt.Sprintf("nobody who calls has %s: %s claims_mapping.%s", strings.Join(lacking, " and "), where, strings.Join(lacking, " and claims_mapping."))
}

// requestFacts is the request that is explained, in the words of package authz.
type requestFacts struct {
	match *route.Match
	query string
	file  string
	most  int
}

func (f *requestFacts) Param(name string) (string, bool) { return f.match.Param(name) }
func (f *requestFacts) RawQuery() string                 { return f.query }

func (f *requestFacts) Body() ([]byte, error) {
	if f.file == "" {
		return nil, errors.New("the body decides, and there is none; expected --body FILE with one")
	}
	body, err := os.ReadFile(f.file)
	if err == nil && len(body) > f.most {
		return nil, fmt.Errorf("413: it has %d bytes, and body_bytes is %d", len(body), f.most)
	}
	return body, err
}

// explainAnswered is what the decision point says.
type explainAnswered struct {
	Subject     string   `json:"subject"` // as it is told
	Roles       []string `json:"roles,omitempty"`
	Permissions []string `json:"permissions,omitempty"`
	By          string   `json:"by"`
	Asked       bool     `json:"asked"`
	Allow       bool     `json:"allow"`
	Reason      string   `json:"reason,omitempty"`
	Unlikely    string   `json:"unlikely,omitempty"` // why nobody has what --role and --permission say
}

// explainAsked fills in what is asked about the request, and if somebody is to be
// asked, the answer.
func explainAsked(ctx context.Context, s *streams, cfg *config.Config, m *route.Match, method, query string, by *asking) *explainPDP {
	if !cfg.Authz.Enabled {
		return &explainPDP{From: "switched off"}
	}
	asked, ok := cfg.Asked(m.Route, method)
	p := &explainPDP{From: "none"}
	if ok {
		p = &explainPDP{
			From: string(asked.From), Source: asked.Source, Path: asked.Path,
			Resource: asked.Mapping.Resource, Action: asked.Mapping.Action, IDFrom: asked.Mapping.IDFrom, Props: asked.Mapping.Props,
		}
	}
	who := by.principal(cfg, m.Route)
	if !ok {
		if by.as != "" {
			p.Answer = &explainAnswered{Subject: who.Account(), By: "nobody: nothing is mapped", Reason: "no mapping"}
		}
		return p
	}
	facts := &requestFacts{match: m, query: query, file: by.body, most: cfg.PDP.BodyBytes}
	if resource, err := asked.Ask.Resolve(facts); err != nil {
		p.Unclear = err.Error()
	} else {
		p.ID, p.Properties = resource.ID, resource.Properties
	}
	if by.as != "" {
		p.Answer = by.answer(ctx, s, cfg, who, asked.Ask, facts)
		p.Answer.Unlikely = by.unlikely(cfg, m.Route, who)
	}
	return p
}

// principal is the subject as the gateway would know it.
func (a *asking) principal(cfg *config.Config, r *route.Route) *principal.Principal {
	who := &principal.Principal{Provider: a.provider, Subject: a.as, Roles: a.roles, Permissions: a.permissions}
	if r.Auth == route.AuthBearer {
		if who.Provider == "" {
			if need := describeNeed(cfg, r); len(need.Entries) > 0 {
				for _, idp := range cfg.IdPs {
					if idp.Name == need.Entries[0].Name {
						who.Provider = idp.Provider
					}
				}
			}
		}
		return who
	}
	who.Provider = cmp.Or(who.Provider, cfg.OIDC.Provider)
	who.SessionID = "explained"
	return who
}

func (a *asking) answer(ctx context.Context, s *streams, cfg *config.Config, who *principal.Principal, ask *authz.Ask, facts authz.Facts) *explainAnswered {
	out := &explainAnswered{Subject: who.Account(), Roles: a.roles, Permissions: a.permissions, By: "policies in " + cfg.PDP.Policies}
	if cfg.PDP.SubjectID == authz.SubjectSub {
		out.Subject = who.Subject
	}
	if !cfg.PDP.Embedded() {
		out.By = cfg.PDP.Connection.BaseURL.JoinPath(cfg.PDP.Endpoints.Evaluation).String()
		if !a.ask {
			return out
		}
	}
	out.Asked = true
	point, done, err := app.DecisionPoint(cfg, lookup(s.environ))
	if err != nil {
		out.Reason = err.Error()
		return out
	}
	defer done()
	enforcer, err := authz.NewEnforcer(authz.Options{PDP: point, Subject: cfg.PDP.SubjectID, SubjectType: cfg.PDP.SubjectType, Deadline: cfg.PDP.Connection.Timeout})
	if err != nil {
		out.Reason = err.Error()
		return out
	}
	defer enforcer.Close()
	var at authz.Circumstances
	if a.ip != "" {
		at.Address, _ = netip.ParseAddr(a.ip)
	}
	verdict, err := enforcer.Decide(ctx, who, ask, facts, at)
	out.Allow, out.Reason = verdict.Allow, verdict.Reason
	if err != nil {
		out.Allow, out.Reason = false, verdict.Reason+": "+err.Error()
	}
	return out
}
