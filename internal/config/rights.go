package config

import (
	"fmt"
	"strings"

	"keyway/internal/route"
)

// Rights says where roles and permissions of users are who sign in: what the first
// entry of idps.yaml with their issuer says that says anything of it. The zero mapping:
// nobody who signs in has a role, or a permission.
func (c *Config) Rights() ClaimsMapping {
	if i := rightsOf(c.IdPs, c.OIDC.Issuer); i >= 0 {
		return c.IdPs[i].ClaimsMapping
	}
	return ClaimsMapping{}
}

// rightsOf is the entry that says where roles and permissions are at an issuer. Issuers
// are compared as text (OpenID Connect Discovery 1.0 section 4.3).
func rightsOf(idps []IdP, issuer string) int {
	for i, idp := range idps {
		if m := idp.ClaimsMapping; idp.Issuer == issuer && len(m.Roles)+len(m.Permissions) > 0 {
			return i
		}
	}
	return -1
}

// checkSources refuses JSONPath where a claim is named: it would find nothing, and
// nobody would have a role.
func (l *loader) checkSources(key string, m ClaimsMapping) {
	for _, list := range []struct {
		name    string
		sources []ClaimSource
	}{{"roles", m.Roles}, {"permissions", m.Permissions}} {
		for i, s := range list.sources {
			if !strings.HasPrefix(s.Source, "$") {
				continue
			}
			want := "a claim's name, or a dotted path without $., such as realm_access.roles"
			if path := strings.TrimPrefix(strings.TrimPrefix(s.Source, "$"), "."); path != "" && !strings.ContainsAny(path, `$[]*'"`) {
				want = path + ", without $.: it is a claim's name, or a dotted path, and no JSONPath"
			}
			l.wrong(IdPsFile, fmt.Sprintf("%s.claims_mapping.%s[%d].source", key, list.name, i), "found "+shown(s.Source), "expected "+want)
		}
	}
}

// checkRoles tells if nobody who signs in can have a role, while routes ask who may do
// what. Policies may be about other things, so that is no mistake by itself.
func (l *loader) checkRoles() {
	issuer, first := l.settings.OIDC.Issuer, -1
	for i, e := range l.routes.Routes {
		if e.Authz == route.AuthzPDP && (e.Auth == route.AuthSession || e.Auth == "") {
			first = i
			break
		}
	}
	if first < 0 || issuer == "" || !l.pdp.Configured() || l.unreadable(IdPsFile) {
		return
	}
	said := rightsOf(l.idps.IdPs, issuer)
	if said >= 0 && len(l.idps.IdPs[said].ClaimsMapping.Roles) > 0 {
		return
	}
	where, key, found, want := l.whyNoRoles(issuer, said)
	if where == "" {
		where, key = RoutesFile, fmt.Sprintf("routes[%d].authz", first)
		found = "found pdp, and no entry of idps.yaml has the issuer that users sign in at, " + shown(issuer)
		want = "an entry of idps.yaml with that issuer, to the letter, and claims_mapping.roles"
	}
	l.note(l.files[where].at(key), key, found+": nobody who signs in has a role, and routes with authz: pdp ask who may do what", want+"; or nothing, if no policy is about roles")
}

// whyNoRoles looks for the entry that was meant to say where roles are. said is the one
// that counts, which does not say it; -1: there is none.
func (l *loader) whyNoRoles(issuer string, said int) (file, key, found, want string) {
	const some = "roles, such as [{source: realm_access.roles}]"
	if said >= 0 {
		for i, idp := range l.idps.IdPs {
			if idp.Issuer == issuer && len(idp.ClaimsMapping.Roles) > 0 {
				return IdPsFile, fmt.Sprintf("idps[%d].claims_mapping.roles", i), fmt.Sprintf("not used: idps[%d] has the same issuer, comes first and has permissions only", said), "roles there, too"
			}
		}
		return IdPsFile, fmt.Sprintf("idps[%d].claims_mapping.roles", said), "missing, though permissions are there", some
	}
	for i, idp := range l.idps.IdPs {
		if idp.Issuer != issuer && strings.TrimRight(idp.Issuer, "/") == strings.TrimRight(issuer, "/") && len(idp.ClaimsMapping.Roles) > 0 {
			return IdPsFile, fmt.Sprintf("idps[%d].issuer", i), "found " + shown(idp.Issuer) + ", and users sign in at " + shown(issuer) + " (oidc.issuer): they differ by a slash at the end",
				"the issuer as its provider writes it, in both places"
		}
	}
	for i, idp := range l.idps.IdPs {
		if idp.Issuer == issuer {
			return IdPsFile, fmt.Sprintf("idps[%d].claims_mapping.roles", i), "missing", some
		}
	}
	return "", "", "", ""
}
