package idp_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
)

func (r *rp) endSession(v url.Values) *idptest.Page {
	r.t.Helper()
	return r.get(r.s.URL + "/end_session?" + v.Encode())
}

func (r *rp) signedIn() bool {
	r.t.Helper()
	v, _ := r.request(func(v url.Values) { v.Set("prompt", "none") })
	return r.get(r.authorizeURL(v)).Next.Query().Has("code")
}

func TestEndSession(t *testing.T) {
	r := start(t, idp.Options{})
	a := r.tokens(nil)
	offline := r.tokens(func(v url.Values) { v.Set("scope", "openid offline_access") })
	page := r.endSession(url.Values{
		"id_token_hint": {a.str("id_token")}, "post_logout_redirect_uri": {goodbye}, "state": {"x y"},
	})
	if page.Next == nil || page.Next.String() != goodbye+"?state=x+y" {
		t.Fatalf("want a redirect to the registered URI with state, found %d %v", page.Status, page.Next)
	}
	if r.signedIn() {
		t.Error("want the session gone")
	}
	wantError(t, r.refresh(a.str("refresh_token")), 400, "invalid_grant")
	if r.active(a.str("access_token")) {
		t.Error("want the session's access tokens inactive")
	}
	if res := r.refresh(offline.str("refresh_token")); res.status != http.StatusOK {
		t.Errorf("offline_access outlives the session (OpenID Connect Core, 11), found %v", res.body)
	}
	// A second time, with the hint of a session that is gone: no error.
	page = r.endSession(url.Values{"id_token_hint": {a.str("id_token")}, "post_logout_redirect_uri": {goodbye}})
	if page.Next == nil || page.Next.String() != goodbye {
		t.Errorf("again: want the redirect, found %d %v", page.Status, page.Next)
	}
}

// Without a hint that fits, any page could have sent the request: ask.
func TestEndSessionAsks(t *testing.T) {
	grace := func(r *rp) string {
		keep := r.browser
		defer func() { r.browser = keep }()
		r.newBrowser()
		v, verifier := r.request(nil)
		page, err := r.browser.SignIn(r.t.Context(), r.authorizeURL(v), "grace", "demo")
		if err != nil {
			r.t.Fatal(err)
		}
		return r.redeem(page.Next.Query().Get("code"), verifier).str("id_token")
	}
	for name, params := range map[string]func(r *rp, a answer) url.Values{
		"nothing":      func(*rp, answer) url.Values { return url.Values{} },
		"client_id":    func(*rp, answer) url.Values { return url.Values{"client_id": {"web"}} },
		"junk hint":    func(*rp, answer) url.Values { return url.Values{"id_token_hint": {"junk"}, "client_id": {"web"}} },
		"access token": func(_ *rp, a answer) url.Values { return url.Values{"id_token_hint": {a.str("access_token")}} },
		"other's hint": func(r *rp, _ answer) url.Values { return url.Values{"id_token_hint": {grace(r)}} },
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, idp.Options{})
			v := params(r, r.tokens(nil))
			if v.Has("client_id") {
				v.Set("post_logout_redirect_uri", goodbye)
			}
			page := r.endSession(v)
			form, err := page.Form()
			if err != nil || !r.signedIn() {
				t.Fatalf("want a question and the session alive (%v)", err)
			}
			stranger := idptest.NewBrowser(nil)
			if p, err := stranger.Post(t.Context(), form.Action, form.Fields); err != nil || p.Status != 400 || !r.signedIn() {
				t.Fatalf("another browser's answer: want 400 and the session alive, found %v", err)
			}
			page, err = r.browser.Submit(t.Context(), page, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.signedIn() {
				t.Error("want the session gone")
			}
			if (page.Next != nil) != v.Has("client_id") {
				t.Errorf("want a redirect only where a client is known, found %v", page.Next)
			}
		})
	}
}

func TestEndSessionRefuses(t *testing.T) {
	other := web()
	other.ID = "other"
	r := start(t, idp.Options{Clients: []idp.Client{web(), other}})
	hint := r.tokens(nil).str("id_token")
	for name, v := range map[string]url.Values{
		"unregistered": {"id_token_hint": {hint}, "post_logout_redirect_uri": {goodbye + "/"}},
		"no client":    {"post_logout_redirect_uri": {goodbye}},
		"other client": {"id_token_hint": {hint}, "client_id": {"other"}},
		"twice":        {"id_token_hint": {hint}, "post_logout_redirect_uri": {goodbye, "http://evil.test"}},
	} {
		t.Run(name, func(t *testing.T) {
			if page := r.endSession(v); page.Status != 400 || page.Next != nil || !r.signedIn() {
				t.Errorf("want 400 and the session alive, found %d %v", page.Status, page.Next)
			}
		})
	}
	t.Run("nobody signed in", func(t *testing.T) {
		r.newBrowser()
		page := r.endSession(url.Values{"client_id": {"web"}, "post_logout_redirect_uri": {goodbye}})
		if page.Next == nil || !strings.HasPrefix(page.Next.String(), goodbye) {
			t.Errorf("want the redirect, found %d", page.Status)
		}
	})
}
