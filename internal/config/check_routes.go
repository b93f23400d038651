package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"keyway/internal/route"
)

var serviceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

func (l *loader) checkServices() {
	for _, name := range sortedKeys(l.routes.Services) {
		s := l.routes.Services[name]
		key := "services." + name
		if !serviceName.MatchString(name) && mapKey.MatchString(name) { // else it is said already
			l.wrong(RoutesFile, key, "found the name "+shown(name), "expected letters, digits, - and _")
		}
		l.insecure(RoutesFile, reflect.ValueOf(s), key)
		l.checkOwnListeners(key, s.BaseURL)
		if (s.TLS.CertFile == "") != s.TLS.Key.IsZero() {
			l.wrong(RoutesFile, key+".tls", "a client certificate needs both cert_file and key", "give both, or neither")
		}
		if s.BaseURL != nil && s.BaseURL.Scheme == "http" && s.TLS != (ServiceTLS{}) {
			l.wrong(RoutesFile, key+".tls", "TLS options for a service that is spoken to in plain http", "https in base_url, or no tls")
		}
	}
}

func (l *loader) checkRoutes() {
	ids := make(map[string]int)
	var keys []string
	var routes []route.Route
	for i := range l.routes.Routes {
		e := &l.routes.Routes[i]
		key := fmt.Sprintf("routes[%d]", i)
		if e.ID != "" {
			if first, dup := ids[e.ID]; dup {
				l.wrong(RoutesFile, key+".id", "the id "+shown(e.ID)+" is taken", fmt.Sprintf("expected one of its own; routes[%d] has it", first))
			} else {
				ids[e.ID] = i
			}
		}
		l.checkRouteKeys(key, e)
		l.checkTokenPolicy(key, e)
		l.checkAuthzMap(key, e)
		if r, ok := l.buildRoute(key, e); ok {
			keys, routes = append(keys, key), append(routes, r)
		}
	}
	l.buildTable(routes)
	if l.table != nil { // two routes for one request are said already
		l.checkBackDoors(keys, routes)
	}
}

func (l *loader) checkRouteKeys(key string, e *routeEntry) {
	if i := strings.IndexAny(e.Path, "?#"); i >= 0 {
		written := fmt.Sprintf("%%%02X", e.Path[i])
		l.note(l.files[RoutesFile].at(key+".path"), key+".path", fmt.Sprintf("it matches only requests that have %c in their path, written as %s", e.Path[i], written), "without it, if a query is meant: a route matches whatever the query is")
	}
	if e.TargetService != "" {
		if _, ok := l.routes.Services[e.TargetService]; !ok {
			names := sortedKeys(l.routes.Services)
			want := "expected one of services: " + strings.Join(names, ", ") + meant(e.TargetService, names)
			if len(names) == 0 {
				want = "a service of that name under services"
			}
			l.wrong(RoutesFile, key+".target_service", "there is no service "+shown(e.TargetService), want)
		}
	}
	if e.Auth == route.AuthSession && l.settings.OIDC.Issuer == "" && !l.broken(SettingsFile, "oidc.issuer") && !l.unreadable(SettingsFile) {
		l.wrong(RoutesFile, key+".auth", "a session route, and no provider to sign in at", "set OIDC_ISSUER and AUTH_CLIENT_ID, or auth: none")
	}
	if e.Auth == route.AuthBearer && !l.unreadable(IdPsFile) && !slices.ContainsFunc(l.idps.IdPs, func(p IdP) bool { return len(p.Audience) > 0 }) {
		l.wrong(RoutesFile, key+".auth", "a bearer route, and no provider whose tokens are accepted", "an entry in idps.yaml with issuer and audience, or auth: session")
	}
	if e.Authz == route.AuthzPDP {
		if e.Auth == route.AuthNone {
			l.wrong(RoutesFile, key+".authz", "the policy decision point is asked about a caller whom auth: none does not know", "auth: session, or authz: none")
		}
		if !l.pdp.Configured() && !l.broken(PDPFile, "connection.base_url") && !l.broken(PDPFile, "policies") && !l.unreadable(PDPFile) {
			l.wrong(RoutesFile, key+".authz", "there is no policy decision point to ask", "connection.base_url or policies in pdp.yaml")
		}
	}
}

