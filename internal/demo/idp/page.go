package idp

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"strings"
)

//go:embed web
var web embed.FS

var (
	style  = mustRead("web/style.css")
	script = mustRead("web/formpost.js")
	pages  = template.Must(template.New("").ParseFS(web, "web/*.html"))

	// The pages may use this style and this script and nothing else; both are
	// inline, and named by their hashes (CSP Level 3, 2.3.1).
	styleHash, scriptHash = hashOf(style), hashOf(script)
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

// view is what the templates show.
type view struct {
	Style  template.CSS
	Script template.JS

	Provider, Title, Text string
	Code, Detail          string // an OAuth error, for developers

	Client, Username, Problem string
	Users                     []User
	Action, TX                string
	Fields                    url.Values

	// FormTarget is where the form leads in the end. Browsers hold the whole
	// chain of redirects behind a form against form-action.
	FormTarget string

	Link, LinkText string
}

func (p *Provider) page(c *call, status int, name string, v view) {
	v.Provider, v.Style, v.Script = p.o.Name, template.CSS(style), template.JS(script) //nolint:gosec // our own files
	var body bytes.Buffer
	if err := pages.ExecuteTemplate(&body, name+".html", v); err != nil {
		http.Error(c.w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	policy := "default-src 'none'; img-src data:; style-src " + styleHash +
		"; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
	if v.FormTarget != "" {
		policy += " " + cspSource(v.FormTarget)
	}
	if name == "formpost" {
		policy += "; script-src " + scriptHash
	}
	h := c.w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Type", "text/html; charset=utf-8")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body.Bytes()) // the browser may have left
}

// cspSource names a URL's origin as a CSP source expression, or its scheme
// where the grammar has no words for the origin (native schemes, IPv6).
func cspSource(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	if u.Scheme != "http" && u.Scheme != "https" || strings.ContainsAny(u.Host, "[;, ") {
		return u.Scheme + ":"
	}
	return u.Scheme + "://" + u.Host
}

func (p *Provider) index(c *call) {
	p.page(c, http.StatusOK, "message", view{
		Title: "An OpenID Provider for trying things out",
		Text:  "Applications send people here to sign in. There is nothing else to do at this address.",
		Link:  p.base + "/.well-known/openid-configuration", LinkText: "Its metadata",
	})
}
