package idp

import (
	"crypto/sha256"
	"maps"
	"net/http"
	"strings"
)

func (p *Provider) sign(t *JWT) (string, *oauthError) {
	token, err := p.Sign(t.Header, t.Claims)
	if err != nil { // only a hook can cause it
		return "", &oauthError{Status: http.StatusInternalServerError, Code: "server_error", Description: err.Error()}
	}
	return token, nil
}

// mintAccess makes an access token in the form of RFC 9068, or an opaque one,
// and remembers it for introspection.
func (p *Provider) mintAccess(c *call, client *registered, g *grant, want issuing) (string, *oauthError) {
	rec := &accessToken{
		grant: g, scope: want.scope, audience: want.audience, jkt: want.jkt, jti: random(),
		issued: c.now, expires: c.now.Add(p.o.AccessTokenLifetime),
	}
	token := "opaque-" + random()
	if !client.OpaqueAccessTokens {
		claims := p.describe(rec)
		delete(claims, "username")
		delete(claims, "token_type")
		t := &JWT{ClientID: client.ID, Grant: want.kind, Header: map[string]any{"typ": "at+jwt"}, Claims: claims}
		if h := c.hooks.AccessToken; h != nil {
			h(t)
		}
		var err *oauthError
		if token, err = p.sign(t); err != nil {
			return "", err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.access.put(digest(token), rec, c.now, rec.expires)
	return token, nil
}

// describe says what an access token stands for: the claims of RFC 9068, 2.2
// and of RFC 7662, 2.2, which mean the same by the same names.
func (p *Provider) describe(t *accessToken) map[string]any {
	g := t.grant
	m := map[string]any{
		"iss": p.o.Issuer, "sub": g.client, "client_id": g.client, "aud": oneOrMany(t.audience),
		"exp": t.expires.Unix(), "iat": t.issued.Unix(), "jti": t.jti, "token_type": "Bearer",
	}
	if t.jkt != "" { // RFC 9449, 6
		m["token_type"], m["cnf"] = "DPoP", map[string]any{"jkt": t.jkt}
	}
	if len(t.scope) > 0 {
		m["scope"] = strings.Join(t.scope, " ")
	}
	if g.user != nil {
		m["sub"], m["username"], m["auth_time"] = g.user.Subject, g.user.Username, g.authTime.Unix()
		m["sid"] = g.session.sid
		if len(g.user.Roles) > 0 {
			m["roles"] = g.user.Roles
		}
	}
	return m
}

// oneOrMany writes a single audience as a string, the form that every verifier
// has met.
func oneOrMany(list []string) any {
	if len(list) == 1 {
		return list[0]
	}
	return list
}

// mintID makes an ID token (OpenID Connect Core, 2). After a refresh it has the
// first sign-in's auth_time and no nonce (12.2).
func (p *Provider) mintID(c *call, g *grant, want issuing, access string) (string, *oauthError) {
	half := sha256.Sum256([]byte(access))
	claims := map[string]any{
		"iss": p.o.Issuer, "sub": g.user.Subject, "aud": g.client,
		"exp": c.now.Add(p.o.IDTokenLifetime).Unix(), "iat": c.now.Unix(), "auth_time": g.authTime.Unix(),
		"sid": g.session.sid, "at_hash": b64(half[:16]),
		"acr": demoACR, "amr": []string{passwordAMR},
	}
	if want.nonce != "" {
		claims["nonce"] = want.nonce
	}
	if p.o.ClaimsInIDToken {
		maps.Copy(claims, userClaims(g.user, want.scope))
	}
	t := &JWT{ClientID: g.client, Grant: want.kind, Header: map[string]any{"typ": "JWT"}, Claims: claims}
	if h := c.hooks.IDToken; h != nil {
		h(t)
	}
	token, err := p.sign(t)
	if err != nil {
		return "", err
	}
	if h := c.hooks.SerializedIDToken; h != nil {
		token = h(token)
	}
	return token, nil
}

// userClaims are the claims that the scopes ask for (OpenID Connect Core, 5.4).
func userClaims(u *User, scope []string) map[string]any {
	m := map[string]any{}
	maps.Copy(m, u.Claims)
	if has(scope, "profile") {
		m["preferred_username"] = u.Username
		if u.Name != "" {
			m["name"] = u.Name
		}
		if len(u.Roles) > 0 {
			m["roles"] = u.Roles
		}
	}
	if has(scope, "email") && u.Email != "" {
		m["email"], m["email_verified"] = u.Email, u.EmailVerified
	}
	m["sub"] = u.Subject
	return m
}
