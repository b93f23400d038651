package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"golang.org/x/net/html"

	"keyway/internal/secret"
)

// walker is a browser without scripts.
type walker struct{ client http.Client }

func newWalker(client *http.Client) *walker {
	w := &walker{client: *client}
	jar, _ := cookiejar.New(nil) // never fails without options
	w.client.Jar = asBrowsers{jar}
	return w
}

// asBrowsers sends Secure cookies to loopback without TLS, as browsers do, which take
// it for potentially trustworthy.
type asBrowsers struct{ *cookiejar.Jar }

func (j asBrowsers) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.Jar.SetCookies(trusted(u), cookies)
}
func (j asBrowsers) Cookies(u *url.URL) []*http.Cookie { return j.Jar.Cookies(trusted(u)) }

func trusted(u *url.URL) *url.URL {
	if u.Scheme == "http" && isLoopback(u.Host) {
		secure := *u
		secure.Scheme = "https"
		return &secure
	}
	return u
}

// wholeSignIn signs a person in, calls a session route, and signs out again.
func wholeSignIn(ctx context.Context, client *http.Client, d Deployment, username string, password secret.Value) finding {
	w := newWalker(client)
	back, err := w.toCallback(ctx, d.Public, username, password)
	if err != nil {
		return bad("%v", err).because("the account's name or password is wrong, the account is locked or asked for more (a second factor, consent by script), or the provider's pages are no plain forms",
			"Try the account in a browser. It has to be one that signs in with a name and a password alone.")
	}
	a, err := fetch(ctx, &w.client, http.MethodGet, back)
	if err != nil {
		return unreachable("the callback", host(back), err)
	}
	if !a.redirects() {
		return bad("the callback answers %d (%s)", a.status, codeOf(a)).
			because("the code or the ID token was not accepted: our credential, a clock, or the keys of the provider", "See the checks of credentials, clocks and metadata, and the gateway's log for the callback.")
	}
	a, err = fetch(ctx, &w.client, http.MethodGet, d.Public+"/auth/session")
	if err != nil {
		return unreachable("what serves the public address", d.Public, err)
	}
	var session struct {
		Authenticated bool `json:"authenticated"`
	}
	if json.Unmarshal(a.body, &session) != nil || !session.Authenticated {
		return bad("signed in, and /auth/session says otherwise").
			because("the session cookie does not come back: its domain or Secure does not fit the public address, or a proxy drops it; or the session is not in the store", "See the cookie settings, and the check of the session store.")
	}
	saw := username + " signs in"
	if d.Session != "" {
		a, err = fetch(ctx, &w.client, http.MethodGet, d.Public+d.Session)
		switch {
		case err != nil:
			return unreachable("what serves the public address", d.Public, err)
		case a.status == http.StatusUnauthorized:
			f := bad("%s answers %d to who is signed in (%s)", d.Session, a.status, codeOf(a)).because("the session is not accepted, or the API does not take the token", "See the gateway's log for that request.")
			return w.out(ctx, d, f)
		case a.status >= 500:
			f := bad("%s answers %d (%s)", d.Session, a.status, codeOf(a)).because("the API behind that route is away", "See whether it runs.")
			return w.out(ctx, d, f)
		}
		saw += fmt.Sprintf(", %s answers %d", d.Session, a.status)
	}
	return w.out(ctx, d, good("%s, and signs out", saw))
}

// out signs out, whatever was found.
func (w *walker) out(ctx context.Context, d Deployment, f finding) finding {
	a, err := fetch(ctx, &w.client, http.MethodGet, d.Public+"/auth/csrf")
	if err != nil {
		return unreachable("what serves the public address", d.Public, err)
	}
	var csrf struct {
		Token string `json:"csrf_token"`
	}
	_ = json.Unmarshal(a.body, &csrf)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.Public+"/auth/logout", nil)
	if err != nil {
		return f
	}
	request.Header.Set("X-CSRF-Token", csrf.Token)
	a, err = send(&w.client, request)
	if f.ok && (err != nil || !a.redirects() && a.status != http.StatusOK && a.status != http.StatusNoContent) {
		return bad("sign-out answers %d (%s)", a.status, codeOf(a)).because("the CSRF token or the session is not accepted", "See the gateway's log for /auth/logout.")
	}
	if a.redirects() && !strings.HasPrefix(a.location.String(), d.Public) {
		_, _ = w.until(ctx, a.location.String(), nil, func(u *url.URL) bool { return strings.HasPrefix(u.String(), d.Public) })
	}
	return f
}

