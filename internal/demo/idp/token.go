package idp

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
	"time"
)

// token is the token endpoint (RFC 6749, 3.2).
func (p *Provider) token(c *call) {
	v, err := p.grantTokens(c)
	a := c.answer(http.StatusOK, v, err)
	a.Header.Set("Cache-Control", "no-store") // RFC 6749, 5.1 asks for both
	a.Header.Set("Pragma", "no-cache")
	c.send(a, c.hooks.Token)
}

func (p *Provider) grantTokens(c *call) (any, *oauthError) {
	client, err := p.authenticate(c)
	if err != nil {
		return nil, err
	}
	jkt, err := p.proven(c, "")
	if err != nil {
		return nil, err
	}
	kind := c.form.Get("grant_type")
	switch {
	case kind == "":
		return nil, invalidRequest("grant_type is missing")
	case !slices.Contains(grantTypes, kind):
		return nil, &oauthError{Code: "unsupported_grant_type", Description: "want " + strings.Join(grantTypes, ", ")}
	case !client.allows(kind):
		return nil, &oauthError{Code: "unauthorized_client", Description: "this client may not use that grant type"}
	}
	switch kind {
	case GrantCode:
		return p.redeemCode(c, client, jkt)
	case GrantRefresh:
		return p.redeemRefresh(c, client, jkt)
	default:
		return p.machine(c, client, jkt)
	}
}

// redeemCode exchanges a code (RFC 6749, 4.1.3; RFC 7636, 4.6).
func (p *Provider) redeemCode(c *call, client *registered, jkt string) (any, *oauthError) {
	if c.form.Get("code") == "" {
		return nil, invalidRequest("code is missing")
	}
	p.mu.Lock()
	found, err := p.useCode(c, client)
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	g := found.grant
	if err := p.bind(client, jkt, found.request.jkt); err != nil {
		return nil, err
	}
	to, err := narrow(c, g)
	if err != nil {
		return nil, err
	}
	return p.issue(c, client, g, issuing{kind: GrantCode, scope: g.scope, audience: to, nonce: found.request.nonce, jkt: jkt,
		refresh: client.allows(GrantRefresh)})
}

// useCode marks the code as used whether or not the rest is right: whoever
// guesses a verifier has one guess. Called with the lock held, so that of two
// at once the second is a replay.
func (p *Provider) useCode(c *call, client *registered) (*code, *oauthError) {
	found, ok := p.state.codes.get(digest(c.form.Get("code")), c.now)
	if !ok || found.grant.client != client.ID {
		return nil, invalidGrant("code is unknown or was issued to another client")
	}
	if found.used {
		// RFC 6749, 4.1.2: a code that comes twice has leaked; what it gave
		// ends with it.
		found.grant.revoked = true
		return nil, invalidGrant("code was used before; the tokens that it gave are revoked")
	}
	found.used = true
	sum := sha256.Sum256([]byte(c.form.Get("code_verifier")))
	switch {
	case !c.now.Before(found.expires):
		return nil, invalidGrant("code has expired")
	case !found.grant.alive(c.now):
		return nil, invalidGrant("the session that the code came from has ended")
	case c.form.Get("redirect_uri") != found.request.redirectURI:
		return nil, invalidGrant("redirect_uri is not the one of the authorization request")
	case subtle.ConstantTimeCompare([]byte(b64(sum[:])), []byte(found.request.challenge)) != 1:
		return nil, invalidGrant("code_verifier does not fit the code_challenge")
	}
	return found, nil
}

// redeemRefresh exchanges a refresh token (RFC 6749, 6) for new tokens, and
// itself for its successor (RFC 9700, 4.14.2).
func (p *Provider) redeemRefresh(c *call, client *registered, jkt string) (any, *oauthError) {
	if c.form.Get("refresh_token") == "" {
		return nil, invalidRequest("refresh_token is missing")
	}
	if err := p.bind(client, jkt, ""); err != nil {
		return nil, err
	}
	p.mu.Lock()
	g, want, err := p.useRefresh(c, client)
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	want.jkt = jkt
	return p.issue(c, client, g, want)
}

