package idp

import (
	"net/http"
	"strings"
)

const requestURIPrefix = "urn:ietf:params:oauth:request_uri:"

// par takes a pushed authorization request (RFC 9126).
func (p *Provider) par(c *call) {
	v, err := p.push(c)
	c.send(c.answer(http.StatusCreated, v, err), c.hooks.PAR)
}

func (p *Provider) push(c *call) (any, *oauthError) {
	client, err := p.authenticate(c)
	if err != nil {
		return nil, err
	}
	if c.form.Has("request_uri") { // RFC 9126, 2.1
		return nil, invalidRequest("request_uri must not be pushed")
	}
	if id := c.form.Get("client_id"); id != "" && id != client.ID {
		return nil, invalidRequest("client_id is not the client that authenticated")
	}
	jkt, err := p.proven(c, "")
	if err != nil {
		return nil, err
	}
	v, err := p.unwrapped(c, client, c.form)
	if err != nil {
		return nil, err
	}
	to, err := resolveReply(client, v)
	if err != nil {
		return nil, err
	}
	req, err := p.readRequest(client, v, to)
	if err != nil {
		return nil, err
	}
	if req.jkt, err = boundAt(jkt, v); err != nil {
		return nil, err
	}
	uri := requestURIPrefix + random()
	p.mu.Lock()
	ok := p.state.pushed.put(digest(uri), req, c.now, c.now.Add(p.o.RequestLifetime))
	p.mu.Unlock()
	if !ok {
		// Refuse the newest, not the oldest: a flood must not cost those who
		// came before it their sign-in (RFC 9126, 2.3).
		return nil, &oauthError{Status: http.StatusTooManyRequests, Code: "temporarily_unavailable",
			Description: "too many pushed requests are open"}
	}
	return map[string]any{
		"request_uri": uri,
		"expires_in":  int(p.o.RequestLifetime.Seconds()),
	}, nil
}

// pulled redeems a request_uri. It works once, and only for the client that
// pushed it (RFC 9126, 2.2 and 4); another client's attempt does not use it up.
func (p *Provider) pulled(c *call, clientID, uri string) (*authRequest, *oauthError) {
	if !strings.HasPrefix(uri, requestURIPrefix) {
		return nil, &oauthError{Code: "request_uri_not_supported",
			Description: "only a request_uri from the pushed authorization request endpoint is taken"}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	req, ok := p.state.pushed.get(digest(uri), c.now)
	if !ok || req.client != clientID {
		return nil, &oauthError{Code: "invalid_request_uri", Description: "request_uri is unknown, expired or used"}
	}
	p.state.pushed.delete(digest(uri))
	return req, nil
}
