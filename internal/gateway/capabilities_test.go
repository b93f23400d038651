package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"keyway/internal/authz"
	"keyway/internal/demo/idp"
	"keyway/internal/gateway"
	"keyway/internal/limit"
	"keyway/internal/route"
)

const evaluation = `{"action":{"name":"read"},"resource":{"type":"item","id":"7"}}`

// evaluations asks about n items.
func evaluations(n int) string {
	each := make([]string, n)
	for i := range each {
		each[i] = fmt.Sprintf(`{"resource":{"type":"item","id":"%d"}}`, i)
	}
	return `{"action":{"name":"read"},"evaluations":[` + strings.Join(each, ",") + `]}`
}

// ask posts to a path of AuthZEN.
func (u *user) ask(path, body string, headers ...string) response {
	u.w.t.Helper()
	return u.send("POST", "/access/v1/"+path, body, append([]string{"X-CSRF-Token", u.csrf(), "Content-Type", "application/json"}, headers...)...)
}

// signInAs is signIn for somebody else than ada.
func (u *user) signInAs(name string) *user {
	u.w.t.Helper()
	begun := u.do("GET", "/auth/login")
	page, err := newIdPBrowser(u.w).SignIn(u.w.t.Context(), begun.header.Get("Location"), name, "demo")
	must(u.w.t, err)
	u.do("GET", page.Next.String())
	if !u.signedIn() {
		u.w.t.Fatalf("%s is not signed in", name)
	}
	return u
}

// A GET with a made-up id is as many questions as there are actions. They end at the
// limit, of all sessions of the account together and of nobody else, and the user's
// calls go on.
func TestQuestionsOfAPageAreLimited(t *testing.T) {
	p := &point{}
	w := start(t, decidedBy(p), limited(map[limit.Kind]limit.Rate{limit.Question: perHour(72)}))
	ada, also, grace := w.user().signIn(), w.user().signIn(), w.user().signInAs("grace")
	refused := func(what string, got response, wait int) {
		t.Helper()
		retry, _ := strconv.Atoi(got.header.Get("Retry-After"))
		if got.status != 429 || got.code() != "too_many_requests" || retry < wait-5 || retry > wait {
			t.Errorf("%s: %d %s, retry after %d s, want %d", what, got.status, got.body, retry, wait)
		}
		if got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: it may be stored", what)
		}
	}
	for i := range 4 { // 5 actions each, half of them by HEAD
		if got := ada.do([]string{"GET", "HEAD"}[i%2], "/auth/capabilities?resource=item&id="+fmt.Sprint(i)); got.status != 200 {
			t.Fatalf("%d: %d %s", i, got.status, got.body)
		}
	}
	if got := also.ask("evaluations", evaluations(50)); got.status != 200 {
		t.Fatalf("evaluations: %d %s", got.status, got.body)
	}
	if n := len(p.questions()); n != 70 {
		t.Errorf("%d questions were asked", n)
	}
	refused("5 of 2", ada.do("GET", "/auth/capabilities?resource=item&id=x"), 150)
	refused("5 of 2, by HEAD", ada.do("GET", "/auth/capabilities?resource=item&id=x"), 150)
	refused("3 of 2", ada.ask("evaluations", evaluations(3)), 50)
	if got := ada.ask("evaluation", evaluation); got.status != 200 {
		t.Errorf("1 of 2: %d", got.status)
	}
	if got := ada.do("GET", "/auth/capabilities?resource=nothing"); got.status != 200 {
		t.Errorf("0 of 1: %d", got.status)
	}
	if got := also.ask("evaluation", evaluation); got.status != 200 {
		t.Errorf("1 of 1: %d", got.status)
	}
	refused("1 of 0", also.ask("evaluation", evaluation), 50)
	if got := grace.do("GET", "/auth/capabilities?resource=item"); got.status != 200 {
		t.Errorf("grace: %d %s", got.status, got.body)
	}
	for i := range 10 {
		if got := ada.do("GET", "/api/items/"+fmt.Sprint(i)); got.status != 200 {
			t.Errorf("a call: %d", got.status)
		}
	}
	if log := w.log.String(); strings.Count(log, "one account asks too often what it may do") != 1 || !strings.Contains(log, `"kind":"question"`) {
		t.Error("the log does not say so once")
	}
}

