package idp

import (
	"net/http"
	"net/url"
	"strings"
)

// authorize is the authorization endpoint (RFC 6749, 3.1; OpenID Connect Core,
// 3.1.2).
func (p *Provider) authorize(c *call) {
	v := c.query
	if c.r.Method == http.MethodPost {
		v = c.form
	}
	for _, name := range []string{"client_id", "request_uri"} {
		if len(v[name]) > 1 {
			p.refuse(c, invalidRequest("parameter "+name+" is there twice"))
			return
		}
	}
	client := p.client(v.Get("client_id"))
	if client == nil {
		p.refuse(c, invalidRequest("client_id is missing or unknown"))
		return
	}
	var req *authRequest
	if v.Has("request_uri") {
		var err *oauthError
		// What else the query says does not count (RFC 9126, 4).
		if req, err = p.pulled(c, client.ID, v.Get("request_uri")); err != nil {
			p.refuse(c, err)
			return
		}
	} else {
		v, err := p.unwrapped(c, client, v)
		if err != nil {
			p.refuse(c, err)
			return
		}
		to, err := resolveReply(client, v)
		if err != nil {
			p.refuse(c, err)
			return
		}
		if p.o.RequirePAR || client.RequirePAR {
			p.reply(c, to, failure(to, invalidRequest("the request must be pushed (RFC 9126)")))
			return
		}
		if req, err = p.readRequest(client, v, to); err != nil {
			p.reply(c, to, failure(to, err))
			return
		}
	}
	p.decide(c, client, req)
}

// decide answers at once, or sends the browser to the sign-in page.
func (p *Provider) decide(c *call, client *registered, req *authRequest) {
	s := p.current(c)
	if s != nil && !p.mustSignIn(c, s, req) {
		p.grantCode(c, req, s)
		return
	}
	if has(req.prompt, "none") {
		p.reply(c, req.reply, failure(req.reply, &oauthError{
			Code: "login_required", Description: "nobody who would do is signed in here"}))
		return
	}
	tx := random()
	open := &signIn{request: req, client: client.Name, browser: p.browser(c)}
	p.mu.Lock()
	ok := p.state.signIns.put(digest(tx), open, c.now, c.now.Add(p.o.SignInLifetime))
	p.mu.Unlock()
	if !ok {
		p.reply(c, req.reply, failure(req.reply, unavailable()))
		return
	}
	// A redirect, so that the page can be reloaded although the request_uri
	// that led here is used up.
	p.redirect(c, p.base+pathSignIn+"?tx="+tx)
}

func (p *Provider) mustSignIn(c *call, s *session, req *authRequest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case has(req.prompt, "login"):
		return true
	case req.maxAge != nil && (*req.maxAge == 0 || c.now.Sub(s.authTime) > *req.maxAge):
		return true
	}
	return req.idHint != "" && req.idHint != s.user.Subject
}

// grantCode issues a code and answers with it.
func (p *Provider) grantCode(c *call, req *authRequest, s *session) {
	value := random()
	p.mu.Lock()
	s.joins(req.client)
	g := &grant{
		client: req.client, user: s.user, session: s, scope: req.scope, audience: req.audience,
		authTime: s.authTime, expires: c.now.Add(p.o.RefreshTokenLifetime),
	}
	// The code stays on its shelf after its use and its end, so that a replay
	// is known for one.
	p.state.codes.put(digest(value), &code{grant: g, request: req, expires: c.now.Add(p.o.CodeLifetime)},
		c.now, g.expires)
	p.mu.Unlock()
	v := url.Values{"code": {value}}
	if req.hasState {
		v.Set("state", req.state)
	}
	p.reply(c, req.reply, v)
}

func failure(to reply, err *oauthError) url.Values {
	v := url.Values{"error": {err.Code}, "error_description": {err.Description}}
	if to.hasState {
		v.Set("state", to.state)
	}
	return v
}

// reply sends an authorization response. Every one names us, errors too (RFC
// 9207, 2).
func (p *Provider) reply(c *call, to reply, v url.Values) {
	v.Set("iss", p.o.Issuer)
	p.seen.note(func() { c.seen.Error = v.Get("error") })
	if h := c.hooks.Authorization; h != nil {
		h(v)
	}
	if mode := c.hooks.ResponseMode; mode != "" {
		to.mode = mode
	}
	if isSigned(to.mode) {
		signed, err := p.signedReply(c, to, v)
		if err != nil {
			p.refuse(c, err)
			return
		}
		v = signed
	}
	if to.mode == "form_post" {
		p.page(c, http.StatusOK, "formpost", view{
			Title: "Back to the application", Action: to.redirectURI, Fields: v, FormTarget: to.redirectURI,
		})
		return
	}
	sep := "?"
	if strings.Contains(to.redirectURI, "?") {
		sep = "&"
	}
	p.redirect(c, to.redirectURI+sep+v.Encode())
}

// redirect is always 303: a 307 would carry the posted password on to the
// relying party (RFC 9700, 4.12).
func (p *Provider) redirect(c *call, to string) {
	c.w.Header().Set("Location", to)
	c.w.WriteHeader(http.StatusSeeOther)
}

// refuse tells the user, and nobody else: there is no redirect URI that could
// be trusted.
func (p *Provider) refuse(c *call, err *oauthError) {
	p.seen.note(func() { c.seen.Error = err.Code })
	p.page(c, http.StatusBadRequest, "message", view{
		Title: "This request cannot be used",
		Text:  "The application sent something that this provider does not accept. Go back to it and start again.",
		Code:  err.Code, Detail: err.Description,
	})
}
