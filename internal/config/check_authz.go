package config

import (
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"keyway/internal/authz"
	"keyway/internal/route"
)

func (l *loader) checkPDP() {
	p := &l.pdp
	l.insecure(PDPFile, reflect.ValueOf(*p), "")
	l.checkDecisionPoint()
	l.checkPDPCredentials()
	for _, e := range []struct{ key, path string }{{"endpoints.evaluation", p.Endpoints.Evaluation}, {"endpoints.evaluations", p.Endpoints.Evaluations}} {
		if err := route.Canonical(e.path); err != nil {
			l.wrong(PDPFile, e.key, "found "+shown(e.path), "expected a path below base_url, such as /access/v1/evaluation")
		}
	}
	for _, path := range sortedKeys(p.EndpointMap) {
		key := "endpoint_map." + path
		pattern, err := route.ParsePattern(path)
		if err != nil {
			l.wrong(PDPFile, key, "found the path "+shown(path), err.Error())
			continue
		}
		l.checkMappings(PDPFile, key, p.EndpointMap[path], route.Methods(), pattern)
	}
	if p.CircuitBreaker.OpenFor < p.Connection.Timeout && l.given(PDPFile, "circuit_breaker.open_for") {
		l.note(l.files[PDPFile].at("circuit_breaker.open_for"), "circuit_breaker.open_for", "shorter than one attempt may take", "more than connection.timeout")
	}
	l.checkSubjectID()
	l.checkSubjectType()
	l.checkAsked()
	l.checkRoles()
}

// checkDecisionPoint wants one decision point, not two.
func (l *loader) checkDecisionPoint() {
	p := &l.pdp
	if p.Embedded() {
		if l.given(PDPFile, "connection.base_url") {
			l.wrong(PDPFile, "policies", "policies and connection.base_url together", "one of the two: policies are decided by in this process, base_url is asked")
			return
		}
		for _, key := range []string{"connection", "endpoints", "retry", "circuit_breaker"} {
			if l.given(PDPFile, key) {
				l.note(l.files[PDPFile].at(key), key, "not used: with policies nobody is asked over the network", "remove it")
			}
		}
	}
	if len(p.EndpointMap) > 0 && !p.Configured() && !l.broken(PDPFile, "connection.base_url") && !l.broken(PDPFile, "policies") {
		l.wrong(PDPFile, "endpoint_map", "mappings without a decision point to ask", "connection.base_url, or policies")
	}
}

func (l *loader) checkPDPCredentials() {
	// The credentials' endpoint has no flag of its own; the connection's counts.
	c := &l.pdp.Connection.Credentials
	if u, err := url.Parse(c.TokenURL); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) && !l.pdp.Connection.AllowInsecureHTTP {
		l.wrong(PDPFile, "connection.credentials.token_url", "plain http to a host that is not this machine", "https, or connection.allow_insecure_http: true")
	}
	const ck = "connection.credentials"
	switch c.Method {
	case "bearer":
		if c.Token.IsZero() {
			l.wrong(PDPFile, ck+".token", "bearer without a token", "token: file:/path or ${NAME}")
		}
	case "client_credentials":
		if c.ClientID == "" || c.ClientSecret.IsZero() {
			l.wrong(PDPFile, ck+".client_id", "client_credentials without client_id and client_secret", "both")
		}
	case "none":
		if !c.Token.IsZero() || !c.ClientSecret.IsZero() {
			l.wrong(PDPFile, ck+".method", "credentials that are not used, since method is none", "method: bearer or client_credentials")
		}
	}
}

