package idp_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"keyway/internal/demo/idp"
	"keyway/internal/demo/idp/idptest"
)

func between(s, a, b string) string {
	_, s, _ = strings.Cut(s, a)
	s, _, _ = strings.Cut(s, b)
	return s
}

func TestSignInPage(t *testing.T) {
	c := web()
	c.Name = "<Notes & more>"
	r := start(t, idp.Options{Clients: []idp.Client{c}})
	v, _ := r.request(func(v url.Values) { v.Set("login_hint", `"><script>`) })
	page := r.get(r.authorizeURL(v))
	body := string(page.Body)
	form, err := page.Form()
	if err != nil {
		t.Fatal(err)
	}
	if page.Status != http.StatusOK || !form.Fields.Has("username") || !form.Fields.Has("password") {
		t.Fatalf("want a form with username and password, found %d %v", page.Status, form)
	}
	if !strings.Contains(body, "<code>ada</code>") || !strings.Contains(body, "<code>grace</code>") {
		t.Error("want the demo users shown")
	}
	if strings.Contains(body, "<script") || strings.Contains(body, "<Notes") {
		t.Error("want names and hints escaped, and no script")
	}
	if form.Fields.Get("username") != `"><script>` {
		t.Errorf("login_hint: found %q", form.Fields.Get("username"))
	}
	sum := sha256.Sum256([]byte(between(body, "<style>", "</style>")))
	want := "style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	csp := page.Header.Get("Content-Security-Policy")
	if !strings.Contains(csp, want) || !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") ||
		!strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "script-src") {
		t.Errorf("CSP: want %s, found %s", want, csp)
	}
	for _, must := range []string{"prefers-color-scheme: dark", "@media (max-width", `name="viewport"`} {
		if !strings.Contains(body, must) {
			t.Errorf("want %s", must)
		}
	}
	if page.Header.Get("Cache-Control") != "no-store" || page.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("headers: found %v", page.Header)
	}
	if page := r.get(page.URL.String()); page.Status != http.StatusOK {
		t.Errorf("reload: want 200, found %d", page.Status)
	}
}

func TestWrongPassword(t *testing.T) {
	r := start(t, idp.Options{HideHint: true})
	v, _ := r.request(nil)
	page := r.get(r.authorizeURL(v))
	if strings.Contains(string(page.Body), "<code>") {
		t.Error("HideHint: want no hint")
	}
	for _, try := range []url.Values{
		{"username": {"ada"}, "password": {"wrong"}},
		{"username": {"ada"}, "password": {""}},
		{"username": {"nobody"}, "password": {""}},
		{"username": {""}, "password": {"demo"}},
	} {
		next, err := r.browser.Submit(t.Context(), page, try)
		if err != nil {
			t.Fatal(err)
		}
		form, err := next.Form()
		if err != nil || next.Status != http.StatusForbidden || !strings.Contains(string(next.Body), `role="alert"`) {
			t.Fatalf("%v: want the page again with an error, found %d (%v)", try, next.Status, err)
		}
		if form.Fields.Get("username") != try.Get("username") || form.Fields.Get("password") != "" {
			t.Errorf("want the name kept and the password not, found %v", form.Fields)
		}
		page = next
	}
	page, err := r.browser.Submit(t.Context(), page, url.Values{"username": {" grace "}, "password": {"demo"}})
	if err != nil || page.Next == nil || !page.Next.Query().Has("code") {
		t.Fatalf("the right one: want a code, found %v (%v)", page, err)
	}
}

