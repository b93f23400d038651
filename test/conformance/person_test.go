package conformance

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"keyway/internal/demo/idp/idptest"
)

// person is a user with a browser that runs no scripts.
type person struct {
	w *world
	*idptest.Browser
	name string
}

func (w *world) person(name string) *person {
	return &person{w, idptest.NewBrowser(&http.Transport{DisableKeepAlives: true}), name}
}

func (p *person) get(address string) *idptest.Page {
	p.w.t.Helper()
	page, err := p.Get(p.w.t.Context(), address)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return page
}

// end is how far a sign-in came: to the login endpoint, the provider, the
// callback, or home.
type end struct {
	at   string
	code string
	page *idptest.Page
}

func codeOf(body []byte) string {
	var p struct{ Code string }
	_ = json.Unmarshal(body, &p)
	return p.Code
}

// begin goes to the point at which the browser is about to bring the provider's
// answer. bring does that, in any browser.
func (p *person) begin() (stuck end, bring func(by *person) end) {
	p.w.t.Helper()
	callback := p.w.gateway + "/auth/callback"
	p.StopAt(callback)
	defer func() { p.Stop = nil }()
	page := p.get(p.w.gateway + "/auth/login?return_to=/home")
	if strings.HasPrefix(page.URL.String(), p.w.gateway) {
		return end{"login", codeOf(page.Body), page}, nil
	}
	for range 3 {
		if page.Next != nil {
			address := page.Next.String()
			return end{}, func(by *person) end { return by.ended(by.get(address)) }
		}
		form, err := page.Form()
		if err != nil {
			return end{"provider", "", page}, nil
		}
		if strings.HasPrefix(form.Action, callback) { // a form that a script would post
			return end{}, func(by *person) end {
				page, err := by.Post(by.w.t.Context(), form.Action, form.Fields)
				if err != nil {
					by.w.t.Fatal(err)
				}
				return by.ended(page)
			}
		}
		if page, err = p.Submit(p.w.t.Context(), page, url.Values{"username": {p.name}, "password": {"demo"}}); err != nil {
			p.w.t.Fatal(err)
		}
	}
	return end{"provider", "", page}, nil
}

func (p *person) ended(page *idptest.Page) end {
	if page.URL.Path == "/home" && page.Status == http.StatusOK {
		return end{"home", "", page}
	}
	if page.URL.Path != "/auth/callback" {
		p.w.t.Errorf("the browser ended at %s with %d", page.URL.Path, page.Status)
	}
	if page.Header.Get("Cache-Control") != "no-store" {
		p.w.t.Errorf("a refusal that a cache may keep: %q", page.Header.Get("Cache-Control"))
	}
	return end{"callback", codeOf(page.Body), page}
}

// signIn takes the person all the way, which must succeed.
func (p *person) signIn() *person {
	p.w.t.Helper()
	at, bring := p.begin()
	if bring != nil {
		at = bring(p)
	}
	if at.at != "home" {
		p.w.t.Fatalf("an honest sign-in ended at %s: %s %s\n%s", at.at, at.code, at.page.Body, p.w.log.String())
	}
	return p
}

// shown is what pages see of a session.
type shown struct {
	Authenticated bool
	User          struct{ Sub, Name, Email string }
}

func (p *person) session() shown {
	p.w.t.Helper()
	page := p.get(p.w.gateway + "/auth/session")
	var s shown
	if err := json.Unmarshal(page.Body, &s); err != nil || page.Status != http.StatusOK {
		p.w.t.Fatalf("session: %d %s", page.Status, page.Body)
	}
	return s
}

// sub is who the browser is signed in as; "": nobody.
func (p *person) sub() string {
	p.w.t.Helper()
	if s := p.session(); s.Authenticated {
		return s.User.Sub
	}
	return ""
}

// subjects are the demo users' by name.
var subjects = map[string]string{"ada": "u-ada-1815", "grace": "u-grace-1906"}

func (p *person) wantSignedIn(want bool) {
	p.w.t.Helper()
	expected := ""
	if want {
		expected = subjects[p.name]
	}
	if found := p.sub(); found != expected {
		p.w.t.Errorf("%s's browser: want to be signed in as %q, found %q", p.name, expected, found)
	}
}

// api calls the API through the gateway.
func (p *person) api() (status int, code string) {
	p.w.t.Helper()
	page := p.get(p.w.gateway + "/api/notes")
	return page.Status, codeOf(page.Body)
}
