package config

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"

	"keyway/internal/route"
)

func (l *loader) checkIdPs() {
	names, providers := make(map[string]int), make(map[string]string)
	tokens := make(map[[2]string]int) // issuer and audience
	bearer := slices.ContainsFunc(l.routes.Routes, func(e routeEntry) bool { return e.Auth == route.AuthBearer })
	for i := range l.idps.IdPs {
		p := &l.idps.IdPs[i]
		key := fmt.Sprintf("idps[%d]", i)
		l.insecure(IdPsFile, reflect.ValueOf(*p), key)
		if p.Provider != "" {
			l.checkAlias(IdPsFile, key+".provider", p.Provider)
		} else {
			p.Provider = p.Name
		}
		if p.Name != "" {
			if first, dup := names[p.Name]; dup {
				l.wrong(IdPsFile, key+".name", "the name "+shown(p.Name)+" is taken", fmt.Sprintf("expected one of its own; idps[%d] has it", first))
			}
			names[p.Name] = i
			l.checkAlias(IdPsFile, key+".name", p.Name)
		}
		// One alias for two issuers would make two people one.
		if before, ok := providers[p.Provider]; ok && p.Provider != "" && before != p.Issuer {
			l.wrong(IdPsFile, key+".provider", "the provider "+shown(p.Provider)+" stands for another issuer already", "an alias of its own: subjects of two issuers must not be taken for one another")
		}
		providers[p.Provider] = p.Issuer
		audiences := p.Audience
		if len(audiences) == 0 {
			audiences = []string{""}
		}
		for _, aud := range audiences {
			id := [2]string{p.Issuer, aud}
			if first, dup := tokens[id]; dup && p.Issuer != "" && first != i {
				l.wrong(IdPsFile, key+".issuer", fmt.Sprintf("idps[%d] has the same issuer and audience", first), "different audiences: a token selects its entry by both")
			}
			tokens[id] = i
		}
		if bearer && len(p.Audience) == 0 && !l.broken(IdPsFile, key+".audience") {
			l.note(l.files[IdPsFile].at(key), key+".audience", "missing: bearer routes accept no tokens of "+shown(p.Name), "the audience that its tokens for this gateway have")
		}
		if p.EnableTokenExchange && p.ClientID == "" {
			l.wrong(IdPsFile, key+".enable_token_exchange", "token exchange without a client_id", "client_id, and client_secret or private_key_jwt")
		}
		if p.IntrospectionURL != "" && p.ClientID == "" {
			l.wrong(IdPsFile, key+".introspection_url", "introspection without a client_id", "client_id, and client_secret or private_key_jwt")
		}
		if !p.ClientSecretExpiresAt.IsZero() && p.ClientSecret.IsZero() {
			l.wrong(IdPsFile, key+".client_secret_expires_at", "the end of a client_secret that is not there", "client_secret: file:/path or ${NAME}, or without it")
		}
		needsSecret := p.TokenEndpointAuthMethod == AuthClientSecretBasic || p.TokenEndpointAuthMethod == AuthClientSecretPost
		if needsSecret && p.ClientSecret.IsZero() {
			l.wrong(IdPsFile, key+".token_endpoint_auth_method", string(p.TokenEndpointAuthMethod)+" without a client_secret", "client_secret: file:/path or ${NAME}")
		}
	}
}

func (l *loader) checkPDP() {
	p := &l.pdp
	l.insecure(PDPFile, reflect.ValueOf(*p), "")
	// The credentials' endpoint has no flag of its own; the connection's counts.
	c := &p.Connection.Credentials
	if u, err := url.Parse(c.TokenURL); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) && !p.Connection.AllowInsecureHTTP {
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
	for _, e := range []struct{ key, path string }{{"endpoints.evaluation", p.Endpoints.Evaluation}, {"endpoints.evaluations", p.Endpoints.Evaluations}} {
		if err := route.Canonical(e.path); err != nil {
			l.wrong(PDPFile, e.key, "found "+shown(e.path), "expected a path below base_url, such as /access/v1/evaluation")
		}
	}
	if len(p.EndpointMap) > 0 && !p.Configured() {
		l.wrong(PDPFile, "endpoint_map", "mappings without a decision point to ask", "connection.base_url")
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
}
