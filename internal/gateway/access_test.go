package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"keyway/internal/authz"
	"keyway/internal/route"
	"keyway/internal/threat"
)

func TestCapabilities(t *testing.T) {
	p := &point{}
	w := start(t, decidedBy(p))
	u := w.user().signIn()
	p.saysYes(func(q authz.Question) bool {
		return q.Action.Name == "read" || q.Resource.ID == "7" && q.Action.Name == "update"
	})
	for target, want := range map[string]string{
		"resource=item":                        `{"resource":"item","actions":["read"]}`,
		"resource=item&id=7":                   `{"resource":"item","id":"7","actions":["read","update"]}`,
		"resource=item&id=a%20b":               `{"resource":"item","id":"a b","actions":["read"]}`,
		"resource=nothing":                     `{"resource":"nothing","actions":[]}`,
		"":                                     "bad_request",
		"resource=":                            "bad_request",
		"resource=item&resource=x":             "bad_request",
		"resource=item&id=":                    "bad_request",
		"resource=item&id=*":                   "bad_request",
		"resource=item&id=1&id=2":              "bad_request",
		"resource=item&id=a%0Ab":               "bad_request",
		"resource=" + strings.Repeat("x", 300): "bad_request",
	} {
		got := u.do("GET", "/auth/capabilities?"+target)
		if strings.TrimSpace(got.body) != want && got.code() != want {
			t.Errorf("%s: got %d %s, want %s", target, got.status, got.body, want)
		}
		if got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: it may be stored", target)
		}
	}
	before := len(p.questions())
	if got := u.do("GET", "/auth/capabilities?resource=item"); got.status != 200 || len(p.questions()) != before {
		t.Errorf("it is not remembered: %d, %d questions", got.status, len(p.questions())-before)
	}
	if got := w.user().do("GET", "/auth/capabilities?resource=item"); got.status != 401 {
		t.Errorf("nobody: %d", got.status)
	}
	p.answers(func(context.Context, authz.Question) (authz.Decision, error) { panic("defect") })
	p.enforcer.Forget()
	if got := u.do("GET", "/auth/capabilities?resource=item"); got.status != 403 {
		t.Errorf("without an answer: %d %s", got.status, got.body)
	}
	if got := start(t).user().do("GET", "/auth/capabilities?resource=item"); got.status != 404 {
		t.Errorf("without a decision point: %d", got.status)
	}
}

