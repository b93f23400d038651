package gateway_test

import (
	"bufio"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/authz"
	"keyway/internal/demo/idp"
	"keyway/internal/route"
	"keyway/internal/session"
	"keyway/internal/threat"
)

// tokenless adds routes that a decision point is asked about, and no access token
// passed on: /api/claims, and the stream /api/claims/watch.
func tokenless(w *world) {
	for id, path := range map[string]string{"claims": "/api/claims", "claims-watch": "/api/claims/watch"} {
		w.routes = append(w.routes, route.Route{
			ID: id, Path: path, Service: "api", Auth: route.AuthSession, Authz: route.AuthzPDP, Streaming: id != "claims",
			TokenPolicy: route.TokenPolicy{Mode: route.TokenNone}, AuthzMap: map[string]route.Mapping{"GET": {Resource: "claim", Action: "list"}},
		})
	}
}

// noTokens is a token endpoint that is away, and has used up no refresh token.
func noTokens() *idp.Hooks {
	return &idp.Hooks{Before: func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/token" {
			return false
		}
		rw.WriteHeader(http.StatusServiceUnavailable)
		return true
	}}
}

// held asks about a request that a proxy holds back.
func held(u *user, endpoint, target string) response {
	u.w.t.Helper()
	return u.do("GET", "/auth/"+endpoint, "X-Original-Method", "GET", "X-Original-URI", target, "X-Forwarded-Method", "GET", "X-Forwarded-Uri", target)
}

// Who uses nothing that needs an access token loses here what was taken away at the
// provider all the same; with one refresh, and no delay.
func TestRolesAreReadAgainWithoutATokenBeingUsed(t *testing.T) {
	threat.Covers(t, 49)
	for name, use := range map[string]func(*user) response{
		"/auth/verify":  func(u *user) response { return held(u, "verify", "/api/items") },
		"/auth/forward": func(u *user) response { return held(u, "forward", "/api/items") },
		"no token":      func(u *user) response { return u.do("GET", "/api/claims") },
	} {
		t.Run(name, func(t *testing.T) {
			p := &point{}
			w, u := rightsWorld(t, p, tokenless)
			w.idp.SetHooks(says("viewer"))
			before := w.idp.Stats().Of(idp.EndpointToken)
			for range 3 { // nothing is decided there
				u.do("GET", "/auth/session")
				held(u, "verify", "/somewhere/else")
			}
			if n := w.idp.Stats().Of(idp.EndpointToken) - before; n != 0 {
				t.Errorf("%d refreshes where nothing is decided", n)
			}
			if got := use(u); got.status != 200 || !slices.Equal(rolesAsked(p), []string{"editor", "admin"}) {
				t.Fatalf("beside the refresh: %d %s, %v", got.status, got.body, rolesAsked(p))
			}
			poll(t, "the roles are what the provider says", func() bool {
				return use(u).status == 200 && slices.Equal(rolesAsked(p), []string{"viewer"})
			})
			for range 5 {
				use(u)
			}
			if n := w.idp.Stats().Of(idp.EndpointToken) - before; n != 1 {
				t.Errorf("%d refreshes", n)
			}
		})
	}
}

// Who was away for long is answered by what the provider says now. While it says
// nothing, nothing is decided by roles of then; nobody is signed out.
func TestRolesOfLongAgoAreNotAskedAbout(t *testing.T) {
	threat.Covers(t, 49, 67)
	p := &point{}
	w, u := rightsWorld(t, p, tokenless)
	sessions := w.current.Load().Sessions
	s, err := sessions.Find(t.Context(), []string{"bff_session=" + u.cookie("bff_session")}, session.Client{})
	must(t, err)
	_, err = sessions.Update(t.Context(), s, func(r session.Record) session.Record {
		r.AccessExpiry = time.Now().Add(-session.RightsFor)
		return r
	})
	must(t, err)
	w.idp.SetHooks(noTokens())
	for name, c := range map[string]struct {
		got    response
		status int
	}{
		"verify":   {held(u, "verify", "/api/items"), 403},
		"forward":  {held(u, "forward", "/api/items"), 503},
		"no token": {u.do("GET", "/api/claims"), 503},
	} {
		if c.got.status != c.status || c.got.code() != "idp_unavailable" {
			t.Errorf("%s: %d %s", name, c.got.status, c.got.body)
		}
	}
	if len(p.questions()) != 0 {
		t.Error("the decision point was asked")
	}
	if got := held(u, "verify", "/somewhere/else"); !u.signedIn() {
		t.Errorf("signed out: %d %s", got.status, got.body)
	}
	w.idp.SetHooks(says("viewer"))
	poll(t, "the provider is asked again", func() bool { return held(u, "verify", "/api/items").status == 200 })
	if got := rolesAsked(p); !slices.Equal(got, []string{"viewer"}) {
		t.Errorf("when it is back: %v", got)
	}
}

// A stream whose user does nothing else ends when the roles are gone that let it in.
func TestAStreamEndsWhenARefreshTakesRolesAway(t *testing.T) {
	threat.Covers(t, 49, 33)
	p := &point{}
	w, u := rightsWorld(t, p, tokenless)
	w.upstreamAnswers(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(rw, "data: 1\n\n")
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	p.saysYes(func(q authz.Question) bool {
		roles, _ := q.Subject.Properties["roles"].([]string)
		return slices.Contains(roles, "admin")
	})
	w.idp.SetHooks(noTokens())
	r, _ := http.NewRequest("GET", w.server.URL+"/api/claims/watch", nil)
	stream, err := u.client.Do(r)
	must(t, err)
	defer stream.Body.Close()
	lines := bufio.NewReader(stream.Body)
	if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "data") {
		t.Fatalf("%d %q %v", stream.StatusCode, line, err)
	}
	w.idp.SetHooks(says("viewer"))
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _ = lines.ReadString(0)
	}()
	select {
	case <-over:
	case <-time.After(40 * time.Second):
		t.Error("it goes on")
	}
	if record := w.recordOf(u); !slices.Equal(record.Roles, []string{"viewer"}) {
		t.Errorf("the session has %v", record.Roles)
	}
}
