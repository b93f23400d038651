package idp

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// leaving is an open question whether to sign out, asked of one browser.
type leaving struct {
	session *session
	browser string
	goodbye
}

// goodbye is where a sign-out leads: a registered URI, or "" for a page here.
type goodbye struct{ redirectURI, state string }

// endSession is OpenID Connect RP-Initiated Logout 1.0. With a good
// id_token_hint for the session at hand it signs out at once; without one it
// asks first, for the request could come from any page (section 2).
func (p *Provider) endSession(c *call) {
	v := c.query
	if c.r.Method == http.MethodPost {
		v = c.form
	}
	if name := repeated(v); name != "" {
		p.refuse(c, invalidRequest("parameter "+cut(name)+" is there twice"))
		return
	}
	claims, hintErr := p.verifyOwn(v.Get("id_token_hint"))
	hinted := v.Has("id_token_hint") && hintErr == nil
	to, err := p.goodbyeFor(v, claims, hinted)
	if err != nil {
		p.refuse(c, err)
		return
	}
	current := p.current(c)
	sid, _ := claims["sid"].(string)
	switch {
	case current == nil && !hinted:
		p.leave(c, to) // nobody to sign out, so nothing to ask
	case current != nil && (!hinted || current.sid != sid):
		p.ask(c, current, to)
	default:
		p.mu.Lock()
		s, ok := p.state.bySID.get(sid, c.now)
		p.mu.Unlock()
		if ok {
			p.end(c, s)
		}
		p.leave(c, to)
	}
}

// goodbyeFor finds the client, by hint or by client_id, and holds the URI
// against what it registered.
func (p *Provider) goodbyeFor(v url.Values, claims map[string]any, hinted bool) (goodbye, *oauthError) {
	id := v.Get("client_id")
	if aud, _ := claims["aud"].(string); hinted {
		if id != "" && id != aud {
			return goodbye{}, invalidRequest("client_id is not the one that id_token_hint was issued to")
		}
		id = aud
	}
	to := goodbye{redirectURI: v.Get("post_logout_redirect_uri"), state: v.Get("state")}
	if to.redirectURI == "" {
		return goodbye{}, nil
	}
	client := p.client(id)
	if client == nil {
		return goodbye{}, invalidRequest("post_logout_redirect_uri needs an id_token_hint or a client_id")
	}
	if !slices.Contains(client.PostLogoutRedirectURIs, to.redirectURI) {
		return goodbye{}, invalidRequest("post_logout_redirect_uri is not registered for this client")
	}
	return to, nil
}

func (p *Provider) ask(c *call, s *session, to goodbye) {
	tx := random()
	open := &leaving{session: s, browser: p.browser(c), goodbye: to}
	p.mu.Lock()
	ok := p.state.leaving.put(digest(tx), open, c.now, c.now.Add(p.o.SignInLifetime))
	p.mu.Unlock()
	if !ok {
		p.refuse(c, unavailable())
		return
	}
	p.page(c, http.StatusOK, "signout", view{
		Title: "Sign out?", Username: s.user.Username, Action: p.base + pathSignOut, TX: tx, FormTarget: to.redirectURI,
	})
}

// signOut takes the answer to ask.
func (p *Provider) signOut(c *call) {
	p.mu.Lock()
	open, ok := p.state.leaving.get(digest(c.form.Get("tx")), c.now)
	if ok = ok && open.browser == digest(p.cookie(c, "browser")); ok {
		p.state.leaving.delete(digest(c.form.Get("tx")))
	}
	p.mu.Unlock()
	if !ok {
		p.refuse(c, invalidRequest("this page was used already, or opened in another browser"))
		return
	}
	p.end(c, open.session)
	p.leave(c, open.goodbye)
}

// end ends a session, and with it every token that came from it and has not
// offline_access.
func (p *Provider) end(c *call, s *session) {
	if p.current(c) == s {
		p.setCookie(c, "session", "", -1)
	}
	p.finish(c, s)
}

// finish ends a session but for its cookie, and has its clients told.
func (p *Provider) finish(c *call, s *session) {
	p.mu.Lock()
	already := s.ended
	s.ended = true
	p.state.bySID.delete(s.sid)
	p.mu.Unlock()
	if !already {
		p.tell(c, s)
	}
}

func (p *Provider) leave(c *call, to goodbye) {
	if to.redirectURI == "" {
		p.page(c, http.StatusOK, "message", view{Title: "You are signed out", Text: "You can close this page."})
		return
	}
	v := url.Values{}
	if to.state != "" {
		v.Set("state", to.state)
	}
	if h := c.hooks.Goodbye; h != nil {
		h(v)
	}
	if len(v) > 0 {
		sep := "?"
		if strings.Contains(to.redirectURI, "?") {
			sep = "&"
		}
		to.redirectURI += sep + v.Encode()
	}
	p.redirect(c, to.redirectURI)
}