// checkSubjectID looks whose people the decision point is asked about: a sub is
// unique at one provider only (OpenID Connect Core section 2).
func (l *loader) checkSubjectID() {
	if l.pdp.SubjectID != authz.SubjectSub {
		return
	}
	var providers []string
	add := func(provider string) {
		if provider != "" && !slices.Contains(providers, provider) {
			providers = append(providers, provider)
		}
	}
	for _, e := range l.routes.Routes {
		switch {
		case e.Authz != route.AuthzPDP:
		case e.Auth == route.AuthSession:
			add(l.settings.OIDC.Provider)
		case e.Auth == route.AuthBearer:
			for _, p := range l.idps.IdPs {
				if len(p.Audience) > 0 && (len(e.Bearer.IdPs) == 0 || slices.Contains(e.Bearer.IdPs, p.Name)) {
					add(p.Provider)
				}
			}
		}
	}
	if len(providers) > 1 {
		l.note(l.files[PDPFile].at("subject_id"), "subject_id", "sub, and callers of more than one provider: "+strings.Join(providers, ", "),
			"account: two people of two providers may have one sub, and would be one to the decision point")
	}
}

// subjectType is a type that can be an entity's in Cedar, too.
var subjectType = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// checkSubjectType refuses types that mean something else already: a person's sub can
// be a role's name, and must not be the role.
func (l *loader) checkSubjectType() {
	const want = "a word of letters, digits and _, such as user or identity"
	switch t := l.pdp.SubjectType; {
	case !subjectType.MatchString(t):
		l.wrong(PDPFile, "subject_type", "found "+shown(t), want)
	case t == authz.SubjectClient, strings.EqualFold(t, "role"), strings.EqualFold(t, "action"):
		l.wrong(PDPFile, "subject_type", "found "+shown(t)+", which other things are called already", want)
	}
}

func (l *loader) checkAuthzMap(key string, e *routeEntry) {
	if len(e.AuthzMap) == 0 {
		return
	}
	if e.Authz == route.AuthzNone {
		l.wrong(RoutesFile, key+".authz_map", "a mapping that is never asked, since authz is none", "remove it, or authz: pdp")
	}
	pattern, err := route.ParsePattern(e.Path)
	if err != nil {
		return // said with the path
	}
	methods := (&route.Route{Methods: e.Methods}).EffectiveMethods()
	l.checkMappings(RoutesFile, key+".authz_map", e.AuthzMap, methods, pattern)
}

// checkMappings looks at mappings by method, of a route or of the endpoint_map.
func (l *loader) checkMappings(file, key string, mappings map[string]Mapping, methods []string, p route.Pattern) {
	for _, method := range sortedKeys(mappings) {
		mk := key + "." + method
		if !slices.Contains(methods, method) {
			l.wrong(file, mk, "found the method "+shown(method), "expected one that is answered: "+strings.Join(methods, ", ")+meant(method, methods))
		}
		m := mappings[method]
		l.checkSource(file, mk+".id_from", m.IDFrom, p, func(source string) authz.Mapping { return authz.Mapping{IDFrom: source} })
		for _, name := range sortedKeys(m.Props) {
			l.checkSource(file, mk+".props."+name, m.Props[name], p, func(source string) authz.Mapping {
				return authz.Mapping{Props: map[string]string{name: source}}
			})
		}
	}
}

// checkSource looks at where a value is read from, as who reads it will: each by
// itself, so that each problem is told at its own place. {param} must be in the path.
func (l *loader) checkSource(file, key, source string, p route.Pattern, mapping func(string) authz.Mapping) {
	m := mapping(source)
	m.Resource, m.Action = "r", "a"
	if _, err := authz.Compile(m); err != nil {
		text := err.Error() // begins with the key, which is said anyway
		l.wrong(file, key, "found "+shown(source), text[strings.Index(text, ": ")+len(": "):])
		return
	}
	if !strings.HasPrefix(source, "{") {
		return
	}
	params, name := p.Params(), strings.Trim(source, "{}")
	if !slices.Contains(params, name) {
		have := "none"
		if len(params) > 0 {
			have = "{" + strings.Join(params, "}, {") + "}"
		}
		l.wrong(file, key, "found "+shown(source), "expected a parameter of the path "+p.String()+", which has "+have+meant(name, params))
	}
}