// A sign-in page belongs to the browser that opened it, and works once.
func TestSignInPageIsBound(t *testing.T) {
	r := start(t, idp.Options{})
	v, _ := r.request(nil)
	page := r.get(r.authorizeURL(v))
	fill := url.Values{"username": {"ada"}, "password": {"demo"}}

	victim := idptest.NewBrowser(nil)
	if got, err := victim.Submit(t.Context(), page, fill); err != nil || got.Status != 400 || got.Next != nil {
		t.Errorf("another browser: want 400, found %v (%v)", got, err)
	}
	if got, err := r.browser.Submit(t.Context(), page, fill); err != nil || got.Next == nil {
		t.Fatalf("want a code, found %v (%v)", got, err)
	}
	if got, err := r.browser.Submit(t.Context(), page, fill); err != nil || got.Status != 400 {
		t.Errorf("second time: want 400, found %v (%v)", got, err)
	}
}

// A session cookie planted before the sign-in is worth nothing after it, and
// two people on one browser do not share a session.
func TestNewCookieAtSignIn(t *testing.T) {
	r := start(t, idp.Options{})
	home, _ := url.Parse(r.s.URL)
	cookie := func() string {
		for _, c := range r.browser.Client.Jar.Cookies(home) {
			if strings.HasSuffix(c.Name, "_session") {
				return c.Value
			}
		}
		return ""
	}
	r.browser.Client.Jar.SetCookies(home, []*http.Cookie{{Name: "keyway_demo_idp_session", Value: "planted", Path: "/"}})
	first := r.tokens(nil)
	before := cookie()
	if before == "planted" || before == "" {
		t.Fatal("want a new cookie")
	}
	v, _ := r.request(func(v url.Values) { v.Set("prompt", "login") })
	page, err := r.browser.SignIn(t.Context(), r.authorizeURL(v), "grace", "demo")
	if err != nil || page.Next == nil {
		t.Fatal(err)
	}
	if cookie() == before {
		t.Error("want another cookie for another user")
	}
	wantError(t, r.refresh(first.str("refresh_token")), 400, "invalid_grant")
}

func TestCookieFlags(t *testing.T) {
	p, err := idp.New(idp.Options{Issuer: "https://idp.test", Clients: []idp.Client{web()}})
	if err != nil {
		t.Fatal(err)
	}
	r := &rp{t: t, id: "web"}
	v, _ := r.request(nil)
	w := direct(p, "GET", "/authorize?"+v.Encode(), "")
	cookies := w.Result().Cookies()
	if len(cookies) != 1 {
		t.Fatalf("want one cookie, found %v", cookies)
	}
	c := cookies[0]
	if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" {
		t.Errorf("found %v", c)
	}
}

func TestOtherPages(t *testing.T) {
	p, err := idp.New(idp.Options{Issuer: "http://idp.test"})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/": 200, "/nothing": 404, "/signin": 400} {
		w := direct(p, "GET", path, "")
		if w.Code != want || w.Header().Get("Content-Security-Policy") == "" || !strings.Contains(w.Body.String(), "<h1>") {
			t.Errorf("%s: want a page with %d, found %d", path, want, w.Code)
		}
	}
}

// FuzzAuthorize asks for anything: the answer is a page, or a redirect to the
// registered URI or to the sign-in page, and nothing else.
func FuzzAuthorize(f *testing.F) {
	p, err := idp.New(idp.Options{Issuer: "http://idp.test", Clients: []idp.Client{web()}})
	if err != nil {
		f.Fatal(err)
	}
	r := &rp{t: f, id: "web"}
	v, _ := r.request(nil)
	f.Add(v.Encode())
	f.Add(v.Encode() + "&redirect_uri=//evil.test")
	f.Add("client_id=web&request_uri=urn:ietf:params:oauth:request_uri:x;%zz")
	f.Add(v.Encode() + "&prompt=none&max_age=99999999999&response_mode=form_post")
	f.Fuzz(func(t *testing.T, query string) {
		req := httptestRequest("/authorize")
		req.URL.RawQuery = query
		to := serve(p, req).Header().Get("Location")
		if to != "" && !strings.HasPrefix(to, callback+"?") && !strings.HasPrefix(to, "http://idp.test/signin?tx=") {
			t.Errorf("redirected to %q", to)
		}
	})
}
