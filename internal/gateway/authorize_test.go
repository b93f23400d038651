package gateway_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/authz"
	"keyway/internal/threat"
)

func TestWhatIsNotAllowedIsNotForwarded(t *testing.T) {
	p := &point{}
	w := start(t, decidedBy(p))
	u := w.user().signIn()
	p.saysYes(func(q authz.Question) bool { return q.Action.Name == "list" })
	if got := u.do("GET", "/api/items"); got.status != 200 {
		t.Fatalf("allowed: %d %s", got.status, got.body)
	}
	if e := p.lastEvent(); e.Decision != authz.Allowed || e.Resource != "item" || e.Action != "list" || e.ID != "*" || e.Route != "items" || !strings.HasPrefix(e.Principal(), "auth:account:demo:") || e.CorrelationID == "" || e.Cached {
		t.Errorf("event %+v", e)
	}
	seen := len(w.seen)
	got := u.do("GET", "/api/items/7")
	if got.status != 403 || got.code() != "forbidden" || len(w.seen) != seen {
		t.Errorf("denied: %d %s; the upstream saw %d", got.status, got.body, len(w.seen)-seen)
	}
	if strings.Contains(got.body, "secret reason") || strings.Contains(got.body, "item") {
		t.Errorf("the answer says why: %s", got.body)
	}
	if !strings.Contains(w.log.String(), "denied: the secret reason (the subject has no roles)") {
		t.Error("the log does not say why")
	}
	if q := p.last(); q.Resource.ID != "7" || q.Subject.Type != "user" || q.Context.CorrelationID == "" || q.Context.Address.String() != "127.0.0.1" {
		t.Errorf("asked %+v", q)
	}
	if e := p.lastEvent(); e.Decision != authz.Denied || e.Reason != "the secret reason" || e.ID != "7" {
		t.Errorf("event %+v", e)
	}
	if got := u.do("GET", "/api/items"); got.status != 200 || !p.lastEvent().Cached {
		t.Errorf("again: %d, %+v", got.status, p.lastEvent())
	}
	if got := u.do("HEAD", "/api/items"); got.status != 200 {
		t.Errorf("HEAD is decided as GET is: %d", got.status)
	}
	asked := len(p.questions())
	if got := u.do("DELETE", "/api/items", "X-CSRF-Token", u.csrf()); got.status != 403 || !strings.Contains(w.log.String(), "no mapping says what to ask about DELETE") {
		t.Errorf("without a mapping: %d", got.status)
	}
	if got := w.user().do("GET", "/api/items"); got.status != 401 {
		t.Errorf("nobody: %d", got.status)
	}
	if got := w.user().do("GET", "/open/items"); got.status != 403 {
		t.Errorf("a route for everybody, about whom nobody can be asked: %d", got.status)
	}
	if got := u.do("OPTIONS", "/api/items", "Origin", partner, "Access-Control-Request-Method", "GET"); got.status != 204 && got.status != 200 {
		t.Errorf("preflight: %d", got.status)
	}
	if n := len(p.questions()); n != asked {
		t.Errorf("%d questions too many", n-asked)
	}
}

