package idp

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/url"
)

func digests(secrets []string) [][]byte {
	var out [][]byte
	for _, s := range secrets {
		sum := sha256.Sum256([]byte(s))
		out = append(out, sum[:])
	}
	return out
}

// goodSecret compares with every live secret, in a time that depends on their
// number only.
func (c *registered) goodSecret(secret string) bool {
	sum := sha256.Sum256([]byte(secret))
	good := 0
	for _, d := range c.secrets {
		good |= subtle.ConstantTimeCompare(sum[:], d)
	}
	return good == 1 && secret != ""
}

// invalidClient never says which part was wrong.
func invalidClient() *oauthError {
	return &oauthError{Status: http.StatusUnauthorized, Code: "invalid_client", Description: "client authentication failed"}
}

// authenticate finds out which client calls, by the one method that it used
// (RFC 6749, 2.3 forbids two in one request).
func (p *Provider) authenticate(c *call) (*registered, *oauthError) {
	if name := repeated(c.form); name != "" {
		return nil, invalidRequest("parameter " + cut(name) + " is there twice")
	}
	for _, name := range []string{"client_secret", "client_assertion"} {
		if c.query.Has(name) { // RFC 6749, 2.3.1: never in the URI
			return nil, invalidRequest(name + " must not be in the URI")
		}
	}
	header := c.r.Header.Values("Authorization")
	assertion := c.form.Has("client_assertion") || c.form.Has("client_assertion_type")
	var used []string
	if len(header) > 0 {
		used = append(used, AuthSecretBasic)
	}
	if c.form.Has("client_secret") {
		used = append(used, AuthSecretPost)
	}
	if assertion {
		used = append(used, AuthPrivateKeyJWT)
	}
	if len(used) > 1 || len(header) > 1 {
		return nil, invalidRequest("more than one client authentication in one request")
	}
	if len(used) == 0 {
		return nil, p.refused(c, "", invalidClient())
	}
	method := used[0]
	p.seen.note(func() { c.seen.AuthMethod = method })

	if method == AuthPrivateKeyJWT {
		client, err := p.byAssertion(c)
		if err != nil {
			return nil, p.refused(c, c.seen.ClientID, err)
		}
		return client, nil
	}
	id, secret := c.form.Get("client_id"), c.form.Get("client_secret")
	if method == AuthSecretBasic {
		var ok bool
		if id, secret, ok = basic(c.r); !ok {
			return nil, p.refused(c, "", invalidClient())
		}
		if v := c.form.Get("client_id"); v != "" && v != id {
			return nil, invalidRequest("client_id is not the one of the Authorization header")
		}
	}
	p.seen.note(func() { c.seen.ClientID = cut(id) })
	client := p.client(id)
	if client == nil {
		// Compare all the same, so that the time does not list our clients.
		(&registered{secrets: [][]byte{make([]byte, sha256.Size)}}).goodSecret(secret)
		return nil, p.refused(c, "", invalidClient())
	}
	if !client.goodSecret(secret) || !has(client.AuthMethods, method) {
		return nil, p.refused(c, id, invalidClient())
	}
	return client, nil
}

// refused counts a failed authentication; ids that are not registered share one
// counter, or a stranger could fill the map.
func (p *Provider) refused(c *call, id string, err *oauthError) *oauthError {
	if p.client(id) == nil {
		id = ""
	}
	p.seen.note(func() { p.seen.refused[id]++ })
	return err
}

// basic reads client_secret_basic. Both halves are form-encoded first (RFC
// 6749, 2.3.1), which net/http does not know.
func basic(r *http.Request) (id, secret string, ok bool) {
	id, secret, ok = r.BasicAuth()
	if !ok {
		return "", "", false
	}
	id, err1 := url.QueryUnescape(id)
	secret, err2 := url.QueryUnescape(secret)
	return id, secret, err1 == nil && err2 == nil && id != ""
}
