package gateway_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"keyway/internal/bearer"
	"keyway/internal/gateway"
	"keyway/internal/principal"
	"keyway/internal/problem"
	"keyway/internal/route"
	"keyway/internal/secret"
	"keyway/internal/telemetry"
	"keyway/internal/threat"
)

func TestScopeChallenge(t *testing.T) {
	threat.Covers(t, 45)
	m := startMachines(t)
	got := m.user().do("GET", "/m2m/jwt", "Authorization", "Bearer "+m.sign("at+jwt", map[string]any{"scope": "a"}))
	host := strings.TrimPrefix(m.server.URL, "http://")
	if want := `Bearer realm="bff", error="insufficient_scope", scope="a b", resource_metadata="http://` + host + `/.well-known/oauth-protected-resource/m2m/jwt"`; got.status != 403 || got.code() != "insufficient_scope" || got.header.Get("WWW-Authenticate") != want {
		t.Errorf("%d %s\n%s\n%s", got.status, got.code(), got.header.Get("WWW-Authenticate"), want)
	}
}

// metadataOf asks for a path's metadata.
func (m *machines) metadataOf(t *testing.T, path, host string) (response, map[string]any) {
	t.Helper()
	got := m.raw(t, "GET /.well-known/oauth-protected-resource"+path+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
	var doc map[string]any
	if got.status == 200 {
		must(t, json.Unmarshal([]byte(got.body), &doc))
	}
	return got, doc
}

// A client that knows nothing finds the way by the challenge (RFC 9728 section 5).
func TestProtectedResourceMetadata(t *testing.T) {
	m := startMachines(t, func(w *world) { w.settings.PublicHosts = []string{"app.example", "www.app.example"} })
	both := []any{"https://opaque.example.com", machineIssuer}
	for path, want := range map[string]struct {
		issuers, scopes []any
	}{
		"":                       {both, []any{"notes:read", "a", "b"}},
		"/m2m/read":              {both, []any{"notes:read"}},
		"/m2m/jwt":               {[]any{machineIssuer}, []any{"a", "b"}},
		"/m2m/files/a%20b/c.txt": {both, nil},
	} {
		got, doc := m.metadataOf(t, path, "app.example")
		if got.status != 200 || got.header.Get("Content-Type") != "application/json" || got.header.Get("Cache-Control") != "public, max-age=300" {
			t.Errorf("%s: %d %v", path, got.status, got.header)
		}
		if doc["resource"] != "http://app.example"+path || !slices.Equal(list(doc["authorization_servers"]), want.issuers) ||
			!slices.Equal(list(doc["scopes_supported"]), want.scopes) || !slices.Equal(list(doc["bearer_methods_supported"]), []any{"header"}) {
			t.Errorf("%s: %s", path, got.body)
		}
		if len(got.header["Set-Cookie"]) != 0 {
			t.Errorf("%s: %v", path, got.header)
		}
	}
	for path, status := range map[string]int{
		"/api/notes": 404, "/public/a": 404, "/nothing": 404, "/": 404, "/m2m": 404, "/m2m/read/": 404, "/M2M/read": 404,
		"/m2m/files/../read": 400, "//m2m/read": 400, "/m2m/files/%2e%2e": 400, "/m2m/files/a%00": 400, "/.well-known/oauth-protected-resource": 404,
	} {
		if got, _ := m.metadataOf(t, path, "app.example"); got.status != status || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v, want %d", path, got.status, got.header, status)
		}
	}
	if got := m.user().do("POST", "/.well-known/oauth-protected-resource/m2m/read"); got.status != 405 {
		t.Errorf("POST: %d", got.status)
	}
	t.Run("the challenge leads there", func(t *testing.T) {
		got := m.raw(t, "GET /m2m/files/a%20b HTTP/1.1\r\nHost: www.app.example\r\nConnection: close\r\n\r\n")
		_, at, _ := strings.Cut(got.header.Get("WWW-Authenticate"), `resource_metadata="http://www.app.example/.well-known/oauth-protected-resource`)
		path := strings.TrimSuffix(at, `"`)
		if _, doc := m.metadataOf(t, path, "www.app.example"); doc["resource"] != "http://www.app.example/m2m/files/a%20b" {
			t.Errorf("%v: %v", got.header, doc)
		}
	})
	t.Run("not under a name that is not ours", func(t *testing.T) {
		for _, host := range []string{"evil.example", "app.example.evil.example", "app.example:81"} {
			if got, _ := m.metadataOf(t, "/m2m/read", host); got.status != 404 || strings.Contains(got.body, "evil") {
				t.Errorf("%s: %d %s", host, got.status, got.body)
			}
			got := m.raw(t, "GET /m2m/read HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
			if challenge := got.header.Get("WWW-Authenticate"); got.status != 401 || challenge != `Bearer realm="bff"` {
				t.Errorf("%s: %d %s", host, got.status, challenge)
			}
		}
	})
}

func list(v any) []any { l, _ := v.([]any); return l }

// Without names in the configuration a client is told the name that it used, if it
// is one at all, and no cache is to keep it for others.
func TestMetadataWithoutNames(t *testing.T) {
	m := startMachines(t)
	if got, doc := m.metadataOf(t, "/m2m/read", "any.example:8443"); doc["resource"] != "http://any.example:8443/m2m/read" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %v", got.status, got.header, doc)
	}
	for _, host := range []string{"a,b", "a;b", "a'b", "a(b)", "a=b"} {
		got := m.raw(t, "GET /m2m/read HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		if strings.Contains(got.header.Get("WWW-Authenticate"), "resource_metadata") {
			t.Errorf("%s: %v", host, got.header)
		}
	}
	long := "/m2m/files/" + strings.Repeat("a", 2000)
	if got := m.user().do("GET", long); got.status != 401 || len(got.header.Get("WWW-Authenticate")) > 200 {
		t.Errorf("%d, a challenge of %d bytes", got.status, len(got.header.Get("WWW-Authenticate")))
	}
	none := start(t)
	if got := none.user().do("GET", "/.well-known/oauth-protected-resource"); got.status != 404 {
		t.Errorf("nobody's tokens are accepted: %d", got.status)
	}
}