func (l *loader) checkTokenPolicy(key string, e *routeEntry) {
	p := &e.TokenPolicy
	if p.Mode == "" {
		p.Mode = route.TokenNone
		if e.Auth != route.AuthNone {
			p.Mode = route.TokenSession // of a bearer route: the token that was presented
		}
	}
	mk := key + ".token_policy.mode"
	switch p.Mode {
	case route.TokenSession:
		if e.Auth == route.AuthNone {
			l.wrong(RoutesFile, mk, "session_passthrough on a route without a session", "auth: session or bearer, or mode: none")
		}
	case route.TokenService:
		if e.Auth == route.AuthNone {
			l.wrong(RoutesFile, mk, "a service token on a route that anyone may call: they would act with the gateway's rights", "auth: session or bearer, or mode: none")
		}
	case route.TokenOnBehalfOf:
		if e.Auth == route.AuthNone {
			l.wrong(RoutesFile, mk, "on_behalf_of nobody: the route has auth: none", "auth: session")
		}
	}
	if (p.Mode == route.TokenSession || p.Mode == route.TokenNone) && (p.Audience != "" || len(p.Scopes) > 0) {
		l.wrong(RoutesFile, key+".token_policy", "audience and scopes, which "+string(p.Mode)+" does not use", "mode: service_token, or remove them")
	}
}

// buildRoute turns an entry into a route, if its path means anything.
func (l *loader) buildRoute(key string, e *routeEntry) (route.Route, bool) {
	if l.broken(RoutesFile, key+".path") || e.Path == "" {
		return route.Route{}, false
	}
	pattern, err := route.ParsePattern(e.Path)
	if err != nil {
		l.wrong(RoutesFile, key+".path", "found "+shown(e.Path), err.Error())
		return route.Route{}, false
	}
	l.checkReserved(key, pattern)
	ok := true
	switch {
	case e.UpstreamPath == "" || l.broken(RoutesFile, key+".upstream_path"):
	case e.PreservePath:
		l.wrong(RoutesFile, key+".preserve_path", "upstream_path and preserve_path together", "one of the two: preserve_path keeps the path as it came")
		ok = false
	default:
		if err := route.CheckTemplate(e.UpstreamPath, pattern); err != nil {
			l.wrong(RoutesFile, key+".upstream_path", "found "+shown(e.UpstreamPath), err.Error())
			ok = false
		}
	}
	r := route.Route{
		ID: cmp.Or(e.ID, e.Path), Description: e.Description, Path: e.Path, Service: e.TargetService,
		Methods: e.Methods, Auth: e.Auth, Authz: e.Authz, Streaming: e.Streaming,
		TokenPolicy: route.TokenPolicy(e.TokenPolicy),
		Bearer:      route.Need(e.Bearer),
		Limits:      route.Limits{BodyBytes: int64(e.Limits.BodyBytes), Rate: e.Limits.Rate, ConcurrentRequests: e.Limits.ConcurrentRequests},
		Source:      l.files[RoutesFile].at(key).String(),
	}
	if ok { // otherwise still good for finding conflicts
		r.UpstreamPath, r.PreservePath = e.UpstreamPath, e.PreservePath
	}
	if len(e.AuthzMap) > 0 {
		r.AuthzMap = make(map[string]route.Mapping, len(e.AuthzMap))
		for method, m := range e.AuthzMap {
			r.AuthzMap[method] = route.Mapping(m)
		}
	}
	return r, true
}

func (l *loader) checkReserved(key string, p route.Pattern) {
	for _, text := range reserved {
		own, err := route.ParsePattern(text)
		if err != nil {
			panic(err) // a constant; a test builds them all
		}
		if example, overlap := p.Overlap(own, true); overlap {
			l.wrong(RoutesFile, key+".path", "it could match "+example+", which the gateway serves itself ("+text+")", "expected a path that can't")
			return
		}
	}
	if slices.ContainsFunc(aliases, func(a string) bool { return strings.EqualFold(a, p.String()) }) {
		l.wrong(RoutesFile, key+".path", "the gateway serves "+p.String()+" itself, so the route would never be asked", "another path")
	}
}

func (l *loader) buildTable(routes []route.Route) {
	table, err := route.NewTable(routes)
	if err == nil {
		l.table = table
		return
	}
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	for _, err := range list {
		c, ok := errors.AsType[*route.Conflict](err)
		if !ok {
			if _, invalid := errors.AsType[*route.InvalidError](err); !invalid {
				l.add(mark{file: l.files[RoutesFile].file}, "routes", err.Error(), "")
			}
			continue // said with its key
		}
		found := fmt.Sprintf("%s and %s (%s) could both match %s %s", c.B, c.A, c.A.Source, c.Method, c.Example)
		want := "make their paths or methods disjoint: there is no order among routes"
		if c.CaseOnly {
			found = fmt.Sprintf("%s and %s (%s) differ only in letter case: %s %s", c.B, c.A, c.A.Source, c.Method, c.Example)
			want = "other paths: a server that ignores case would take one for the other"
		}
		key, m := l.find(c.B)
		l.add(m, key+".path", found, want)
	}
}

// find finds a route's entry again.
func (l *loader) find(r *route.Route) (key string, m mark) {
	d := l.files[RoutesFile]
	for i := range l.routes.Routes {
		key = fmt.Sprintf("routes[%d]", i)
		if m = d.at(key); m.String() == r.Source {
			break
		}
	}
	return key, m
}
