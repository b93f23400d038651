package conformance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/lies"
	"keyway/internal/threat"
)

// TestConformance has the provider tell every lie of the catalogue, in every
// variant in which a plan has it, each to a gateway of its own.
func TestConformance(t *testing.T) {
	for _, run := range lies.Runs() {
		lie, ok := lies.Named(run.Lie)
		if !ok {
			t.Fatalf("no lie %s", run.Lie)
		}
		t.Run(run.Name(), func(t *testing.T) {
			if len(lie.Threats) > 0 {
				threat.Covers(t, lie.Threats...)
			}
			t.Parallel()
			w := newWorld(t, run.Variant)
			var did string
			switch lie.Kind {
			case lies.Start, lies.SignIn:
				did = w.signsIn(lie, run.Variant)
			case lies.Refresh:
				did = w.refreshes(lie)
			case lies.Logout:
				did = w.signsOut(lie)
			case lies.Backchannel:
				did = w.isTold(lie)
			}
			line, _ := json.Marshal(map[string]string{"run": run.Name(), "did": did})
			t.Logf("conformance %s", line)
			if t.Failed() {
				t.Logf("the gateway said:\n%s", w.log.String())
			}
		})
	}
}

// tell prepares the lie, for the variant.
func (w *world) tell(lie lies.Lie, v lies.Variant) {
	h := lie.Tell(w.stage)
	if (v == lies.FormPost || v == lies.FormSecret) && h.ResponseMode == "" {
		h.ResponseMode = "form_post"
	}
	w.provider.SetHooks(h)
}

func (w *world) mustStart() {
	w.t.Helper()
	if err := w.start(); err != nil {
		w.t.Fatalf("the gateway refused to start: %v", err)
	}
}

func (w *world) signsIn(lie lies.Lie, v lies.Variant) string {
	if !lie.Known {
		w.tell(lie, v)
	}
	before := w.counts()
	switch err := w.start(); {
	case lie.Want.NoStart && err == nil:
		w.t.Error("the gateway started; want it to refuse")
		return "started"
	case lie.Want.NoStart:
		return "refused to start" + w.wantNever(before, lie.Want.Never)
	case err != nil:
		w.t.Fatalf("the gateway refused to start: %v", err)
	}
	if lie.Known {
		w.person("grace").signIn()
		w.tell(lie, v)
	}
	before = w.counts()
	ada := w.person("ada")
	at, bring := ada.begin()
	by := ada
	if lie.Elsewhere {
		by = w.person("ada")
	}
	if bring != nil {
		at = bring(by)
	}
	if fetched := w.counts()[idp.EndpointJWKS] - before[idp.EndpointJWKS]; lie.Want.Fetches > 0 && fetched > lie.Want.Fetches {
		w.t.Errorf("the keys were fetched %d times, want at most %d", fetched, lie.Want.Fetches)
	}
	switch {
	case lie.Want.Stuck:
		return w.wantStuck(lie, ada, at, before)
	case len(lie.Want.Refused) > 0:
		return w.wantRefused(lie, by, at, before)
	}
	if at.at != "home" {
		w.t.Fatalf("want a session, found the browser at %s: %d %s", at.at, at.page.Status, at.page.Body)
	}
	ada.wantSignedIn(true)
	did := "signed in"
	if w.counts()[idp.EndpointUserinfo] > before[idp.EndpointUserinfo] {
		// Name and e-mail are in UserInfo alone (OpenID Connect Core, 5.4).
		if user := ada.session().User; user.Email != "ada@example.test" || user.Name != "Ada Lovelace" {
			w.t.Errorf("want what UserInfo says of ada, found %+v", user)
		}
		did += ", with the claims of UserInfo"
	}
	if lie.Repeat {
		again := bring(by)
		if calls := w.counts()[idp.EndpointToken] - before[idp.EndpointToken]; calls != 1 || !oneOf(again.code, []string{"", "login_failed"}) {
			w.t.Errorf("want one token call and an answer, found %d and %q", calls, again.code)
		}
		ada.wantSignedIn(true)
		did += " once; the second time: `" + again.code + "`, and the session goes on"
	}
	if lie.Want.Fetches > 0 {
		did += ", after one fetch of the keys"
	}
	did += w.wantNever(before, lie.Want.Never)
	if status, code := ada.api(); status != http.StatusOK || w.apiCalls.Load() == int64(before[lies.API]) {
		w.t.Errorf("the API, through the gateway: %d %s, and it was called %d times", status, code, w.apiCalls.Load())
	}
	return did + "; the API was called with the access token"
}

