package oidc

import (
	"context"
	"fmt"
	"net/http"

	"keyway/internal/dpop"
	"keyway/internal/jwks"
	"keyway/internal/secret"
)

// binds is the version of the key that a token is to be bound to when it is asked for
// now; empty: tokens are bearer tokens.
func (c *Client) binds() string {
	if c.proofs == nil {
		return ""
	}
	return c.proofs.Active()
}

// attempt sends it with one credential, and with a proof of the key if p names a version
// of it (RFC 9449 section 5 and 10.1). A server that wants a nonce says
// so with the error use_dpop_nonce and gives one (section 8): then it is sent once
// more, with another jti in the proof and in a client assertion. One that goes on
// demanding is answered to by nobody: the error is that of the second answer. sent are
// the values that must not come back in an error.
func (c *Client) attempt(ctx context.Context, p posting, method string, with credential) (answer Answer, sent []string, err error) {
	for again := false; ; again = true {
		request, values, err := c.request(p, method, with)
		if err != nil {
			return Answer{}, nil, err
		}
		for _, change := range p.options {
			change(request)
		}
		if err := c.prove(request, p.key, secret.Value{}); err != nil {
			return Answer{}, nil, err
		}
		answer, err := c.call.do(ctx, p.endpoint, request, p.most)
		if err != nil {
			return Answer{}, nil, err
		}
		if fresh := c.took(request, p.key, answer); again || !fresh || !wantsNonce(answer) {
			return answer, append(sent, values...), nil
		}
		sent = append(sent, values...)
	}
}

// prove adds the proof of a bound token, or for one that is to be.
func (c *Client) prove(request *http.Request, key string, token secret.Value) error {
	if key == "" {
		return nil
	}
	if c.proofs == nil {
		return fmt.Errorf("%w: DPoP is off", dpop.ErrNoKey)
	}
	proof, err := c.proofs.Prove(dpop.Request{Version: key, Method: request.Method, URL: request.URL.String(), Token: token})
	if err != nil {
		return err
	}
	request.Header[dpop.Header] = []string{proof}
	return nil
}

// took keeps the nonce of an answer, whatever the answer is (RFC 9449 section 8.2).
func (c *Client) took(request *http.Request, key string, answer Answer) bool {
	return key != "" && c.proofs.Took(request.URL.String(), answer.Header[dpop.NonceHeader])
}

// wantsNonce: RFC 9449 section 8 has an authorization server say it with status 400;
// some say it with 401.
func wantsNonce(answer Answer) bool {
	if answer.Status != http.StatusBadRequest && answer.Status != http.StatusUnauthorized {
		return false
	}
	var body struct {
		Error string `json:"error"`
	}
	return jwks.DecodeObject(answer.Body, &body) == nil && body.Error == dpop.NonceError
}

// fetch sends a GET with an access token to a resource of the provider's, and once
// more where that wants a nonce.
func (c *Client) fetch(ctx context.Context, endpoint, address string, tokens Tokens, most int64) (Answer, error) {
	for again := false; ; again = true {
		request, err := http.NewRequest(http.MethodGet, address, nil)
		if err != nil {
			return Answer{}, fmt.Errorf("%w: %s_endpoint is no URL", ErrMetadata, endpoint)
		}
		scheme := "Bearer "
		if tokens.Key != "" {
			scheme = dpop.Scheme + " "
		}
		request.Header.Set("Authorization", scheme+string(tokens.AccessToken.Reveal()))
		if err := c.prove(request, tokens.Key, tokens.AccessToken); err != nil {
			return Answer{}, err
		}
		answer, err := c.call.do(ctx, endpoint, request, most)
		if err != nil {
			return Answer{}, err
		}
		if fresh := c.took(request, tokens.Key, answer); again || !fresh || !dpop.WantsNonce(answer.Status, answer.Header) {
			return answer, nil
		}
	}
}
