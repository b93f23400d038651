package config

import (
	"fmt"
	"slices"
	"strings"

	"keyway/internal/nqchar"
	"keyway/internal/route"
)

// checkBearer looks at what routes need of tokens, against the entries whose tokens
// there are. It comes after both were looked at by themselves.
func (l *loader) checkBearer() {
	for i := range l.idps.IdPs {
		p, key := &l.idps.IdPs[i], fmt.Sprintf("idps[%d]", i)
		if p.IntrospectionResponse == "jwt" && p.ClientID == "" {
			l.wrong(IdPsFile, key+".introspection_response", "signed answers, and no client_id to ask with", "client_id, and client_secret or private_key_jwt")
		}
		if !p.OpaqueTokens && p.ClientID == "" && l.given(IdPsFile, key+".opaque_tokens") {
			l.note(l.files[IdPsFile].at(key+".opaque_tokens"), key+".opaque_tokens", "nobody is asked at this entry anyway, since it has no client_id", "leave it out")
		}
	}
	for i := range l.routes.Routes {
		e, key := &l.routes.Routes[i], fmt.Sprintf("routes[%d]", i)
		if e.Auth != route.AuthBearer {
			if l.given(RoutesFile, key+".bearer") {
				l.wrong(RoutesFile, key+".bearer", "what a token must be good for, on a route with auth: "+string(e.Auth), "auth: bearer, or without it")
			}
			continue
		}
		for n, s := range e.Bearer.Scopes {
			if s == "" || !nqchar.Only(s) {
				l.wrong(RoutesFile, fmt.Sprintf("%s.bearer.scopes[%d]", key, n), "found "+shown(s), "expected a scope: printable ASCII without space, quote and backslash (RFC 6749 section 3.3)")
			} else if strings.Contains(s, ",") {
				at := fmt.Sprintf("%s.bearer.scopes[%d]", key, n)
				l.note(l.files[RoutesFile].at(at), at, "the scope "+shown(s)+" has a comma in it, and no token has it unless its provider names it so", "spaces between scopes, or a list: [notes:read, notes:write]")
			}
		}
		if !l.unreadable(IdPsFile) {
			l.checkNeed(key, e)
		}
	}
}

// checkNeed wants each name to be there, and at least one entry to be left.
func (l *loader) checkNeed(key string, e *routeEntry) {
	var names, audiences []string
	for i := range l.idps.IdPs {
		p := &l.idps.IdPs[i]
		names, audiences = append(names, p.Name), append(audiences, p.Audience...)
	}
	known := true
	for n, name := range e.Bearer.IdPs {
		if i := slices.Index(names, name); i < 0 {
			known = false
			l.wrong(RoutesFile, fmt.Sprintf("%s.bearer.idps[%d]", key, n), "there is no entry "+shown(name)+" in idps.yaml", "expected one of "+strings.Join(names, ", ")+meant(name, names))
		} else if len(l.idps.IdPs[i].Audience) == 0 {
			known = false
			l.wrong(RoutesFile, fmt.Sprintf("%s.bearer.idps[%d]", key, n), "the entry "+shown(name)+" has no audience, so none of its tokens is accepted", "an audience in idps.yaml, or another entry")
		}
	}
	for n, audience := range e.Bearer.Audience {
		if !slices.Contains(audiences, audience) {
			known = false
			l.wrong(RoutesFile, fmt.Sprintf("%s.bearer.audience[%d]", key, n), "no entry of idps.yaml has the audience "+shown(audience), "expected one of "+strings.Join(audiences, ", ")+meant(audience, audiences))
		}
	}
	if !known || len(audiences) == 0 {
		return // said
	}
	asked := l.askedOpaque(e)
	switch {
	case len(e.Bearer.Audience) > 0 && !slices.ContainsFunc(l.idps.IdPs, e.Bearer.takes):
		l.wrong(RoutesFile, key+".bearer", "no entry has one of these names and one of these audiences, so nobody could call", "an audience of one of the entries")
	case len(asked) > 1:
		l.note(l.files[RoutesFile].at(key), key+".bearer.idps", "a token that does not say whose it is will be shown to "+strings.Join(asked, ", ")+", until one knows it",
			"name one, or opaque_tokens: false in idps.yaml where none are issued, unless they trust one another")
	}
}

// takes says whether tokens of an entry can be good enough.
func (b *bearerEntry) takes(p IdP) bool {
	return len(route.Need(*b).Accepts(p.Name, p.Audience)) > 0
}

// askedOpaque are the issuers that see an opaque token of this route.
func (l *loader) askedOpaque(e *routeEntry) []string {
	var issuers []string
	for _, p := range l.idps.IdPs {
		if p.ClientID != "" && p.OpaqueTokens && e.Bearer.takes(p) && !slices.Contains(issuers, p.Issuer) {
			issuers = append(issuers, p.Issuer)
		}
	}
	return issuers
}
