package config

import (
	"fmt"
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
		l.checkSources(key, p.ClaimsMapping)
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