// What is asked about is what the upstream gets.
func TestThePolicySeesWhatTheUpstreamSees(t *testing.T) {
	p := &point{}
	w := start(t, decidedBy(p, func(o *authz.Options) { o.TTLAllow = 0 }))
	u := w.user().signIn()
	for target, want := range map[string]string{ // id; empty: refused, and not asked
		"/api/items/7":                                "7",
		"/api/items/a%20b":                            "a b",
		"/api/items/%41":                              "A",
		"/api/items/caf%C3%A9":                        "café",
		"/api/items/*":                                "",
		"/api/items/%2A":                              "",
		"/api/items/%2e%2e":                           "",
		"/api/items/a%2Fb":                            "",
		"/api/items/a%00b":                            "",
		"/api/items/a%0D%0Ab":                         "",
		"/api/items/a%EF%BF%BDb":                      "",
		"/api/items/a;b":                              "",
		"/api/items/%37%2537":                         "",
		"/api/items/7?state=a&state=b":                "",
		"/api/items/7?state=a&%73tate=b":              "",
		"/api/items/7?state=%zz":                      "",
		"/api/items/7?a;state=b":                      "",
		"/api/items/7?state=open&x=1":                 "7",
		"/api/items/7?x=1&st%61te=o%70en":             "7",
		"/api/items/" + strings.Repeat("x", 513):      "",
		"/api/items/7?" + strings.Repeat("x&", 10001): "",
	} {
		t.Run(target[:min(len(target), 40)], func(t *testing.T) {
			threat.Covers(t, 39)
			w.mu.Lock()
			w.seen = nil
			w.mu.Unlock()
			before := len(p.questions())
			got := u.raw(t, "GET "+target+" HTTP/1.1\r\n{auth}\r\n", "")
			if want == "" {
				if got.status < 400 || got.status > 403 || w.lastSeen() != nil || len(p.questions()) != before {
					t.Errorf("got %d %s", got.status, got.body)
				}
				return
			}
			if got.status != 200 || w.lastSeen() == nil || w.lastSeen().RequestURI != target {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			q := p.last()
			if q.Resource.ID != want || strings.Contains(target, "te=o") && q.Resource.Properties["state"] != "open" {
				t.Errorf("asked about %+v", q.Resource)
			}
		})
	}
	// What would have another method done is not passed on.
	if got := u.do("GET", "/api/items/7", "X-HTTP-Method-Override", "DELETE", "X-Original-URL", "/api/items/8"); got.status != 200 {
		t.Fatalf("got %d", got.status)
	}
	if h := w.lastSeen().Header; h.Get("X-Http-Method-Override") != "" || h.Get("X-Original-Url") != "" {
		t.Error("the upstream is told another method or path than was decided about")
	}
}

func TestOnlyAnAllowLetsPass(t *testing.T) {
	for name, answer := range map[string]func(context.Context, authz.Question) (authz.Decision, error){
		"a deny": func(context.Context, authz.Question) (authz.Decision, error) { return authz.Decision{}, nil },
		"an error": func(context.Context, authz.Question) (authz.Decision, error) {
			return authz.Decision{Allow: true}, errors.New("away")
		},
		"a panic": func(context.Context, authz.Question) (authz.Decision, error) { panic("defect") },
		"no answer in time": func(ctx context.Context, _ authz.Question) (authz.Decision, error) {
			<-ctx.Done()
			return authz.Decision{Allow: true}, ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 48)
			p := &point{answer: answer}
			w := start(t, decidedBy(p, func(o *authz.Options) { o.Deadline = 200 * time.Millisecond }))
			u := w.user().signIn()
			if got := u.do("GET", "/api/items"); got.status != 403 || got.code() != "forbidden" || w.lastSeen() != nil {
				t.Errorf("got %d %s", got.status, got.body)
			}
			if !u.signedIn() {
				t.Error("the session is gone")
			}
			p.answers(nil)
			if name == "a deny" {
				p.enforcer.Forget()
			}
			if got := u.do("GET", "/api/items"); got.status != 200 {
				t.Errorf("when it is there again: %d %s", got.status, got.body)
			}
		})
	}
}

// Many who wait for a decision point that hangs cost a bounded time, and nothing else
// is slower for it.
func TestADecisionPointThatHangsHoldsUpOnlyWhoAsks(t *testing.T) {
	threat.Covers(t, 48)
	p := &point{answer: func(ctx context.Context, _ authz.Question) (authz.Decision, error) {
		<-ctx.Done()
		return authz.Decision{}, ctx.Err()
	}}
	w := start(t, decidedBy(p, func(o *authz.Options) { o.Deadline, o.Waiting = time.Second, 50 }))
	u := w.user().signIn()
	const many = 1000
	var wg sync.WaitGroup
	free := make(chan struct{}, 200)
	began := time.Now()
	for i := range many {
		wg.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			r, _ := http.NewRequestWithContext(t.Context(), "GET", w.server.URL+"/api/items/"+strings.Repeat("x", i%500+1), nil)
			answer, err := u.client.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			if answer.StatusCode != 403 {
				t.Errorf("got %d", answer.StatusCode)
			}
		})
	}
	if got := u.do("GET", "/api/notes"); got.status != 200 {
		t.Errorf("a route that asks nobody: %d", got.status)
	}
	wg.Wait()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
	if n := len(p.questions()); n > many {
		t.Errorf("asked %d times", n)
	}
	p.answers(nil)
	if got := u.do("GET", "/api/items"); got.status != 200 {
		t.Errorf("afterwards: %d", got.status)
	}
}

