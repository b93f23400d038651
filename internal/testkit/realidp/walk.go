package realidp

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// SignIn opens an authorization URL as a browser would: it follows redirects,
// fills in each form that the provider shows (user and password, then consent),
// and answers with the URL at the relying party to which the provider finally
// sends the browser, without opening that. The client should have a cookie jar;
// its CheckRedirect is not asked. It works for every provider whose pages are
// plain forms with the fields username and password.
func SignIn(t testing.TB, client *http.Client, authURL, user string) (callbackURL string) {
	t.Helper()
	final, err := Walk(client, authURL, map[string]string{"username": user, "password": "demo"})
	if err != nil {
		t.Fatalf("sign in %s: %v", user, err)
	}
	return final
}

// Walk goes from a URL through redirects and forms, until it is sent to another
// host. Fields overrides what the forms hold; the first submit button of each
// form is pressed. It answers with the URL on the other host, unopened.
//
// It stops with an error at a page without a form, at a status of 400 and up,
// and after 20 steps.
func Walk(client *http.Client, start string, fields map[string]string) (string, error) {
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	req, err := http.NewRequest("GET", start, nil)
	if err != nil {
		return "", err
	}
	home := req.URL.Host
	for range 20 {
		resp, err := c.Do(req)
		if err != nil {
			return "", err
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		resp.Body.Close()
		if err != nil {
			return "", err
		}
		if resp.StatusCode/100 == 3 {
			next, err := resp.Location()
			if err != nil {
				return "", err
			}
			if next.Host != home {
				return next.String(), nil
			}
			if req, err = http.NewRequest("GET", next.String(), nil); err != nil {
				return "", err
			}
			continue
		}
		if resp.StatusCode != http.StatusOK {
			return "", fmt.Errorf("%s %s: %s: %s", req.Method, req.URL.Path, resp.Status, body)
		}
		if req, err = submit(req.URL, string(body), fields); err != nil {
			return "", fmt.Errorf("page at %s: %w", resp.Request.URL.Path, err)
		}
	}
	return "", fmt.Errorf("no end after 20 steps; last at %s", req.URL.Path)
}

// submit builds the request that the first form of the page would send.
func submit(page *url.URL, body string, fields map[string]string) (*http.Request, error) {
	root, err := html.Parse(strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	var form *html.Node
	values, pressed := url.Values{}, false
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if n.Data == "form" && form == nil {
			form = n
		}
		if form == nil || !within(n, form) {
			continue
		}
		name, kind := attr(n, "name"), attr(n, "type")
		isButton := n.Data == "button" || n.Data == "input" && kind == "submit"
		switch {
		case isButton && !pressed:
			pressed = true
			fallthrough
		case n.Data == "input" && !isButton:
			if name == "" {
				continue
			}
			value := attr(n, "value")
			if v, ok := fields[name]; ok {
				value = v
			}
			values.Set(name, value)
		}
	}
	if form == nil {
		return nil, errors.New("no form, and no redirect")
	}
	target, err := page.Parse(attr(form, "action"))
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(attr(form, "method"), "post") {
		return nil, fmt.Errorf("its form has the method %q, expected post", attr(form, "method"))
	}
	req, err := http.NewRequest("POST", target.String(), strings.NewReader(values.Encode()))
	if err == nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req, err
}

func within(n, ancestor *html.Node) bool {
	for ; n != nil; n = n.Parent {
		if n == ancestor {
			return true
		}
	}
	return false
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
