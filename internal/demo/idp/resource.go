package idp

import (
	"maps"
	"net/http"
	"strings"
)

// accessByToken returns a live access token's record, or nil.
func (p *Provider) accessByToken(c *call, token string) *accessToken {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, ok := p.state.access.get(digest(token), c.now)
	if !ok || t.revoked || !t.grant.alive(c.now) {
		return nil
	}
	return t
}

// userinfo is OpenID Connect Core, 5.3, with errors by RFC 6750, 3.
func (p *Provider) userinfo(c *call) {
	v, err := p.userinfoFor(c)
	a := c.answer(http.StatusOK, v, err)
	if err != nil {
		challenge := `Bearer realm="` + p.base + `"`
		if c.seen.AuthMethod == "dpop" { // RFC 9449, 7.1
			challenge = `DPoP realm="` + p.base + `", algs="ES256 PS256 EdDSA"`
		}
		if err.Description != "" { // none when no token was sent: RFC 6750, 3.1
			challenge += `, error="` + err.Code + `", error_description="` + err.Description + `"`
		}
		a.Header.Set("WWW-Authenticate", challenge)
	}
	c.send(a, c.hooks.Userinfo)
}

func (p *Provider) userinfoFor(c *call) (any, *oauthError) {
	t, err := p.presented(c)
	if err != nil {
		return nil, err
	}
	p.seen.note(func() { c.seen.ClientID = t.grant.client })
	if t.grant.user == nil || !has(t.scope, "openid") {
		return nil, &oauthError{Status: http.StatusForbidden, Code: "insufficient_scope",
			Description: "the access token lacks the scope openid"}
	}
	return userClaims(t.grant.user, t.scope), nil
}

// introspect is RFC 7662. Every client that authenticates may ask about every
// access token, as resource servers do; about a refresh token only its own.
func (p *Provider) introspect(c *call) {
	v, err := p.introspection(c)
	c.send(c.answer(http.StatusOK, v, err), c.hooks.Introspection)
}

func (p *Provider) introspection(c *call) (any, *oauthError) {
	client, err := p.authenticate(c)
	if err != nil {
		return nil, err
	}
	token := c.form.Get("token")
	if token == "" {
		return nil, invalidRequest("token is missing")
	}
	if t := p.accessByToken(c, token); t != nil {
		m := map[string]any{}
		if t.grant.user != nil {
			maps.Copy(m, t.grant.user.Claims)
		}
		maps.Copy(m, p.describe(t))
		m["active"] = true
		return m, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.state.refresh.get(digest(token), c.now)
	if ok && r.usedAt.IsZero() && r.grant.client == client.ID && r.grant.alive(c.now) {
		return map[string]any{
			"active": true, "iss": p.o.Issuer, "client_id": client.ID, "sub": r.grant.user.Subject,
			"scope": strings.Join(r.grant.scope, " "), "exp": r.grant.expires.Unix(),
		}, nil
	}
	// Nothing else: why it is not active is nobody's business (RFC 7662, 2.2).
	return map[string]any{"active": false}, nil
}

// revoke is RFC 7009. An access token ends alone; a refresh token takes
// everything of its grant along (2.1).
func (p *Provider) revoke(c *call) {
	c.send(c.answer(http.StatusOK, struct{}{}, p.revocation(c)), nil)
}

func (p *Provider) revocation(c *call) *oauthError {
	client, err := p.authenticate(c)
	if err != nil {
		return err
	}
	token := c.form.Get("token")
	if token == "" {
		return invalidRequest("token is missing")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	foreign := invalidGrant("the token was issued to another client")
	if r, ok := p.state.refresh.get(digest(token), c.now); ok {
		if r.grant.client != client.ID {
			return foreign
		}
		r.grant.revoked = true
	}
	if t, ok := p.state.access.get(digest(token), c.now); ok {
		if t.grant.client != client.ID {
			return foreign
		}
		t.revoked = true
	}
	return nil // also for a token that nobody knows: 2.2
}
