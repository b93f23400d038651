package cli

import (
	"strings"
	"testing"

	"keyway/internal/config"
)

// What is asked, from each place that can say so.
func TestExplainMappings(t *testing.T) {
	const routes = `services:
  notes: {base_url: "https://notes.internal"}
routes:
  - id: note
    path: /api/notes/{id}
    target_service: notes
    methods: [GET, PUT, DELETE]
    authz: pdp
    authz_map:
      GET: {resource: note, action: read, id_from: "{id}", props: {channel: web, draft: "?draft", q: "?q"}}
`
	const pdp = "policies: p\nendpoint_map:\n  /api/notes/{nr}:\n    DELETE: {resource: note, action: delete, id_from: \"{nr}\"}\n"
	for _, c := range []struct {
		name, method, want string
		extra              string
		environ            []string
	}{
		{"its own", "GET", "authz       pdp: may the caller read a note (authz_map, c/routes.yaml:10:7)\n            id \"a b\", from {id}\n            channel \"web\"\n            draft \"1\", from ?draft\n            q is not there, from ?q\n", "", nil},
		{"its own, for HEAD", "HEAD", "authz       pdp: may the caller read a note (authz_map, c/routes.yaml:10:7)\n            id \"a b\"", "", nil},
		{"by endpoint_map", "DELETE", "authz       pdp: may the caller delete a note (endpoint_map /api/notes/{nr}, c/pdp.yaml:4:5)\n            id \"a b\", from {id}\n", "", nil},
		{"none", "PUT", "authz       pdp: nothing is mapped for this method, so always 403\n", "", nil},
		{"derived", "PUT", "authz       pdp: may the caller update a notes (derived)\n            id \"a b\", from {id}\n", "derived_defaults: true\n", nil},
		{"switched off", "GET", "authz       pdp: switched off (MS_BFF_AUTHZ_ENABLED)\n", "", []string{"MS_BFF_AUTHZ_ENABLED=false"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := config.LoadFiles("c", map[string][]byte{"routes.yaml": []byte(routes), "pdp.yaml": []byte(pdp + c.extra)},
				append([]string{"OIDC_ISSUER=https://id.example.com", "AUTH_CLIENT_ID=keyway", "BFF_DEFAULT_HOST=app.example.com"}, c.environ...))
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			if err := printExplain(&b, explain(t.Context(), &streams{}, cfg, c.method, "/api/notes/a%20b?draft=1", &asking{})); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(b.String(), "\n"+c.want) {
				t.Errorf("got\n%s\nwant %s", b.String(), c.want)
			}
		})
	}
}