// Nobody gets what was decided for another, and nobody keeps what he has lost.
func TestDecisionsAreNobodyElses(t *testing.T) {
	threat.Covers(t, 46)
	p := &point{}
	w := start(t, decidedBy(p))
	ada, again := w.user().signIn(), w.user().signIn()
	for _, u := range []*user{ada, again} {
		if got := u.do("GET", "/api/items"); got.status != 200 || p.lastEvent().Cached {
			t.Errorf("got %d, %+v", got.status, p.lastEvent())
		}
	}
	t.Run("a role that comes, and goes", func(t *testing.T) {
		threat.Covers(t, 49)
		p.saysYes(func(q authz.Question) bool {
			roles, _ := q.Subject.Properties["roles"].([]string)
			return len(roles) == 1 && roles[0] == "editor"
		})
		for _, c := range []struct {
			roles []string
			want  int
		}{{nil, 403}, {[]string{"editor"}, 200}, {[]string{"viewer"}, 403}, {[]string{"editor"}, 200}} {
			w.setRoles(ada, c.roles)
			if got := ada.do("GET", "/api/items/9"); got.status != c.want {
				t.Errorf("with roles %v: %d", c.roles, got.status)
			}
		}
	})
}

// The kill switch asks nobody, and lets nobody in who is not signed in.
func TestWithoutDecisionsEverybodySignedInMay(t *testing.T) {
	p := &point{answer: func(context.Context, authz.Question) (authz.Decision, error) { return authz.Decision{}, nil }}
	w := start(t, decidedBy(p), func(w *world) { w.settings.AuthzDisabled = true })
	u := w.user().signIn()
	if got := u.do("GET", "/api/items/7"); got.status != 200 {
		t.Errorf("got %d", got.status)
	}
	if got := w.user().do("GET", "/api/items/7"); got.status != 401 {
		t.Errorf("nobody: %d", got.status)
	}
	if got := u.do("GET", "/auth/capabilities?resource=item"); got.status != 200 || !strings.Contains(got.body, `["create","list","read","update","watch"]`) {
		t.Errorf("capabilities: %d %s", got.status, got.body)
	}
	if len(p.questions()) != 0 {
		t.Error("somebody was asked")
	}
}

// A proxy's question about a request is decided as the request would be.
func TestProxiesAreToldWhatIsNotAllowed(t *testing.T) {
	p := &point{}
	w := start(t, decidedBy(p))
	u := w.user().signIn()
	p.saysYes(func(q authz.Question) bool { return q.Resource.ID == "7" })
	for _, c := range []struct {
		endpoint, method, uri string
		want                  int
	}{
		{"verify", "GET", "/api/items/7", 200}, {"verify", "GET", "/api/items/8", 403}, {"verify", "HEAD", "/api/items/7", 200},
		{"forward", "GET", "/api/items/7?state=x", 200}, {"forward", "GET", "/api/items/8", 403}, {"forward", "GET", "/api/items/%2A", 403},
		{"forward", "GET", "/api/items/7?state=x&state=y", 403}, {"verify", "GET", "/open/items", 403},
		{"verify", "PUT", "/api/items/7", 403}, // its body decides, which a proxy does not show
	} {
		headers := []string{"X-Original-Method", c.method, "X-Original-URI", c.uri, "X-Forwarded-Method", c.method, "X-Forwarded-Uri", c.uri, "X-CSRF-Token", u.csrf()}
		if got := u.do("GET", "/auth/"+c.endpoint, headers...); got.status != c.want {
			t.Errorf("%s about %s %s: %d %s", c.endpoint, c.method, c.uri, got.status, got.body)
		}
	}
	if !strings.Contains(w.log.String(), "who asks about the request does not have it") {
		t.Error("the log does not say that the body is wanting")
	}
}
