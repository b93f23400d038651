package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"keyway/internal/testkit/leakhunt"
	"keyway/internal/testkit/realidp"
)

// Browser is a user's browser, reduced to HTTP: it keeps cookies, and follows a
// redirect only when told to. Several may share a Jar, as tabs do.
type Browser struct {
	Jar    *Jar
	Base   string // the gateway's public URL
	Trace  *Trace // what has come and gone
	client *http.Client
}

// NewBrowser is a browser without cookies, for the gateway at base.
func NewBrowser(base string) *Browser {
	jar, trace := NewJar(), &Trace{}
	return &Browser{Jar: jar, Base: base, Trace: trace, client: &http.Client{
		Jar:           jar,
		Transport:     trace,
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// At is the same browser, with the same cookies, sent to another replica.
func (b *Browser) At(base string) *Browser {
	return &Browser{Jar: b.Jar, Base: base, Trace: b.Trace, client: b.client}
}

// Answer is a response with its body read.
type Answer struct {
	*http.Response
	Text string
}

// JSON decodes the body, and fails the test if it is not JSON.
func (a Answer) JSON(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(a.Text), &m); err != nil {
		t.Fatalf("%s %s: %s with a body that is not JSON: %v\n%s", a.Request.Method, a.Request.URL.Path, a.Status, err, a.Text)
	}
	return m
}

// Do sends a request to a path of the gateway, or to a whole URL. Headers come
// in pairs of name and value.
func (b *Browser) Do(t testing.TB, method, target, body string, headers ...string) Answer {
	t.Helper()
	a, err := b.Try(method, target, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Try is Do for tests that expect that there may be no answer.
func (b *Browser) Try(method, target, body string, headers ...string) (Answer, error) {
	if strings.HasPrefix(target, "/") {
		target = b.Base + target
	}
	req, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	hunt(req, resp, text)
	return Answer{resp, string(text)}, err
}

// hunt hands over what a leak hunt looks for, and what it looks through: the admin
// side's answers. Those of the public side go to the owners of what is in them.
func hunt(req *http.Request, resp *http.Response, text []byte) {
	leakhunt.Values(req.URL.Query())
	leakhunt.Cookies(req.Cookies())
	leakhunt.Response(resp.Header, text)
	switch path := req.URL.Path; {
	case path == "/metrics":
		leakhunt.Written("metrics", text)
	case strings.HasPrefix(path, "/admin/v1/audit"):
		leakhunt.Written("audit", text)
	case strings.HasPrefix(path, "/admin/v1/"):
		leakhunt.Written("admin", text)
	}
}

// Open is for answers that do not end, such as server-sent events. The caller
// closes the body.
func (b *Browser) Open(t testing.TB, path string, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", b.Base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	endless := *b.client
	endless.Timeout = 0
	resp, err := endless.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// Get is Do with GET.
func (b *Browser) Get(t testing.TB, target string, headers ...string) Answer {
	t.Helper()
	return b.Do(t, "GET", target, "", headers...)
}

// SignIn takes a user through the whole sign-in: /auth/login, the provider's
// pages, /auth/callback. It answers with the last redirect, back to returnTo.
func (b *Browser) SignIn(t testing.TB, user, returnTo string) Answer {
	t.Helper()
	return b.Get(t, b.ToCallback(t, user, returnTo))
}

// ToCallback is SignIn up to the callback, whose URL it answers with, unopened.
func (b *Browser) ToCallback(t testing.TB, user, returnTo string) string {
	t.Helper()
	login := b.Get(t, "/auth/login?"+url.Values{"return_to": {returnTo}}.Encode())
	to, err := login.Location()
	if err != nil {
		t.Fatalf("/auth/login: %s, expected a redirect to the provider: %s", login.Status, login.Text)
	}
	return realidp.SignIn(t, b.client, to.String(), user)
}

// Session is what /auth/session says.
func (b *Browser) Session(t testing.TB) map[string]any {
	t.Helper()
	return b.Get(t, "/auth/session").JSON(t)
}

// SignedIn says whether /auth/session knows the browser.
func (b *Browser) SignedIn(t testing.TB) bool {
	t.Helper()
	return b.Session(t)["authenticated"] == true
}

// CSRF fetches the token that state-changing requests carry in X-CSRF-Token.
func (b *Browser) CSRF(t testing.TB) string {
	t.Helper()
	a := b.Get(t, "/auth/csrf")
	token, _ := a.JSON(t)["csrf_token"].(string)
	if token == "" {
		t.Fatalf("/auth/csrf: %s, no csrf_token in %s", a.Status, a.Text)
	}
	return token
}

// SignOut ends the session with POST /auth/logout and goes where that sends a
// browser: to the provider's sign-out and through its forms. It answers with
// the gateway's own response.
func (b *Browser) SignOut(t testing.TB) Answer {
	t.Helper()
	a := b.Do(t, "POST", "/auth/logout", "", "X-CSRF-Token", b.CSRF(t))
	if to, err := a.Location(); err == nil && !strings.HasPrefix(to.String(), b.Base) {
		if _, err := realidp.Walk(b.client, to.String(), nil); err != nil {
			t.Logf("sign-out at the provider: %v", err)
		}
	}
	return a
}
