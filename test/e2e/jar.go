package e2e

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Jar keeps cookies as a browser does on loopback, where it trusts plain HTTP:
// it sends Secure cookies there, holds the __Host- prefix to its rules, and,
// like every browser, tells hosts apart but not ports. It does no Domain
// cookies: a cookie with a Domain is dropped.
//
// Safe for concurrent use.
type Jar struct {
	mu      sync.Mutex
	cookies map[jarKey]*http.Cookie
}

type jarKey struct{ host, path, name string }

// NewJar is an empty jar.
func NewJar() *Jar { return &Jar{cookies: map[jarKey]*http.Cookie{}} }

var _ http.CookieJar = (*Jar)(nil)

// SetCookies is called by http.Client with what a response sets.
func (j *Jar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range cookies {
		if c.Domain != "" {
			continue
		}
		if strings.HasPrefix(c.Name, "__Host-") && (!c.Secure || c.Path != "/") {
			continue // RFC 6265bis 4.1.3.2
		}
		path := c.Path
		if !strings.HasPrefix(path, "/") {
			path = u.Path[:max(1, strings.LastIndex(u.Path, "/"))] // RFC 6265 5.1.4
		}
		k := jarKey{u.Hostname(), path, c.Name}
		if c.MaxAge < 0 || !c.Expires.IsZero() && c.Expires.Before(time.Now()) {
			delete(j.cookies, k)
			continue
		}
		kept := *c
		if c.MaxAge > 0 {
			kept.Expires = time.Now().Add(time.Duration(c.MaxAge) * time.Second)
		}
		j.cookies[k] = &kept
	}
}

// Cookies is called by http.Client before each request.
func (j *Jar) Cookies(u *url.URL) []*http.Cookie {
	j.mu.Lock()
	defer j.mu.Unlock()
	var send []*http.Cookie
	for k, c := range j.cookies {
		if k.host != u.Hostname() || !pathMatches(u.Path, k.path) {
			continue
		}
		if !c.Expires.IsZero() && c.Expires.Before(time.Now()) {
			delete(j.cookies, k)
			continue
		}
		send = append(send, &http.Cookie{Name: c.Name, Value: c.Value})
	}
	slices.SortFunc(send, func(a, b *http.Cookie) int { return strings.Compare(a.Name, b.Name) })
	return send
}

// Get answers with a cookie as it was set, by its exact name; nil if there is
// none.
func (j *Jar) Get(name string) *http.Cookie {
	j.mu.Lock()
	defer j.mu.Unlock()
	for k, c := range j.cookies {
		if k.name == name {
			kept := *c
			return &kept
		}
	}
	return nil
}

// Names lists the cookies that are held, sorted.
func (j *Jar) Names() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	names := make([]string, 0, len(j.cookies))
	for k := range j.cookies {
		names = append(names, k.name)
	}
	slices.Sort(names)
	return names
}

// pathMatches is RFC 6265 5.1.4.
func pathMatches(request, cookie string) bool {
	if request == "" {
		request = "/"
	}
	return request == cookie ||
		strings.HasPrefix(request, cookie) && (strings.HasSuffix(cookie, "/") || request[len(cookie)] == '/')
}