// refusing accepts none.
type refusing struct{ tokens }

func (refusing) Authenticate(context.Context, []string, bearer.Need) (principal.Principal, secret.Value, error) {
	return principal.Principal{}, secret.Value{}, problem.New(problem.InvalidToken, &bearer.RefusedError{Code: "invalid_token", Why: io.EOF})
}

// FuzzProtectedResource: whatever path is asked about, the answer is about a path
// that a route has, says it as it was sent, and leads nowhere else.
func FuzzProtectedResource(f *testing.F) {
	for _, path := range []string{"", "/", "/m2m/read", "/m2m/files/a%20b", "/m2m/files/../x", "//evil.example/m2m/read", "/m2m/read?x=1", "/m2m/files/%22", "/m2m/files/\"x", "/m2m/jwt#a", "@evil.example/m2m/read", ".evil.example"} {
		f.Add(path)
	}
	table, err := route.NewTable([]route.Route{
		{ID: "read", Path: "/m2m/read", Service: "api", Auth: route.AuthBearer},
		{ID: "files", Path: "/m2m/files/*", Service: "api", Auth: route.AuthBearer},
		{ID: "page", Path: "/page/*", Service: "api", Auth: route.AuthNone},
	})
	if err != nil {
		f.Fatal(err)
	}
	generation := gateway.NewGeneration(gateway.Parts{Routes: table, Bearer: refusing{}, Settings: gateway.Settings{PublicHosts: []string{"app.example"}}})
	g := gateway.New(gateway.Options{
		Current: func() *gateway.Generation { return generation }, Log: slog.New(slog.DiscardHandler), Metrics: telemetry.NewMetrics(), Health: &gateway.Health{},
	})
	const at = "/.well-known/oauth-protected-resource"
	f.Fuzz(func(t *testing.T, path string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host, r.RequestURI = "app.example", at+path
		rw := httptest.NewRecorder()
		g.ServeHTTP(rw, r)
		if rw.Code == 200 {
			plain, _, _ := strings.Cut(path, "?")
			var doc struct {
				Resource string   `json:"resource"`
				Issuers  []string `json:"authorization_servers"`
			}
			if err := json.Unmarshal(rw.Body.Bytes(), &doc); err != nil || doc.Resource != "http://app.example"+plain || len(doc.Issuers) == 0 {
				t.Errorf("%q: %s", path, rw.Body)
			}
			if plain != "" && plain != "/m2m/read" && !strings.HasPrefix(plain, "/m2m/files/") {
				t.Errorf("%q: no route has it: %s", path, rw.Body)
			}
		}
		// The same path, asked without a token: the challenge is one that can be read.
		r = httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host, r.RequestURI = "app.example", path
		rw = httptest.NewRecorder()
		if !strings.HasPrefix(path, "/m2m/") {
			return // that may be forwarded
		}
		g.ServeHTTP(rw, r)
		challenge := rw.Header().Get("WWW-Authenticate")
		if rw.Code == 401 && challenge == "" || strings.Count(challenge, `"`)%2 != 0 || strings.ContainsAny(challenge, "\r\n\x00\\") {
			t.Errorf("%q: challenge %q", path, challenge)
		}
	})
}
