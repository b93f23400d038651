package conformance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
	"keyway/internal/demo/idp/lies"
)

func (p *person) csrf() string {
	p.w.t.Helper()
	var body struct {
		Token string `json:"csrf_token"`
	}
	page := p.get(p.w.gateway + "/auth/csrf")
	if err := json.Unmarshal(page.Body, &body); err != nil || body.Token == "" {
		p.w.t.Fatalf("csrf: %d %s", page.Status, page.Body)
	}
	return body.Token
}

func (w *world) signsOut(lie lies.Lie) string {
	w.tell(lie, lies.Usual)
	w.mustStart()
	ada, grace := w.person("ada").signIn(), w.person("grace").signIn()
	at, _ := url.Parse(w.gateway)
	old := ada.Client.Jar.Cookies(at)
	page := ada.get(w.gateway + "/auth/logout?csrf=" + url.QueryEscape(ada.csrf()))
	if page.Status != http.StatusOK || page.URL.Path != "/" || page.URL.Host != at.Host {
		w.t.Errorf("want the browser home, found it at %s with %d", page.URL, page.Status)
	}
	ada.wantSignedIn(false)
	grace.wantSignedIn(true)
	// The cookie of before is worth nothing.
	thief := w.person("ada")
	thief.Client.Jar.SetCookies(at, old)
	thief.wantSignedIn(false)
	did := "signed out, and the browser is home"
	if w.provider.Stats().Of(idp.EndpointEndSession) > 0 {
		if told := w.nextTold(); told.status != http.StatusOK {
			w.t.Errorf("the logout token beside it: %d %s", told.status, told.code)
		}
		did += "; the logout token beside it: 200"
	}
	return did
}

func (w *world) isTold(lie lies.Lie) string {
	w.tell(lie, lies.Usual)
	w.mustStart()
	ada, grace := w.person("ada").signIn(), w.person("grace").signIn()
	ada.signOutAtProvider()
	told := w.nextTold()
	if lie.Repeat {
		w.wantTold(told, nil)
		ada.wantSignedIn(false)
		// Times in tokens are whole seconds: a sign-in of the second in which the user
		// signed out ends at once.
		w.eventually("ada is signed in again", func() bool {
			at, bring := ada.begin()
			if bring != nil {
				at = bring(ada)
			}
			return at.at == "home"
		})
		told = w.tellAgain(told.token)
	}
	w.wantTold(told, lie.Want.Refused)
	ada.wantSignedIn(!lie.Want.Ended)
	grace.wantSignedIn(true)
	did := fmt.Sprintf("%d", told.status)
	if told.code != "" {
		did += " `" + told.code + "`"
	}
	if lie.Want.Ended {
		return did + "; the session has ended, another user's goes on"
	}
	return did + "; the session goes on, as does another user's"
}

// signOutAtProvider is somebody who signs out there, and not at the gateway.
func (p *person) signOutAtProvider() {
	p.w.t.Helper()
	page := p.get(p.w.provider.URL + "/end_session")
	page, err := p.Submit(p.w.t.Context(), page, nil)
	if err != nil || page.Status != http.StatusOK {
		p.w.t.Fatalf("signing out at the provider: %v %+v", err, page)
	}
}

func (w *world) nextTold() told {
	w.t.Helper()
	select {
	case told := <-w.told:
		return told
	case <-w.t.Context().Done():
		w.t.Fatal("the provider has told nothing")
		panic("unreachable")
	}
}

// tellAgain posts a logout token, as anybody can.
func (w *world) tellAgain(token string) told {
	w.t.Helper()
	b := idptest.NewBrowser(&http.Transport{DisableKeepAlives: true})
	page, err := b.Post(w.t.Context(), w.gateway+"/auth/backchannel-logout", url.Values{"logout_token": {token}})
	if err != nil {
		w.t.Fatal(err)
	}
	return told{token, page.Status, codeOf(page.Body), page.Header.Get("Cache-Control")}
}

// wantTold fails the test unless the answer is that of Back-Channel Logout 1.0,
// 2.8: 200 or 400, and not to be kept.
func (w *world) wantTold(told told, refused []string) {
	w.t.Helper()
	switch {
	case len(refused) == 0 && told.status != http.StatusOK:
		w.t.Errorf("want 200, found %d %q", told.status, told.code)
	case len(refused) > 0 && (told.status != http.StatusBadRequest || !oneOf(told.code, refused)):
		w.t.Errorf("want 400 %s, found %d %q", strings.Join(refused, " or "), told.status, told.code)
	}
	if told.cacheControl != "no-store" {
		w.t.Errorf("Cache-Control: want no-store, found %q", told.cacheControl)
	}
}
