package gateway

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"keyway/internal/problem"
)

//go:embed web
var web embed.FS

var (
	pageStyle = mustRead("web/style.css")
	pages     = template.Must(template.New("").ParseFS(web, "web/*.html"))
	// pagePolicy lets our pages have their own style, which is named by its hash (CSP
	// Level 3 section 2.3.1), and an icon that is empty; nothing else, and no script.
	pagePolicy = "default-src 'none'; style-src " + hashOf(pageStyle) + "; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

func mustRead(name string) string {
	b, err := web.ReadFile(name)
	if err != nil {
		panic(err) // embedded: it is there or this did not build
	}
	return strings.TrimSpace(string(b))
}

func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// pageView is what our pages show. Nothing of it is from a request or from an IdP, but
// for To, which was checked when the sign-in began.
type pageView struct {
	Style           template.CSS
	Title, Text     string
	SignIn, To      string // where links lead; "": there is none
	Code, Reference string
}

// page sends a page of ours, to a browser that shows it.
func (c *call) page(status int, name string, v pageView) {
	v.Style = template.CSS(pageStyle) // our own file
	var body bytes.Buffer
	_ = pages.ExecuteTemplate(&body, name+".html", v) // into memory, from texts
	h := c.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	h[hCSP] = []string{pagePolicy}
	h[hReferrerPolicy] = noReferrer
	h[hContentTypeOptions] = noSniff
	h["Cache-Control"] = noStore
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body.Bytes())
}

// fail answers a request that failed. Programs read a problem document; so do browsers,
// but for who came to one of the endpoints to which browsers are sent, and would be left
// with it: they are shown a page, with a way on.
func (c *call) fail(err error) {
	code := problem.CodeOf(err)
	status := c.contract.status(code)
	path, _, _ := strings.Cut(c.r.RequestURI, "?")
	shown := c.gateway.own[path].pages
	if shown {
		c.w.Header().Add("Vary", "Accept, Sec-Fetch-Dest, Sec-Fetch-Mode")
	}
	if !shown || !c.looks() {
		problem.WriteAs(c.w, c.id, err, status)
		return
	}
	code = problem.Headers(c.w.Header(), err, status)
	v := pageView{Title: "Signing in did not work", Text: sentence(code), Code: string(code), Reference: c.id}
	out := path == logoutPath
	if out {
		v.Title = "Signing out did not work"
	}
	// Who could not sign out is signed in, unless it is that what is wrong.
	if c.gen.SignIn != nil && (!out || status == http.StatusUnauthorized) {
		v.SignIn = loginPath
	}
	c.page(status, "failed", v)
}

// looks reports whether a person waits for the answer: a browser navigates, in a window
// of its own, by whatever method, and does not ask for JSON.
func (c *call) looks() bool {
	h := c.r.Header
	if dest := h["Sec-Fetch-Dest"]; dest != nil && (len(dest) != 1 || dest[0] != "document") {
		return false
	}
	return navigates(http.MethodGet, h) && !slices.ContainsFunc(h["Accept"], func(accept string) bool {
		return strings.Contains(strings.ToLower(accept), "json")
	})
}

// sentence says what a failure is to who wanted to sign in or out. What is the same to
// everybody is the kind's own title.
func sentence(code problem.Code) string {
	switch code {
	case problem.BadRequest, problem.AmbiguousPath, problem.AmbiguousQuery, problem.TooLarge:
		return "The address that led here is not complete, or not one of ours."
	case problem.LoginFailed:
		return "This sign-in can't be finished: it took too long, was begun in another browser, or has been used before."
	case problem.LoginDenied:
		return "The sign-in was refused, by you or by the identity provider."
	case problem.Unauthenticated, problem.SessionEnded:
		return "You are not signed in any more."
	case problem.CSRFFailed, problem.CrossOrigin:
		return "You are still signed in: to protect you, only a page of this site can sign you out."
	case problem.NotFound:
		return "Nobody can sign in here: no identity provider is configured."
	case problem.MethodNotAllowed:
		return "This is not how signing in and out is done here."
	case problem.TooManyRequests:
		return "There were too many tries from your network. Wait a little, and try again."
	case problem.IdPFailed:
		return "The identity provider's answer can't be used. If trying again does not help, somebody has to look into it."
	case problem.IdPUnavailable:
		return "The identity provider can't be reached right now. Try again in a moment."
	case problem.StoreUnavailable:
		return "Sessions can't be looked up or kept right now. Nothing is lost: try again in a moment."
	case problem.KeysUnavailable, problem.Overloaded, problem.ShuttingDown:
		return "This can't be done right now. Try again in a moment."
	}
	return code.Title()
}

// land sends a browser that has just signed in where it wanted to be. It has come here
// by a redirect of the IdP's, and a redirect that another site began is cross-site to
// its end (RFC 6265bis section 5.2): SameSite=Strict cookies, also the one that comes
// with this answer, would stay behind. What a page of ours leads to is same-site again.
func (c *call) land(to string) error {
	if c.gen.Settings.CSRFCookie.SameSite != http.SameSiteStrictMode || !navigates(c.r.Method, c.r.Header) {
		return c.redirect(to)
	}
	c.w.Header().Set("Refresh", "0; url="+to) // HTML section 7.5.5, "shared declarative refresh steps"
	c.page(http.StatusOK, "landing", pageView{Title: "You are signed in", To: to})
	return nil
}
