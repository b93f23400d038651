package gateway_test

import (
	"net/http"
	"slices"
	"testing"

	"keyway/internal/bearer"
	"keyway/internal/demo/idp"
	"keyway/internal/gateway"
	"keyway/internal/session"
	"keyway/internal/threat"
)

// What somebody may is what the provider said last: who has lost a role there loses
// it here with the next refresh, and with it whatever was decided for it.
func TestRolesFollowTheProviderAtARefresh(t *testing.T) {
	over := func(_ *http.Request, a *idp.Answer) { a.Edit(func(body map[string]any) { body["expires_in"] = 0 }) }
	info := func(roles any) func(*http.Request, *idp.Answer) {
		return func(_ *http.Request, a *idp.Answer) {
			a.Edit(func(body map[string]any) {
				delete(body, "roles")
				if roles != nil {
					body["roles"] = roles
				}
			})
		}
	}
	withoutIDToken := func(_ *http.Request, a *idp.Answer) { a.Edit(func(body map[string]any) { delete(body, "id_token") }) }
	away := func(_ *http.Request, a *idp.Answer) { a.Status = 503 }
	said := func(roles ...any) func(*idp.JWT) { return func(t *idp.JWT) { t.Claims["roles"] = roles } }
	for name, c := range map[string]struct {
		signIn, refresh idp.Hooks
		want            []string // after the refresh; before it, ada has editor and admin
	}{
		"other roles":                       {idp.Hooks{}, idp.Hooks{Userinfo: info([]string{"viewer"})}, []string{"viewer"}},
		"other roles, without an ID token":  {idp.Hooks{}, idp.Hooks{Userinfo: info([]string{"viewer"}), Token: withoutIDToken}, []string{"viewer"}},
		"no roles":                          {idp.Hooks{}, idp.Hooks{Userinfo: info(nil)}, nil},
		"nobody can look":                   {idp.Hooks{}, idp.Hooks{Userinfo: away}, []string{"editor", "admin"}},
		"in the ID token":                   {idp.Hooks{IDToken: said("editor", "admin")}, idp.Hooks{IDToken: said("viewer")}, []string{"viewer"}},
		"in the ID token, and no UserInfo":  {idp.Hooks{IDToken: said("editor", "admin")}, idp.Hooks{IDToken: said("viewer"), Userinfo: away}, []string{"viewer"}},
		"in an ID token that does not come": {idp.Hooks{IDToken: said("editor", "admin"), Userinfo: info(nil)}, idp.Hooks{Userinfo: info(nil), Token: withoutIDToken}, []string{"editor", "admin"}},
		"what is no role":                   {idp.Hooks{}, idp.Hooks{Userinfo: info([]any{"viewer", 7, "a\r\nb", map[string]any{}})}, []string{"viewer"}},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 49)
			// A page that asks what its user may do is told what the next call would be.
			for _, first := range []string{"/api/items", "/auth/capabilities?resource=item"} {
				p := &point{}
				w := start(t, decidedBy(p), func(w *world) {
					w.settings.Rights = gateway.Rights{Roles: []bearer.Claim{{Source: "roles"}}}
				})
				c.signIn.Token = over
				w.idp.SetHooks(&c.signIn)
				u := w.user().signIn()
				if got := w.record(u).Roles; !slices.Equal(got, []string{"editor", "admin"}) {
					t.Fatalf("at the sign-in: %v", got)
				}
				w.idp.SetHooks(&c.refresh)
				if got := u.do("GET", first); got.status != 200 {
					t.Fatalf("%s: %d %s", first, got.status, got.body)
				}
				if got := p.last().Subject.Properties["roles"].([]string); !slices.Equal(got, c.want) {
					t.Errorf("%s after the refresh: %v, want %v", first, got, c.want)
				}
			}
		})
	}
}

// record is what is kept of a user's session.
func (w *world) record(u *user) session.Record {
	w.t.Helper()
	s, err := w.current.Load().Sessions.Find(w.t.Context(), []string{"bff_session=" + u.cookie("bff_session")}, session.Client{})
	must(w.t, err)
	return s.Record()
}
