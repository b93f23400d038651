package cli

import (
	"net/url"
	"strings"
	"testing"

	"keyway/internal/config"
	"keyway/internal/route"
)

// No configuration that loads asks the policy decision point yet; what explain
// will say of one that does is held here.
func TestExplainMappings(t *testing.T) {
	base, err := url.Parse("https://notes.internal")
	if err != nil {
		t.Fatal(err)
	}
	table, err := route.NewTable([]route.Route{{
		ID: "note", Path: "/api/notes/{id}", Service: "notes", Methods: []string{"GET", "PUT", "DELETE"}, Auth: route.AuthSession, Authz: route.AuthzPDP,
		AuthzMap: map[string]route.Mapping{"GET": {Resource: "note", Action: "read", IDFrom: "{id}", Props: map[string]string{"channel": "web"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	endpoints := map[string]map[string]config.Mapping{"/api/notes/{id}": {"DELETE": {Resource: "note", Action: "delete", IDFrom: "{id}"}}}
	for _, c := range []struct {
		name, method, want string
		enabled, derived   bool
	}{
		{"its own", "GET", `pdp (authz_map): may the caller read a note, id from {id} = "a b", channel from web`, true, false},
		{"its own, for HEAD", "HEAD", `pdp (authz_map): may the caller read a note, id from {id} = "a b", channel from web`, true, false},
		{"by endpoint_map", "DELETE", `pdp (endpoint_map): may the caller delete a note, id from {id} = "a b"`, true, false},
		{"none", "PUT", "pdp: nothing is mapped for this method, so always 403", true, false},
		{"derived", "PUT", "pdp: resource and action derived from path and method", true, true},
		{"switched off", "GET", "pdp: switched off (MS_BFF_AUTHZ_ENABLED)", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := &config.Config{
				Services: map[string]config.Service{"notes": {BaseURL: base}}, Routes: table,
				PDP: config.PDP{EndpointMap: endpoints, DerivedDefaults: c.derived},
			}
			cfg.Authz.Enabled = c.enabled
			var b strings.Builder
			if err := printExplain(&b, explain(cfg, c.method, "/api/notes/a%20b")); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(b.String(), "\nauthz       "+c.want+"\n") {
				t.Errorf("got\n%s\nwant %s", b.String(), c.want)
			}
		})
	}
}
