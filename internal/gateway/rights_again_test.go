package gateway_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/bearer"
	"keyway/internal/demo/idp"
	"keyway/internal/gateway"
	"keyway/internal/session"
	"keyway/internal/threat"
)

// rightsWorld has ada signed in, whose first access token is over, and her roles by
// UserInfo.
func rightsWorld(t *testing.T, p *point, options ...option) (*world, *user) {
	t.Helper()
	w := start(t, append([]option{decidedBy(p), func(w *world) {
		w.settings.Rights = gateway.Rights{Roles: []bearer.Claim{{Source: "roles"}}}
	}}, options...)...)
	w.idp.SetHooks(&idp.Hooks{Token: func(_ *http.Request, a *idp.Answer) {
		a.Edit(func(body map[string]any) { body["expires_in"] = 0 })
	}})
	return w, w.user().signIn()
}

// says is a UserInfo endpoint that says these roles; none: it is away.
func says(roles ...string) *idp.Hooks {
	return &idp.Hooks{Userinfo: func(_ *http.Request, a *idp.Answer) {
		if roles == nil {
			a.Status = 503
			return
		}
		a.Edit(func(body map[string]any) { body["roles"] = roles })
	}}
}

// rolesAsked are those that the decision point was told of last.
func rolesAsked(p *point) []string {
	roles, _ := p.last().Subject.Properties["roles"].([]string)
	return roles
}

// A refresh that could not ask UserInfo keeps its tokens, and UserInfo is asked again
// at the next use: not at the next refresh, which is an hour from now.
func TestRolesThatARefreshMissedAreAskedForAgain(t *testing.T) {
	threat.Covers(t, 49)
	p := &point{}
	w, u := rightsWorld(t, p)
	w.idp.SetHooks(says())
	if got := u.do("GET", "/api/items"); got.status != 200 || !slices.Equal(rolesAsked(p), []string{"editor", "admin"}) {
		t.Fatalf("while nobody can look: %d %s, %v", got.status, got.body, rolesAsked(p))
	}
	if n := strings.Count(w.log.String(), "could not be learned"); n != 1 {
		t.Errorf("the log says so %d times", n)
	}
	w.idp.SetHooks(says("viewer"))
	refreshes := w.idp.Stats().Of(idp.EndpointToken)
	poll(t, "the roles are what the provider says", func() bool {
		// Not only by routes that pass an access token on.
		u.do("GET", "/auth/session")
		u.do("GET", "/api/items")
		return slices.Equal(rolesAsked(p), []string{"viewer"})
	})
	if n := w.idp.Stats().Of(idp.EndpointToken) - refreshes; n != 0 {
		t.Errorf("the tokens were renewed %d times for it", n)
	}
}

// For minutes, what is known goes on to count. Then nothing is decided by it, and nobody
// is signed out.
func TestRolesThatNobodyCanLearnLapse(t *testing.T) {
	threat.Covers(t, 49)
	p := &point{}
	w, u := rightsWorld(t, p)
	w.idp.SetHooks(says())
	if got := u.do("GET", "/api/items"); got.status != 200 {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	sessions := w.current.Load().Sessions
	s, err := sessions.Find(t.Context(), []string{"bff_session=" + u.cookie("bff_session")}, session.Client{})
	must(t, err)
	_, err = sessions.Update(t.Context(), s, func(r session.Record) session.Record {
		if r.RightsMissed.IsZero() {
			t.Error("the record does not say that rights were missed")
		}
		r.RightsMissed = time.Now().Add(-session.RightsFor)
		return r
	})
	must(t, err)
	asked := len(p.questions())
	if got := u.do("GET", "/api/items"); got.status != 503 || got.code() != "idp_unavailable" || got.header.Get("Retry-After") == "" {
		t.Errorf("what is decided about: %d %s", got.status, got.body)
	}
	for endpoint, want := range map[string]int{"verify": 403, "forward": 503} {
		if got := u.do("GET", "/auth/"+endpoint, "X-Original-Method", "GET", "X-Original-URI", "/api/items", "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/api/items"); got.status != want || got.code() != "idp_unavailable" {
			t.Errorf("/auth/%s: %d %s", endpoint, got.status, got.body)
		}
	}
	if got := u.do("GET", "/auth/capabilities?resource=item"); got.status != 503 || got.code() != "idp_unavailable" {
		t.Errorf("what she may do: %d %s", got.status, got.body)
	}
	if len(p.questions()) != asked {
		t.Error("the decision point was asked")
	}
	if got := u.do("GET", "/api/notes"); got.status != 200 || !u.signedIn() {
		t.Errorf("what is not: %d %s, signed in %v", got.status, got.body, u.signedIn())
	}
	w.idp.SetHooks(says("viewer"))
	poll(t, "the roles are what the provider says", func() bool {
		got := u.do("GET", "/api/items")
		return got.status == 200 && slices.Equal(rolesAsked(p), []string{"viewer"})
	})
}

// A refresh whose ID token can't be verified, and has the roles, is done again when keys
// are looked for again.
func TestRolesOfAnIDTokenThatCantBeVerified(t *testing.T) {
	p := &point{}
	w, u := rightsWorld(t, p)
	said := func(kid string, roles ...string) *idp.Hooks {
		return &idp.Hooks{IDToken: func(t *idp.JWT) {
			t.Claims["roles"] = roles
			if kid != "" {
				t.Header["kid"] = kid
			}
		}}
	}
	w.idp.SetHooks(said("", "owner"))
	if got := u.do("GET", "/api/items"); got.status != 200 || !slices.Equal(rolesAsked(p), []string{"owner"}) {
		t.Fatalf("got %d %s, %v", got.status, got.body, rolesAsked(p))
	}
	sessions := w.current.Load().Sessions
	s, err := sessions.Find(t.Context(), []string{"bff_session=" + u.cookie("bff_session")}, session.Client{})
	must(t, err)
	again := func() {
		_, err = sessions.Update(t.Context(), s, func(r session.Record) session.Record { r.RefreshBy = time.Now().Add(-time.Second); return r })
		must(t, err)
	}
	again()
	w.idp.SetHooks(said("of-nobody", "viewer"))
	if got := u.do("GET", "/api/items"); got.status != 200 || !slices.Equal(rolesAsked(p), []string{"owner"}) {
		t.Fatalf("got %d %s, %v", got.status, got.body, rolesAsked(p))
	}
	record := w.recordOf(u)
	if left := time.Until(record.RefreshBy); record.RightsMissed.IsZero() || left <= 0 || left > 15*time.Second {
		t.Errorf("missed %v, again in %v", record.RightsMissed, left)
	}
	again()
	w.idp.SetHooks(said("", "viewer"))
	poll(t, "the roles are what the provider says", func() bool {
		u.do("GET", "/api/items")
		return slices.Equal(rolesAsked(p), []string{"viewer"})
	})
	if record := w.recordOf(u); !record.RightsMissed.IsZero() || !record.RefreshBy.IsZero() {
		t.Errorf("still missed: %v, %v", record.RightsMissed, record.RefreshBy)
	}
}

// recordOf is what is kept of a user's session.
func (w *world) recordOf(u *user) session.Record {
	w.t.Helper()
	s, err := w.current.Load().Sessions.Find(w.t.Context(), []string{"bff_session=" + u.cookie("bff_session")}, session.Client{})
	must(w.t, err)
	return s.Record()
}
