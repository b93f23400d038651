package config

import (
	"strings"
	"testing"
)

// Who would show somebody's opaque token to several providers is told of it.
func TestOpaqueTokensShownAround(t *testing.T) {
	idps := func(second string) string {
		return `idps:
  - {name: one, issuer: "https://one.example.com", audience: api, client_id: gw, client_secret: "${SECRET}"}
  - {name: two, ` + second + `}
`
	}
	const two = `issuer: "https://two.example.com", audience: [other], client_id: gw, client_secret: "${SECRET}"`
	for name, c := range map[string]struct {
		idps, bearer string
		noted        bool
	}{
		"any entry":         {idps(two), "", true},
		"one entry":         {idps(two), "{idps: one}", false},
		"one audience":      {idps(two), "{audience: api}", false},
		"both audiences":    {idps(two), "{audience: [api, other]}", true},
		"one says no":       {idps(two + ", opaque_tokens: false"), "", false},
		"one is not asked":  {idps(`issuer: "https://two.example.com", audience: [other]`), "", false},
		"the same provider": {idps(strings.Replace(two, "two.example", "one.example", 1) + ", provider: one"), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			need := ""
			if c.bearer != "" {
				need = ", bearer: " + c.bearer
			}
			cfg, err := LoadFiles("config", map[string][]byte{
				IdPsFile: []byte(c.idps),
				RoutesFile: []byte(`services: {s: {base_url: "https://s.internal"}}
routes:
  - {path: /m2m, target_service: s, auth: bearer` + need + `}
`),
			}, []string{"SECRET=a secret for tests that is long enough"})
			if err != nil {
				t.Fatal(err)
			}
			var noted bool
			for _, n := range cfg.Notes {
				noted = noted || strings.Contains(n.Error(), "https://one.example.com, https://two.example.com")
			}
			if noted != c.noted {
				t.Errorf("notes: %v", cfg.Notes)
			}
		})
	}
}

// A comma between scopes makes it part of one, which no token has.
func TestCommaInAScope(t *testing.T) {
	cfg, err := LoadFiles("config", map[string][]byte{
		IdPsFile: []byte("idps: [{name: one, issuer: \"https://one.example.com\", audience: api}]\n"),
		RoutesFile: []byte(`services: {s: {base_url: "https://s.internal"}}
routes:
  - {path: /m2m, target_service: s, auth: bearer, bearer: {scopes: "notes:read, notes:write"}}
`),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var notes []string
	for _, n := range cfg.Notes {
		notes = append(notes, n.Error())
	}
	if got := strings.Join(notes, "\n"); len(notes) != 1 || !strings.Contains(got, "routes.yaml:3:") || !strings.Contains(got, `"notes:read,"`) {
		t.Errorf("notes: %s", got)
	}
}
