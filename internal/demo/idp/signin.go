package idp

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// signIn is an open sign-in page. It belongs to the browser that opened it: a
// link to somebody else's page would sign them in as its author.
type signIn struct {
	request *authRequest
	client  string // name to show
	browser string
}

func (p *Provider) cookieName(kind string) string {
	name := p.o.CookieName + "_" + kind
	if strings.HasPrefix(p.o.Issuer, "https:") {
		return "__Host-" + name
	}
	return name
}

func (p *Provider) setCookie(c *call, kind, value string, maxAge int) {
	http.SetCookie(c.w, &http.Cookie{
		Name: p.cookieName(kind), Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(p.o.Issuer, "https:"),
	})
}

func (p *Provider) cookie(c *call, kind string) string {
	if k, err := c.r.Cookie(p.cookieName(kind)); err == nil {
		return k.Value
	}
	return ""
}

// current returns the browser's session, or nil.
func (p *Provider) current(c *call) *session {
	value := p.cookie(c, "session")
	if value == "" {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.state.sessions.get(digest(value), c.now)
	if !ok || s.ended {
		return nil
	}
	return s
}

// browser names the browser by a cookie, which it sets when there is none yet.
func (p *Provider) browser(c *call) string {
	value := p.cookie(c, "browser")
	if len(value) < 32 || len(value) > 64 {
		value = random()
		p.setCookie(c, "browser", value, 0)
	}
	return digest(value)
}

// signIn shows the page, and takes what was typed into it.
func (p *Provider) signIn(c *call) {
	tx := c.query.Get("tx")
	if c.r.Method == http.MethodPost {
		tx = c.form.Get("tx")
	}
	p.mu.Lock()
	open, ok := p.state.signIns.get(digest(tx), c.now)
	p.mu.Unlock()
	if !ok || open.browser != digest(p.cookie(c, "browser")) {
		p.page(c, http.StatusBadRequest, "message", view{
			Title: "This page is no longer good",
			Text: "It was used already, stayed open for too long, or was opened in another browser. " +
				"Go back to the application and sign in from there.",
		})
		return
	}
	if c.r.Method != http.MethodPost {
		p.signInPage(c, http.StatusOK, open, tx, open.request.loginHint, "")
		return
	}
	name := c.form.Get("username")
	user := p.user(strings.TrimSpace(name))
	password := ""
	if user != nil {
		password = user.Password
	}
	if !sameSecret(c.form.Get("password"), password) || user == nil {
		p.signInPage(c, http.StatusForbidden, open, tx, name, "That name and password do not belong together.")
		return
	}
	p.mu.Lock()
	_, ok = p.state.signIns.take(digest(tx), c.now) // of two at once, one goes on
	p.mu.Unlock()
	if !ok {
		p.signIn(c)
		return
	}
	p.grantCode(c, open.request, p.startSession(c, user))
}

func (p *Provider) signInPage(c *call, status int, open *signIn, tx, name, problem string) {
	v := view{
		Title: "Sign in", Client: open.client, Action: p.base + pathSignIn, TX: tx,
		Username: cut(name), Problem: problem, FormTarget: open.request.redirectURI,
	}
	if !p.o.HideHint {
		v.Users = p.o.Users
	}
	p.page(c, status, "signin", v)
}

// startSession signs the user in under a new cookie, so that one planted
// beforehand is worth nothing. The same user keeps the sid; anybody else's
// session ends.
func (p *Provider) startSession(c *call, user *User) *session {
	old := p.current(c)
	if old != nil && old.user != user {
		p.finish(c, old)
	}
	value := random()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.sessions.delete(digest(p.cookie(c, "session")))
	s := &session{user: user, sid: random()}
	if old != nil && old.user == user {
		s = old
	}
	s.authTime = c.now
	until := c.now.Add(p.o.SessionLifetime)
	p.state.sessions.put(digest(value), s, c.now, until)
	p.state.bySID.put(s.sid, s, c.now, until)
	p.setCookie(c, "session", value, int(p.o.SessionLifetime.Seconds()))
	return s
}

func sameSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
