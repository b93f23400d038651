package idptest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"keyway/internal/demo/idp"
	"keyway/internal/testkit/leakhunt"
)

// Server is a provider on a port of its own.
type Server struct {
	*idp.Provider
	URL string // its issuer, unless Options named another
}

// Start runs a provider until the test ends. An empty Issuer becomes the
// server's address.
func Start(t testing.TB, o idp.Options) *Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	address := "http://" + srv.Listener.Addr().String()
	if o.Issuer == "" {
		o.Issuer = address
	}
	p, err := idp.New(o)
	if err != nil {
		srv.Close()
		t.Fatal(err)
	}
	srv.Config.Handler = leakhunt.Watch(p)
	srv.Start()
	t.Cleanup(func() {
		srv.CloseClientConnections() // a hook may be holding one
		srv.Close()
		_ = p.Close()
	})
	return &Server{Provider: p, URL: o.Issuer}
}

// Browser keeps cookies and follows redirects. Use one for each person.
type Browser struct {
	Client *http.Client

	// Stop holds back redirects to a URL for which it returns true; the page
	// that comes back then has it as Next.
	Stop func(*url.URL) bool
}

// NewBrowser returns a browser without cookies. A nil transport means
// http.DefaultTransport.
func NewBrowser(transport http.RoundTripper) *Browser {
	jar, _ := cookiejar.New(nil) // never fails without options
	b := &Browser{Client: &http.Client{Transport: transport, Jar: jar}}
	b.Client.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) > 20 {
			return errors.New("more than 20 redirects")
		}
		if b.Stop != nil && b.Stop(r.URL) {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return b
}

// StopAt makes the browser stop before any URL that begins with prefix.
func (b *Browser) StopAt(prefix string) {
	b.Stop = func(u *url.URL) bool { return strings.HasPrefix(u.String(), prefix) }
}

// Page is where the browser ended up.
type Page struct {
	URL    *url.URL
	Status int
	Header http.Header
	Body   []byte   // at most 4 MiB
	Next   *url.URL // a redirect that Stop held back, or nil
}

// Get opens a URL.
func (b *Browser) Get(ctx context.Context, address string) (*Page, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return b.Do(req)
}

// Post sends a form.
func (b *Browser) Post(ctx context.Context, address string, form url.Values) (*Page, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.Do(req)
}

// Do sends any request with the browser's cookies and habits.
func (b *Browser) Do(req *http.Request) (*Page, error) {
	res, err := b.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return nil, err
	}
	page := &Page{URL: res.Request.URL, Status: res.StatusCode, Header: res.Header, Body: body}
	if to, err := res.Location(); err == nil && res.StatusCode/100 == 3 {
		page.Next = to
	}
	return page, nil
}

// Form is the first form of a page.
type Form struct {
	Method string // upper case
	Action string // absolute
	Fields url.Values
}

// Form finds the first form, with the values that its inputs have.
func (p *Page) Form() (*Form, error) {
	doc, err := html.Parse(bytes.NewReader(p.Body))
	if err != nil {
		return nil, err
	}
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == "form" {
			return p.readForm(n)
		}
	}
	return nil, fmt.Errorf("want a page with a form, found status %d at %s%s", p.Status, p.URL.Host, p.URL.Path)
}

func (p *Page) readForm(form *html.Node) (*Form, error) {
	to, err := p.URL.Parse(attr(form, "action"))
	if err != nil {
		return nil, err
	}
	out := &Form{Method: http.MethodGet, Action: to.String(), Fields: url.Values{}}
	if m := attr(form, "method"); m != "" {
		out.Method = strings.ToUpper(m)
	}
	for n := range form.Descendants() {
		if n.Type == html.ElementNode && n.Data == "input" && attr(n, "name") != "" {
			out.Fields.Add(attr(n, "name"), attr(n, "value"))
		}
	}
	return out, nil
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// Submit sends a page's form, with some fields filled in.
func (b *Browser) Submit(ctx context.Context, p *Page, fill url.Values) (*Page, error) {
	form, err := p.Form()
	if err != nil {
		return nil, err
	}
	for name, values := range fill {
		form.Fields[name] = values
	}
	if form.Method == http.MethodGet {
		to, err := url.Parse(form.Action)
		if err != nil {
			return nil, err
		}
		to.RawQuery = form.Fields.Encode()
		return b.Get(ctx, to.String())
	}
	return b.Post(ctx, form.Action, form.Fields)
}

// SignIn opens a URL that leads to a sign-in page (an authorization request, or
// a relying party's /auth/login) and signs in there. Where the provider still
// knows the browser, there is no page to fill in and none is asked for.
func (b *Browser) SignIn(ctx context.Context, address, username, password string) (*Page, error) {
	page, err := b.Get(ctx, address)
	if err != nil || page.Next != nil {
		return page, err
	}
	form, err := page.Form()
	if err != nil {
		return nil, err
	}
	if !form.Fields.Has("password") {
		return page, nil
	}
	return b.Submit(ctx, page, url.Values{"username": {username}, "password": {password}})
}