func TestAPageAsksTheDecisionPointInThisProcess(t *testing.T) {
	p := &point{}
	w := start(t, decidedBy(p))
	u := w.user().signIn()
	p.saysYes(func(q authz.Question) bool {
		return q.Action.Name == "read" && (q.Resource.Properties == nil || q.Resource.Properties["n"] == json.Number("12345678901234567890"))
	})
	token := u.csrf()
	ask := func(path, body string, headers ...string) response {
		t.Helper()
		return u.send("POST", path, body, append([]string{"X-CSRF-Token", token, "Content-Type", "application/json"}, headers...)...)
	}
	account := ""
	const item = `"resource":{"type":"item","id":"7"}`
	if got := ask("/access/v1/evaluation", `{"action":{"name":"read"},`+item+`}`); got.status != 200 || strings.TrimSpace(got.body) != `{"decision":true}` {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	account = p.last().Subject.ID
	ours := fmt.Sprintf(`"subject":{"type":"user","id":%q,"properties":{"roles":["admin"]}},`, account)
	for name, c := range map[string]struct{ path, body, want string }{
		"denied":                {"evaluation", `{"action":{"name":"update"},` + item + `}`, `{"decision":false}`},
		"about who is asking":   {"evaluation", `{` + ours + `"action":{"name":"read"},` + item + `}`, `{"decision":true}`},
		"with properties":       {"evaluation", `{"action":{"name":"read"},"resource":{"type":"item","id":"7","properties":{"n":12345678901234567890}}}`, `{"decision":true}`},
		"a context of its own":  {"evaluation", `{"action":{"name":"read"},` + item + `,"context":{"ip":"10.0.0.1"}}`, `{"decision":true}`},
		"several":               {"evaluations", `{` + item + `,"evaluations":[{"action":{"name":"read"}},{"action":{"name":"update"}},{"action":{"name":"read"}}]}`, `{"evaluations":[{"decision":true},{"decision":false},{"decision":true}]}`},
		"until one is denied":   {"evaluations", `{` + item + `,"evaluations":[{"action":{"name":"read"}},{"action":{"name":"update"}},{"action":{"name":"read"}}],"options":{"evaluations_semantic":"deny_on_first_deny"}}`, `{"evaluations":[{"decision":true},{"decision":false}]}`},
		"until one is allowed":  {"evaluations", `{` + item + `,"evaluations":[{"action":{"name":"read"}},{"action":{"name":"update"}}],"options":{"evaluations_semantic":"permit_on_first_permit"}}`, `{"evaluations":[{"decision":true}]}`},
		"several that are one":  {"evaluations", `{"action":{"name":"read"},` + item + `}`, `{"decision":true}`},
		"another semantic":      {"evaluations", `{` + item + `,"evaluations":[{"action":{"name":"read"}}],"options":{"evaluations_semantic":"any"}}`, "bad_request"},
		"about somebody else":   {"evaluation", `{"subject":{"type":"user","id":"grace"},"action":{"name":"read"},` + item + `}`, "forbidden"},
		"about a machine":       {"evaluation", `{"subject":{"type":"client","id":"` + account + `"},"action":{"name":"read"},` + item + `}`, "forbidden"},
		"one about another":     {"evaluations", `{` + ours + item + `,"action":{"name":"read"},"evaluations":[{},{"subject":{"type":"user","id":"grace"}}]}`, "forbidden"},
		"a subject twice":       {"evaluation", `{` + ours + `"subject":{"type":"user","id":"grace"},"action":{"name":"read"},` + item + `}`, "bad_request"},
		"no JSON":               {"evaluation", `nonsense`, "bad_request"},
		"no resource":           {"evaluation", `{"action":{"name":"read"}}`, "bad_request"},
		"action's properties":   {"evaluation", `{"action":{"name":"read","properties":{"soft":true}},` + item + `}`, "bad_request"},
		"properties, no object": {"evaluation", `{"action":{"name":"read"},"resource":{"type":"item","id":"7","properties":[1]}}`, "bad_request"},
		"too many":              {"evaluations", `{"action":{"name":"read"},` + item + `,"evaluations":[{}` + strings.Repeat(",{}", authz.MaxBatch) + `]}`, "bad_request"},
		"too large":             {"evaluation", `{"action":{"name":"read"},` + item + `,"x":"` + strings.Repeat("x", 70000) + `"}`, "too_large"},
	} {
		got := ask("/access/v1/"+c.path, c.body)
		if strings.TrimSpace(got.body) != c.want && got.code() != c.want {
			t.Errorf("%s: got %d %s, want %s", name, got.status, got.body, c.want)
		}
	}
	for _, q := range p.questions() {
		if q.Subject.ID != account || q.Context.Address.String() != "127.0.0.1" || len(q.Subject.Properties["roles"].([]string)) != 0 {
			t.Errorf("asked about %+v in %v", q.Subject, q.Context)
		}
	}
	good := `{"action":{"name":"read"},` + item + `}`
	for name, c := range map[string]struct {
		got  response
		want int
	}{
		"nobody":                    {w.user().send("POST", "/access/v1/evaluation", good, "Content-Type", "application/json"), 401},
		"without the CSRF token":    {u.send("POST", "/access/v1/evaluation", good, "Content-Type", "application/json"), 403},
		"from another site":         {ask("/access/v1/evaluation", good, "Origin", "https://evil.example"), 403},
		"as text, as forms send it": {u.send("POST", "/access/v1/evaluation", good, "X-CSRF-Token", token, "Content-Type", "text/plain"), 400},
		"by GET":                    {u.do("GET", "/access/v1/evaluation"), 405},
		"another path":              {ask("/access/v1/search/subject", good), 404},
		"the same path, spelt out":  {ask("/access/v1/%65valuation", good), 404},
	} {
		if c.got.status != c.want {
			t.Errorf("%s: %d %s", name, c.got.status, c.got.body)
		}
	}
}

// A route that has the path has it, with all its methods; and without a decision point
// in this process there is nothing.
func TestARouteTakesThePathsOfAuthZEN(t *testing.T) {
	p := &point{}
	w := start(t, decidedBy(p), func(w *world) {
		w.routes = append(w.routes, route.Route{ID: "pdp", Path: "/access/v1/*", Service: "api", Auth: route.AuthSession, Methods: []string{"POST"}, PreservePath: true})
	})
	u := w.user().signIn()
	if got := u.send("POST", "/access/v1/evaluation", `{}`, "X-CSRF-Token", u.csrf(), "Content-Type", "application/json"); got.body != "ok" {
		t.Errorf("got %d %s", got.status, got.body)
	}
	if got := u.do("GET", "/access/v1/evaluation"); got.status != 405 || got.header.Get("Allow") != "POST" {
		t.Errorf("got %d %s", got.status, got.header.Get("Allow"))
	}
	if got := start(t).user().do("POST", "/access/v1/evaluation"); got.status != http.StatusNotFound {
		t.Errorf("without a decision point here: %d", got.status)
	}
}

// Claims are told to the decision point as they are, whatever they are made of, and
// can't become another's.
func TestSubjectsOfOddCharacters(t *testing.T) {
	threat.Covers(t, 50)
	p := &point{}
	w := start(t, decidedBy(p))
	u := w.user().signIn()
	w.setRoles(u, []string{"a@ok@evil", "editor\r\nX-User-ID: eve", "éditeur", `"],"admin":["`})
	if got := u.do("GET", "/api/items"); got.status != 200 {
		t.Fatalf("got %d", got.status)
	}
	roles := p.last().Subject.Properties["roles"].([]string)
	if len(roles) != 4 || roles[3] != `"],"admin":["` {
		t.Errorf("asked with %q", roles)
	}
	for name, values := range w.lastSeen().Header {
		if strings.Contains(strings.Join(values, " "), "eve") {
			t.Errorf("%s: %q", name, values)
		}
	}
}