// toCallback goes through the provider's pages, and returns the URL of our callback
// that the browser is sent to, unopened.
func (w *walker) toCallback(ctx context.Context, public, username string, password secret.Value) (string, error) {
	fields := map[string]string{"username": username, "password": string(password.Reveal()), "login": username, "email": username}
	start := public + "/auth/login?return_to=%2F"
	first := true
	return w.until(ctx, start, fields, func(u *url.URL) bool {
		if first {
			first = false
			return false
		}
		return u.Path == "/auth/callback"
	})
}

const maxSteps = 20

// until follows redirects and sends forms, until it is sent to where there says.
func (w *walker) until(ctx context.Context, start string, fields map[string]string, there func(*url.URL) bool) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, start, nil)
	if err != nil {
		return "", err
	}
	filled := 0
	for range maxSteps {
		a, err := send(&w.client, request)
		if err != nil {
			return "", fmt.Errorf("no answer from %s: %w", request.URL.Host, err)
		}
		if a.redirects() {
			if there(a.location) {
				return a.location.String(), nil
			}
			if request, err = http.NewRequestWithContext(ctx, http.MethodGet, a.location.String(), nil); err != nil {
				return "", err
			}
			continue
		}
		if a.status != http.StatusOK && filled == 0 {
			return "", fmt.Errorf("%s answers %d (%s)", request.URL.Host+request.URL.Path, a.status, codeOf(a))
		}
		page := request.URL
		form, asks, err := formOf(page, a.body, fields)
		if err != nil {
			return "", fmt.Errorf("the page at %s (status %d): %w", page.Host+page.Path, a.status, err)
		}
		if asks {
			if filled++; filled > 2 {
				return "", fmt.Errorf("%s asks for the password again", page.Host)
			}
			if strings.HasPrefix(start, "https:") && !strings.HasPrefix(form.to, "https:") {
				return "", fmt.Errorf("the page at %s would send the password without TLS", page.Host+page.Path)
			}
		}
		if request, err = http.NewRequestWithContext(ctx, http.MethodPost, form.to, strings.NewReader(form.values.Encode())); err != nil {
			return "", err
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Origin", origin(page))
	}
	return "", fmt.Errorf("no end after %d steps", maxSteps)
}

type form struct {
	to     string
	values url.Values
}

// formOf is what the page's first form that is posted would send, its first button
// pressed. asks: a password was filled in.
func formOf(page *url.URL, body []byte, fields map[string]string) (form, bool, error) {
	root, err := html.Parse(strings.NewReader(string(body)))
	if err != nil {
		return form{}, false, errors.New("no HTML")
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode || n.Data != "form" || !strings.EqualFold(attribute(n, "method"), "post") {
			continue
		}
		to, err := page.Parse(attribute(n, "action"))
		if err != nil {
			return form{}, false, errors.New("its form leads nowhere")
		}
		f, asks, pressed := form{to: to.String(), values: url.Values{}}, false, false
		for input := range n.Descendants() {
			name, kind := attribute(input, "name"), strings.ToLower(attribute(input, "type"))
			button := input.Data == "button" || input.Data == "input" && (kind == "submit" || kind == "image")
			switch {
			case button && !pressed:
				pressed = true
			case button, input.Data != "input", kind == "checkbox" && !has(input, "checked"):
				continue
			}
			if name == "" {
				continue
			}
			value := attribute(input, "value")
			if v, ok := fields[name]; ok && !button && kind != "hidden" {
				value, asks = v, asks || name == "password"
			}
			f.values.Set(name, value)
		}
		return f, asks, nil
	}
	return form{}, false, errors.New("expected a form, found none")
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}

// codeOf is the code of a problem (RFC 9457), or what kind of answer it is.
func codeOf(a answer) string {
	var p struct {
		Code string `json:"code"`
	}
	if json.Unmarshal(a.body, &p) == nil && p.Code != "" {
		return p.Code
	}
	if kind := a.mediaType(); kind != "" {
		return kind
	}
	return "no content type"
}