// What is refused before anybody is asked costs its user nothing: another site's page
// could use up what its own page needs.
func TestWhatIsNotAskedIsNotCounted(t *testing.T) {
	p := &point{}
	w := start(t, decidedBy(p), limited(map[limit.Kind]limit.Rate{limit.Question: perHour(5)}))
	u := w.user().signIn()
	for name, c := range map[string]struct {
		got  response
		want int
		code string
	}{
		"another site's image":          {u.do("GET", "/auth/capabilities?resource=item", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"), 403, "cross_origin"},
		"a sibling's page":              {u.do("GET", "/auth/capabilities?resource=item", "Sec-Fetch-Site", "same-site"), 403, "cross_origin"},
		"another site's fetch":          {u.do("GET", "/auth/capabilities?resource=item", "Origin", "https://evil.example"), 403, "cross_origin"},
		"another site's HEAD":           {u.do("HEAD", "/auth/capabilities?resource=item", "Sec-Fetch-Site", "cross-site"), 403, ""},
		"another site's form":           {u.ask("evaluation", evaluation, "Sec-Fetch-Site", "cross-site"), 403, "cross_origin"},
		"without a CSRF token":          {u.send("POST", "/access/v1/evaluation", evaluation, "Content-Type", "application/json"), 403, "csrf_failed"},
		"no JSON":                       {u.ask("evaluation", `nonsense`), 400, "bad_request"},
		"about somebody else":           {u.ask("evaluation", `{"subject":{"type":"user","id":"grace"},`+evaluation[1:]), 403, "forbidden"},
		"props that can't be read":      {u.do("GET", "/auth/capabilities?resource=item&props=x"), 400, "bad_request"},
		"nobody":                        {w.user().do("GET", "/auth/capabilities?resource=item"), 401, "unauthenticated"},
		"a bearer token":                {w.user().do("GET", "/auth/capabilities?resource=item", "Authorization", "Bearer good"), 401, "unauthenticated"},
		"a bearer token, evaluations":   {w.user().send("POST", "/access/v1/evaluation", evaluation, "Authorization", "Bearer good", "Content-Type", "application/json"), 401, "unauthenticated"},
		"a method that there is not":    {u.do("DELETE", "/auth/capabilities?resource=item"), 405, "method_not_allowed"},
		"POST":                          {u.do("POST", "/auth/capabilities?resource=item"), 405, "method_not_allowed"},
		"HEAD of what is posted":        {u.do("HEAD", "/access/v1/evaluation"), 405, ""},
		"OPTIONS that are no preflight": {u.do("OPTIONS", "/access/v1/evaluations"), 405, "method_not_allowed"},
	} {
		if c.got.status != c.want || c.got.code() != c.code {
			t.Errorf("%s: %d %s, want %d %s", name, c.got.status, c.got.body, c.want, c.code)
		}
		if c.got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: it may be stored", name)
		}
	}
	if len(p.questions()) != 0 || len(p.allEvents()) != 0 {
		t.Errorf("asked %d, told of %d", len(p.questions()), len(p.allEvents()))
	}
	for _, site := range []string{"same-origin", "none"} {
		if got := u.do("GET", "/auth/capabilities?resource=item", "Sec-Fetch-Site", site); site == "same-origin" && got.status != 200 {
			t.Errorf("its own page: %d %s", got.status, got.body)
		} else if site == "none" && got.status != 429 {
			t.Errorf("typed in: %d", got.status)
		}
	}
}

// A page of an origin that is on the list may ask, and is told when to come again.
func TestAPageOfAnotherOriginAsks(t *testing.T) {
	p := &point{}
	w := start(t, decidedBy(p), limited(map[limit.Kind]limit.Rate{limit.Question: perHour(6)}), func(w *world) {
		w.settings.CORS = gateway.Origins{"https://partner.example"}
	})
	u := w.user().signIn()
	cross := []string{"Origin", "https://partner.example", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}
	for path, methods := range map[string]string{"/auth/capabilities?resource=item": "GET, HEAD", "/access/v1/evaluation": "POST", "/access/v1/evaluations": "POST"} {
		got := w.user().do("OPTIONS", path, append(cross, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type,x-csrf-token")...)
		if got.status != 204 || got.header.Get("Access-Control-Allow-Methods") != methods || !strings.Contains(got.header.Get("Access-Control-Allow-Headers"), "X-CSRF-Token") {
			t.Errorf("preflight of %s: %d %v", path, got.status, got.header)
		}
	}
	for _, got := range []response{u.do("GET", "/auth/capabilities?resource=item", cross...), u.ask("evaluation", evaluation, cross...)} {
		if got.status != 200 || got.header.Get("Access-Control-Allow-Origin") != "https://partner.example" || !slices.Contains(got.header["Vary"], "Origin") {
			t.Errorf("%d %s %v", got.status, got.body, got.header)
		}
	}
	if got := u.ask("evaluation", evaluation, cross...); got.status != 429 || !strings.Contains(got.header.Get("Access-Control-Expose-Headers"), "Retry-After") {
		t.Errorf("beyond the limit: %d %v", got.status, got.header)
	}
}

// Never silently less: whoever has many actions is told of all of them.
func TestMoreActionsThanOneBatch(t *testing.T) {
	p := &point{}
	const n = 3*authz.MaxBatch + 7
	w := start(t, func(w *world) {
		for i := range n {
			w.routes = append(w.routes, route.Route{
				ID: fmt.Sprint("many", i), Path: fmt.Sprint("/api/many/", i), Service: "api", Auth: route.AuthSession, Authz: route.AuthzPDP,
				Methods: []string{"POST"}, AuthzMap: map[string]route.Mapping{"POST": {Resource: "many", Action: fmt.Sprintf("a%03d", i)}},
			})
		}
	}, decidedBy(p), limited(map[limit.Kind]limit.Rate{limit.Question: perHour(n + 10)}))
	u := w.user().signIn()
	p.saysYes(func(q authz.Question) bool { return !strings.HasSuffix(q.Action.Name, "9") })
	got := u.do("GET", "/auth/capabilities?resource=many&id=1")
	var said struct{ Actions []string }
	if err := json.Unmarshal([]byte(got.body), &said); err != nil || got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if want := n - n/10; len(said.Actions) != want || said.Actions[len(said.Actions)-1] != fmt.Sprintf("a%03d", n-1) {
		t.Errorf("%d actions, want %d: %v", len(said.Actions), want, said.Actions)
	}
	if got := u.do("GET", "/auth/capabilities?resource=many&id=2"); got.status != 429 {
		t.Errorf("all of them cost %d; again: %d", n, got.status)
	}
	// Without an answer about some of them nothing is said.
	p.answers(func(_ context.Context, q authz.Question) (authz.Decision, error) {
		if q.Action.Name == "a120" {
			return authz.Decision{}, errors.New("away")
		}
		return authz.Decision{Allow: true}, nil
	})
	if got := w.user().signInAs("grace").do("GET", "/auth/capabilities?resource=many&id=3"); got.status != 403 || strings.Contains(got.body, "a000") {
		t.Errorf("%d %s", got.status, got.body)
	}
	events := p.allEvents()
	for i, e := range events[n:] { // what is remembered of it is told
		want := authz.Allowed
		if i >= 2*authz.MaxBatch {
			want = authz.NoAnswer
		}
		if e.Decision != want || !e.Asked || (e.Reason == "") != (want == authz.Allowed) {
			t.Fatalf("%d: told %+v", i, e)
		}
	}
	if len(events) != 2*n {
		t.Errorf("%d are told", len(events))
	}
}

// What a page asks is told like any decision, and can't be taken for a call.
func TestQuestionsOfAPageAreTold(t *testing.T) {
	p := &point{}
	w := start(t, decidedBy(p))
	u := w.user().signIn()
	p.saysYes(func(q authz.Question) bool { return q.Action.Name != "update" })
	if got := u.do("GET", "/auth/capabilities?resource=item&id=7", "X-Correlation-ID", "from-a-page"); got.status != 200 {
		t.Fatalf("%d", got.status)
	}
	all := p.allEvents()
	var actions []string
	for _, e := range all {
		want := authz.Allowed
		if e.Action == "update" {
			want = authz.Denied
		}
		if !e.Asked || e.Again || e.Decision != want || e.Resource != "item" || e.ID != "7" || e.Route != "" || e.Reason != "the secret reason" ||
			e.CorrelationID == "" || !strings.Contains(e.Principal(), "auth:account:") || e.Cached || e.Took <= 0 {
			t.Errorf("told %+v", e)
		}
		actions = append(actions, e.Action)
	}
	if got := fmt.Sprint(actions); got != "[create list read update watch]" {
		t.Errorf("told of %s", got)
	}
	if got := u.do("GET", "/api/items/7"); got.status != 200 {
		t.Fatalf("%d", got.status)
	}
	if e := p.lastEvent(); e.Asked || !e.Cached || e.Route != "item" {
		t.Errorf("of the call is told %+v", e)
	}
	if got := u.ask("evaluations", `{"resource":{"type":"item","id":"7"},"evaluations":[{"action":{"name":"update"}},{"action":{"name":"read"}}],"options":{"evaluations_semantic":"deny_on_first_deny"}}`); strings.TrimSpace(got.body) != `{"evaluations":[{"decision":false}]}` {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if all = p.allEvents()[6:]; len(all) != 2 || !all[0].Asked || all[0].Action != "update" || all[0].Decision != authz.Denied || !all[0].Cached || all[1].Decision != authz.Allowed {
		t.Errorf("told %+v", all)
	}
	p.answers(func(context.Context, authz.Question) (authz.Decision, error) {
		return authz.Decision{}, errors.New("away")
	})
	if got := u.ask("evaluation", `{"action":{"name":"fly"},"resource":{"type":"item","id":"8"}}`); got.status != 403 {
		t.Errorf("%d", got.status)
	}
	if e := p.lastEvent(); !e.Asked || e.Decision != authz.NoAnswer || e.Reason == "" || e.Action != "fly" {
		t.Errorf("told %+v", e)
	}
}

// A policy that looks at properties is told what mappings say of themselves, and what
// the page says that it is going to send.
func TestAPageGivesProperties(t *testing.T) {
	p := &point{}
	thing := func(action string, props map[string]string) map[string]route.Mapping {
		return map[string]route.Mapping{"POST": {Resource: "thing", Action: action, Props: props}}
	}
	w := start(t, func(w *world) {
		for i, m := range []map[string]route.Mapping{
			thing("create", map[string]string{"channel": "web", "folder": "$.folder", "form": "a"}),
			thing("create", map[string]string{"channel": "web", "form": "b"}),
			thing("drop", map[string]string{"channel": "web", "why": "?why"}),
			thing("drop", map[string]string{"why": "?why"}),
			thing("look", nil),
		} {
			w.routes = append(w.routes, route.Route{ID: fmt.Sprint("thing", i), Path: fmt.Sprint("/api/things/", i), Service: "api", Auth: route.AuthSession, Authz: route.AuthzPDP, Methods: []string{"POST"}, AuthzMap: m})
		}
	}, decidedBy(p))
	u := w.user().signIn()
	for props, want := range map[string]string{
		"":                                   `{"create":{"channel":"web"},"drop":null,"look":null}`,
		"&props={}":                          `{"create":{"channel":"web"},"drop":{},"look":{}}`,
		`&props={"folder":"x","n":1}`:        `{"create":{"channel":"web","folder":"x","n":1},"drop":{"folder":"x","n":1},"look":{"folder":"x","n":1}}`,
		`&props={"channel":"tv","form":"a"}`: `{"create":{"channel":"web","form":"a"},"drop":{"channel":"tv","form":"a"},"look":{"channel":"tv","form":"a"}}`,
		`&props={"on":true,"of":["a",null]}`: `{"create":{"channel":"web","of":["a",null],"on":true},"drop":{"of":["a",null],"on":true},"look":{"of":["a",null],"on":true}}`,
	} {
		p.enforcer.Forget()
		before := len(p.questions())
		if got := u.do("GET", "/auth/capabilities?resource=thing"+strings.ReplaceAll(props, `"`, "%22")); got.status != 200 {
			t.Errorf("%s: %d %s", props, got.status, got.body)
			continue
		}
		asked := map[string]map[string]any{}
		for _, q := range p.questions()[before:] {
			asked[q.Action.Name] = q.Resource.Properties
		}
		if got, _ := json.Marshal(asked); string(got) != want {
			t.Errorf("%s: asked\n%s, want\n%s", props, got, want)
		}
	}
	for _, props := range []string{
		"", "x", "[]", "null", "1", `"x"`, "{", `{"a":1}{}`, `{"a":1,"a":2}`, `{"a":"%5Cud800"}`, `{"a":` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `}`,
		`{"a":"` + strings.Repeat("x", 4096) + `"}`, `{}&props={}`,
	} {
		if got := u.do("GET", "/auth/capabilities?resource=thing&props="+strings.ReplaceAll(props, `"`, "%22")); got.code() != "bad_request" {
			t.Errorf("%.60s: %d %s", props, got.status, got.body)
		}
	}
}

// While the provider can't be asked for another token, a page is told what the roles
// allow that are known. A session whose grant is gone is over.
func TestAPageAsksWhileItsTokenIsOver(t *testing.T) {
	over := func(_ *http.Request, a *idp.Answer) { a.Edit(func(body map[string]any) { body["expires_in"] = 0 }) }
	for name, c := range map[string]struct {
		refresh func(*http.Request, *idp.Answer)
		want    int
	}{
		"the provider is away": {func(_ *http.Request, a *idp.Answer) { a.Status = 503 }, 200},
		"the grant is gone": {func(_ *http.Request, a *idp.Answer) {
			a.Status = 400
			a.Edit(func(body map[string]any) { clear(body); body["error"] = "invalid_grant" })
		}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, decidedBy(&point{}))
			w.idp.SetHooks(&idp.Hooks{Token: over})
			u := w.user().signIn()
			token := u.csrf()
			w.idp.SetHooks(&idp.Hooks{Token: c.refresh})
			if got := u.do("GET", "/auth/capabilities?resource=item"); got.status != c.want {
				t.Errorf("%d %s", got.status, got.body)
			}
			if got := u.send("POST", "/access/v1/evaluation", evaluation, "X-CSRF-Token", token, "Content-Type", "application/json"); got.status != c.want {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
}

// Who does not wait for an answer is no refusal.
func TestAPageThatGoesAway(t *testing.T) {
	asked := make(chan struct{})
	p := &point{answer: func(ctx context.Context, _ authz.Question) (authz.Decision, error) {
		close(asked)
		<-ctx.Done()
		return authz.Decision{}, ctx.Err()
	}}
	w := start(t, decidedBy(p))
	u := w.user().signIn()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", w.server.URL+"/auth/capabilities?resource=item", nil)
	must(t, err)
	go func() { <-asked; cancel() }()
	if _, err := u.client.Do(r); err == nil {
		t.Fatal("answered")
	}
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(w.log.String(), `"status":499`); {
		if time.Now().After(deadline) {
			t.Fatalf("not logged as 499: %s", w.log)
		}
		runtime.Gosched()
	}
}

func (p *point) allEvents() []authz.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.events)
}