// useRefresh checks everything before it marks the token as used: a mistaken
// request must not cost the client its family. Called with the lock held.
func (p *Provider) useRefresh(c *call, client *registered) (*grant, issuing, *oauthError) {
	want := issuing{kind: GrantRefresh, refresh: !p.o.KeepRefreshTokens}
	found, ok := p.state.refresh.get(digest(c.form.Get("refresh_token")), c.now)
	if !ok || found.grant.client != client.ID {
		return nil, want, invalidGrant("refresh_token is unknown, expired or was issued to another client")
	}
	g := found.grant
	if !g.alive(c.now) {
		return nil, want, invalidGrant("what this refresh_token stood for was revoked or has ended")
	}
	used := !found.usedAt.IsZero()
	if used && c.now.Sub(found.usedAt) >= p.o.RefreshLeeway {
		// One of the two who have it is a thief, and nobody can say which.
		g.revoked = true
		return nil, want, invalidGrant("refresh_token was used before; its family is revoked")
	}
	want.scope = g.scope
	if c.form.Has("scope") {
		want.scope = strings.Fields(c.form.Get("scope"))
		for _, s := range want.scope {
			if !has(g.scope, s) {
				return nil, want, &oauthError{Code: "invalid_scope", Description: "more than was granted"}
			}
		}
	}
	var err *oauthError
	if want.audience, err = narrow(c, g); err != nil {
		return nil, want, err
	}
	if !used && !p.o.KeepRefreshTokens {
		found.usedAt = c.now
	}
	return g, want, nil
}

// narrow reads the resources of a token request: some of those granted, or all
// of them (RFC 8707, 2.2).
func narrow(c *call, g *grant) ([]string, *oauthError) {
	asked := slices.Concat(c.form["resource"], c.form["audience"])
	for _, a := range asked {
		if !has(g.audience, a) {
			return nil, &oauthError{Code: "invalid_target", Description: "that resource was not granted"}
		}
	}
	if len(asked) == 0 {
		return g.audience, nil
	}
	return slices.Compact(slices.Sorted(slices.Values(asked))), nil
}

// machine is the client_credentials grant (RFC 6749, 4.4): no user, no ID token
// and no refresh token.
func (p *Provider) machine(c *call, client *registered, jkt string) (any, *oauthError) {
	if err := p.bind(client, jkt, ""); err != nil {
		return nil, err
	}
	scope := strings.Fields(c.form.Get("scope"))
	if len(scope) == 0 {
		scope = client.Scopes
	}
	for _, s := range scope {
		if !has(client.Scopes, s) || s == "openid" || s == "offline_access" {
			return nil, &oauthError{Code: "invalid_scope", Description: "this client may not have that scope"}
		}
	}
	to, err := p.audienceFor(client, c.form)
	if err != nil {
		return nil, err
	}
	g := &grant{client: client.ID, scope: scope, audience: to, expires: c.now.Add(p.o.AccessTokenLifetime)}
	return p.issue(c, client, g, issuing{kind: GrantClientCredentials, scope: scope, audience: to, jkt: jkt})
}

// issuing says what one token response is to hold.
type issuing struct {
	kind     string
	scope    []string
	audience []string
	nonce    string
	jkt      string // of the key that the access token is bound to; empty: none
	refresh  bool
}

func (p *Provider) issue(c *call, client *registered, g *grant, want issuing) (any, *oauthError) {
	access, err := p.mintAccess(c, client, g, want)
	if err != nil {
		return nil, err
	}
	out := map[string]any{
		"access_token": access,
		"token_type":   "Bearer",
		"expires_in":   int(p.o.AccessTokenLifetime / time.Second),
		"scope":        strings.Join(want.scope, " "),
	}
	if want.jkt != "" {
		out["token_type"] = "DPoP"
	}
	if want.refresh {
		value := random()
		p.mu.Lock()
		p.state.refresh.put(digest(value), &refreshToken{grant: g}, c.now, g.expires)
		p.mu.Unlock()
		out["refresh_token"] = value
	}
	if g.user != nil && has(want.scope, "openid") {
		if out["id_token"], err = p.mintID(c, g, want, access); err != nil {
			return nil, err
		}
	}
	return out, nil
}
