package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/testkit/faults"
)

// asking is a gateway whose routes are decided by somebody else.
type asking struct {
	*world
	Demo *idptest.Server
	One  *Process
}

// decidedBy makes one at the demo's provider. pdp is pdp.yaml; for its place see judge and
// opa.
func decidedBy(t testing.TB, pdp string, o idp.Options, env Env) *asking {
	t.Helper()
	w, demo := atDemo(t, idp.AuthSecretBasic, o)
	dir := w.Env["BFF_CONFIG_DIR"]
	write(t, filepath.Join(dir, "pdp.yaml"), pdp)
	write(t, filepath.Join(dir, "idps.yaml"), fmt.Sprintf("idps:\n  - {name: main, issuer: %q, claims_mapping: {roles: [{source: roles}]}}\n", demo.URL))
	write(t, filepath.Join(dir, "routes.yaml"), strings.ReplaceAll(`
services:
  api: {base_url: URL, timeout: 20s}
routes:
  - {id: free, path: /free, target_service: api, upstream_path: /echo/free, auth: session}
  - id: note
    path: /note/{id}
    target_service: api
    upstream_path: "/echo/{id}"
    methods: [GET, PUT, DELETE]
    auth: session
    authz: pdp
    authz_map:
      GET: {resource: note, action: read, id_from: "{id}", props: {view: "?view"}}
      PUT: {resource: note, action: update, id_from: "{id}", props: {owner: $.owner}}
  - id: book
    path: /book/{id}
    target_service: api
    upstream_path: "/echo/{id}"
    methods: [GET]
    auth: session
    authz: pdp
    authz_map:
      GET: {resource: book, action: read, id_from: "{id}"}
  - id: ticks
    path: /ticks
    target_service: api
    upstream_path: /ticks
    methods: [GET]
    auth: session
    streaming: true
    authz: pdp
    authz_map:
      GET: {resource: tick, action: watch}
`, "URL", w.API.URL))
	return &asking{w, demo, w.serve(t, env)}
}

// reached are the paths that have come to the upstream since it was last asked.
func (u *upstream) reached() (paths []string) {
	for {
		select {
		case path := <-u.seen:
			paths = append(paths, path)
		default:
			return paths
		}
	}
}

// wantDenied fails the test unless a request is refused, as all are, and nothing of
// it has come to the upstream.
func (w *asking) wantDenied(t testing.TB, b *Browser, method, path, body string, headers ...string) {
	t.Helper()
	w.API.reached()
	a := b.Do(t, method, path, body, headers...)
	wantProblem(t, a, http.StatusForbidden, "forbidden")
	if reached := w.API.reached(); len(reached) != 0 {
		t.Errorf("%s %s was refused, and has reached the upstream: %q", method, path, reached)
	}
	if got := strings.Join(keysOf(a.JSON(t)), " "); got != "code correlation_id status title type" && got != "code correlation_id detail status title type" {
		t.Errorf("%s %s: a refusal with %s: %s", method, path, got, a.Text)
	}
	for _, word := range []string{"pdp", "polic", "decision", "timeout", "OPA"} {
		if strings.Contains(a.Text, word) {
			t.Errorf("%s %s: a refusal that says why: %s", method, path, a.Text)
		}
	}
	if len(a.Cookies()) != 0 {
		t.Errorf("%s %s: a refusal sets cookies: %v", method, path, a.Cookies())
	}
}

// wantAllowed fails the test unless a request is answered by the upstream.
func (w *asking) wantAllowed(t testing.TB, b *Browser, path string) {
	t.Helper()
	w.API.reached()
	wantStatus(t, b.Get(t, path), http.StatusOK)
	if reached := w.API.reached(); len(reached) != 1 {
		t.Errorf("GET %s was answered, and the upstream saw %q", path, reached)
	}
}

func keysOf(m map[string]any) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// judge is a decision point in this process, that answers as it is told.
type judge struct {
	*httptest.Server
	mu     sync.Mutex
	answer func(w http.ResponseWriter, r *http.Request, q asked)
	asked  []asked
}

// asked is a question as it came.
type asked struct {
	Subject, Resource entityOf
	Action            struct{ Name string }
	Context           map[string]any
	raw               []byte
	header            http.Header
}

type entityOf struct {
	Type, ID   string
	Properties map[string]any
}

func startJudge(t testing.TB) *judge {
	t.Helper()
	j := &judge{answer: always(`{"decision":true}`)}
	j.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		q := asked{raw: raw, header: r.Header.Clone()}
		if err != nil || json.Unmarshal(raw, &q) != nil {
			t.Errorf("a question that can't be read: %v %s", err, raw)
		}
		j.mu.Lock()
		j.asked = append(j.asked, q)
		answer := j.answer
		j.mu.Unlock()
		answer(w, r, q)
	}))
	t.Cleanup(func() { j.CloseClientConnections(); j.Close() })
	return j
}

// says has it answer by f from now on.
func (j *judge) says(f func(w http.ResponseWriter, r *http.Request, q asked)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.answer = f
}

// questions are those that came since they were last asked for.
func (j *judge) questions() []asked {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := j.asked
	j.asked = nil
	return all
}

// always answers with a document.
func always(document string) func(http.ResponseWriter, *http.Request, asked) {
	return func(w http.ResponseWriter, _ *http.Request, _ asked) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, document)
	}
}

// byRole allows whoever has a role, by what the question says.
func byRole(role string) func(http.ResponseWriter, *http.Request, asked) {
	return func(w http.ResponseWriter, r *http.Request, q asked) {
		roles, _ := q.Subject.Properties["roles"].([]any)
		always(fmt.Sprintf(`{"decision":%t}`, slices.Contains(roles, any(role))))(w, r, q)
	}
}

// pdpAt is pdp.yaml for a decision point at an address. A breaker that never opens
// unless more says otherwise.
func pdpAt(address, more string) string {
	y := fmt.Sprintf("connection: {base_url: %q, timeout: 500ms}\nretry: {max_attempts: 2, backoff: 20ms}\n", address)
	if !strings.Contains(more, "circuit_breaker") {
		y += "circuit_breaker: {failures: 1000, open_for: 100ms}\n"
	}
	return y + more
}

// linkTo is a way to an address that can fail.
func linkTo(t testing.TB, address string) *faults.Link {
	t.Helper()
	return faults.Proxy(t, mustURL(t, address).Host)
}
