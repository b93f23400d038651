package config

import (
	"slices"
	"strings"
	"testing"
)

// Who signs in where no claim is mapped has no role, and is told nothing but 403: the
// configuration says so, and which entry was meant.
func TestNobodyCanHaveARole(t *testing.T) {
	const session = "  - {path: /a, target_service: s, methods: [POST], authz: pdp, authz_map: {POST: {resource: a, action: b}}}\n"
	const bearer = "  - {path: /b, target_service: s, methods: [POST], auth: bearer, authz: pdp, authz_map: {POST: {resource: a, action: b}}}\n"
	const roles = "claims_mapping: {roles: [{source: roles}]}"
	const permissions = "claims_mapping: {permissions: [{source: scope}]}"
	entry := func(name, issuer, more string) string {
		return "  - {name: " + name + ", provider: " + name + ", issuer: \"" + issuer + "\", audience: " + name + ", " + more + "}\n"
	}
	const id = "https://id.example.com"
	for _, c := range []struct{ name, routes, pdp, idps, want string }{
		{"mapped", session, "policies: p\n", entry("oidc", id, roles), ""},
		{"no entry of that issuer", session, "policies: p\n", entry("corp", "https://corp.example.com", roles),
			`c/routes.yaml:4:59: routes[0].authz: found pdp, and no entry of idps.yaml has the issuer that users sign in at, "https://id.example.com": nobody who signs in has a role`},
		{"a slash at the end", session, "policies: p\n", entry("oidc", id+"/", roles),
			`idps[0].issuer: found "https://id.example.com/", and users sign in at "https://id.example.com" (oidc.issuer): they differ by a slash at the end: nobody`},
		{"an entry without", session, "connection: {base_url: \"https://pdp.internal\"}\n", entry("oidc", id, "enable_token_exchange: false"),
			"idps[0].claims_mapping.roles: missing: nobody"},
		{"permissions alone", session, "policies: p\n", entry("oidc", id, permissions), "idps[0].claims_mapping.roles: missing, though permissions are there: nobody"},
		{"behind one that counts", session, "policies: p\n", entry("oidc", id, permissions) + entry("oidc2", id, roles),
			"idps[1].claims_mapping.roles: not used: idps[0] has the same issuer, comes first and has permissions only: nobody"},
		{"an entry without, then one with", session, "policies: p\n", entry("oidc", id, "enable_token_exchange: false") + entry("oidc2", id, roles), ""},
		{"nobody signs in there", bearer, "policies: p\n", entry("corp", "https://corp.example.com", roles), ""},
		{"nobody is asked", strings.Replace(session, "pdp, authz_map: {POST: {resource: a, action: b}}", "none", 1), "policies: p\n", entry("corp", "https://corp.example.com", roles), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := LoadFiles("c", map[string][]byte{
				RoutesFile: []byte("services:\n  s: {base_url: \"https://s.internal\"}\nroutes:\n" + c.routes),
				PDPFile:    []byte(c.pdp), IdPsFile: []byte("idps:\n" + c.idps),
			}, askedEnv)
			if err != nil {
				t.Fatal(err)
			}
			var notes []string
			for _, n := range cfg.Notes {
				if strings.Contains(n.Found, "nobody who signs in has a role") {
					notes = append(notes, n.Error())
				}
			}
			got := strings.Join(notes, "\n")
			if len(notes) > 1 || c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if nobody := len(cfg.Rights().Roles) == 0; c.routes == session && nobody != (got != "") {
				t.Errorf("roles %v, noted %q", cfg.Rights().Roles, got)
			}
		})
	}
}

// A claim is no JSONPath: with one, nobody would have a role.
func TestClaimSourceIsNoJSONPath(t *testing.T) {
	for source, want := range map[string]string{
		"$.realm_access.roles":   "expected realm_access.roles, without $.",
		"$roles":                 "expected roles, without $.",
		"$['realm_access']":      "expected a claim's name, or a dotted path without $., such as realm_access.roles",
		"$":                      "expected a claim's name, or a dotted path without $.",
		"realm_access.roles":     "",
		"https://example.com/$x": "",
	} {
		_, err := LoadFiles("c", map[string][]byte{
			IdPsFile: []byte("idps:\n  - name: id\n    issuer: https://id.example.com\n    claims_mapping:\n      permissions:\n        - {source: \"" + source + "\"}\n"),
		}, slices.Clone(askedEnv))
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), "c/idps.yaml:6:20: idps[0].claims_mapping.permissions[0].source: found ") || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %s", source, err, want)
		}
	}
}