func (w *world) wantStuck(lie lies.Lie, p *person, at end, before counts) string {
	if at.at != "provider" || at.page.Status < 400 {
		w.t.Errorf("want the browser to stay at the provider's error, found it at %s", at.at)
	}
	p.wantSignedIn(false)
	for _, seen := range w.provider.Seen(idp.EndpointAuthorize) {
		if len(seen.Query) != 2 || !seen.Query.Has("client_id") || !seen.Query.Has("request_uri") {
			w.t.Errorf("the browser carried more than client_id and request_uri: %v", seen.Query)
		}
	}
	return "nobody is signed in; the browser stays at the provider's error" + w.wantNever(before, lie.Want.Never)
}

func (w *world) wantRefused(lie lies.Lie, p *person, at end, before counts) string {
	want := "callback"
	if lie.Want.AtLogin {
		want = "login"
	}
	if at.at != want || !oneOf(at.code, lie.Want.Refused) {
		w.t.Errorf("want %s at the %s, found the browser at %s: %q %d", strings.Join(lie.Want.Refused, " or "), want, at.at, at.code, at.page.Status)
	}
	p.wantSignedIn(false)
	if status, _ := p.api(); status != http.StatusUnauthorized {
		w.t.Errorf("the API, through the gateway: %d, want 401", status)
	}
	if strings.Contains(string(at.page.Body), "<script>") {
		w.t.Error("the answer repeats what the provider sent")
	}
	return fmt.Sprintf("refused: `%s` (%d)%s", at.code, at.page.Status, w.wantNever(before, lie.Want.Never))
}

func (w *world) refreshes(lie lies.Lie) string {
	// An access token that is over at once is refreshed when it is wanted.
	w.provider.SetHooks(&idp.Hooks{Token: func(r *http.Request, a *idp.Answer) {
		if r.PostForm.Get("grant_type") == idp.GrantCode {
			a.Edit(func(m map[string]any) { m["expires_in"] = 0 })
		}
	}})
	w.mustStart()
	ada := w.person("ada").signIn()
	h := lie.Tell(w.stage)
	if told := h.Token; len(lie.Want.Refused) == 0 {
		h.Token = func(r *http.Request, a *idp.Answer) {
			if told != nil {
				told(r, a)
			}
			a.Edit(func(m map[string]any) { m["expires_in"] = 1 }) // so that the next refresh is soon
		}
	}
	w.provider.SetHooks(h)
	before := w.counts()
	w.provider.ForgetSeen()
	status, code := ada.api()
	if w.counts()[idp.EndpointToken] == before[idp.EndpointToken] {
		w.t.Error("the token endpoint was not called")
	}
	if len(lie.Want.Refused) == 0 {
		if status != http.StatusOK {
			w.t.Errorf("the API, through the gateway: %d %s", status, code)
		}
		ada.wantSignedIn(true)
		return "refreshed; the session goes on" + w.refreshesAgain(ada, lie.ID == "refresh-not-replaced")
	}
	if !oneOf(code, lie.Want.Refused) {
		w.t.Errorf("want %s, found %d %q", strings.Join(lie.Want.Refused, " or "), status, code)
	}
	did := fmt.Sprintf("refused: `%s` (%d)%s", code, status, w.wantNever(before, lie.Want.Never))
	switch found := ada.sub(); {
	case lie.Want.Ended && found != "":
		w.t.Errorf("want the session to have ended, found it of %s", found)
	case !lie.Want.Ended && found != "" && found != subjects["ada"]:
		w.t.Errorf("the session became that of %s", found)
	case lie.Want.Ended:
		return did + "; the session has ended"
	}
	if len(lie.Want.Refused) > 1 {
		return did
	}
	w.provider.SetHooks(nil)
	w.eventually("the session goes on", func() bool { status, _ := ada.api(); return status == http.StatusOK })
	ada.wantSignedIn(true)
	return did + "; the session goes on once the provider is well again"
}

// refreshesAgain fails the test unless the next refresh is by the right token: the
// new one, if there was one.
func (w *world) refreshesAgain(p *person, same bool) (did string) {
	w.t.Helper()
	used := func() (tokens []string) {
		for _, seen := range w.provider.Seen(idp.EndpointToken) {
			if seen.Form.Get("grant_type") == idp.GrantRefresh {
				tokens = append(tokens, seen.Form.Get("refresh_token"))
			}
		}
		return tokens
	}
	if len(used()) != 1 {
		w.t.Fatalf("want one refresh, found %d", len(used()))
	}
	w.eventually("the next refresh", func() bool { p.api(); return len(used()) > 1 })
	if found := used(); (found[0] == found[1]) != same {
		w.t.Errorf("the same refresh token as before: %v, want %v", found[0] == found[1], same)
	}
	if same {
		return ", with the refresh token of before"
	}
	return ", with the new refresh token"
}
