package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Post sends a form to one of the provider's endpoints (its name is for metrics
// and errors), authenticated with the active credential, and reads at most most
// bytes of the answer. When the provider answers invalid_client, the other live
// credentials are tried, each once: during a rotation either may be the one
// that it knows. So they are after a 401 that says nothing, which counts against none
// of them. An answer with status 400 or above is returned as an error:
// *UnavailableError, *OAuthError, or ErrAnswer.
//
// When all are refused, somebody may have changed the credential here and there a
// moment ago: what is new since is looked for once, and tried.
func (c *Client) Post(ctx context.Context, m *Metadata, endpoint, address string, form url.Values, most int64, options ...PostOption) (Answer, error) {
	return c.post(ctx, posting{metadata: m, endpoint: endpoint, address: address, form: form, most: most, options: options})
}

// posting is what is sent to an endpoint, with whichever credential.
type posting struct {
	metadata *Metadata
	endpoint string // its name, for metrics and errors
	address  string
	form     url.Values
	most     int64  // bytes of the answer
	key      string // version of the key that is proved; empty: none is
	options  []PostOption
}

// post is Post.
func (c *Client) post(ctx context.Context, p posting) (Answer, error) {
	tried := map[string]bool{}
	answer, refused := c.try(ctx, p, tried)
	if c.newer == nil || !isInvalidClient(refused) {
		return answer, refused
	}
	newer := c.newer(ctx)
	if newer == nil || newer == c {
		return answer, refused
	}
	known := len(tried)
	again, err := newer.try(ctx, p, tried)
	if len(tried) == known {
		return answer, refused // nothing was new
	}
	return again, err
}

// PostOption changes a request of [Client.Post], each attempt anew.
type PostOption func(*http.Request)

// Accept is the media types that are understood as an answer (RFC 9110 section
// 12.5.1), instead of application/json. An error stays JSON.
func Accept(types string) PostOption {
	return func(r *http.Request) { r.Header.Set("Accept", types) }
}

// try sends it with the credentials that were not tried yet.
func (c *Client) try(ctx context.Context, p posting, tried map[string]bool) (Answer, error) {
	method := c.Method(p.metadata)
	refused := fmt.Errorf("%w: there is no credential for %s", ErrClientRefused, method)
	attempts := 0
	for _, credential := range c.credentials(method) {
		if tried[credential.version] {
			continue
		}
		if attempts++; attempts > maxAttempts {
			break
		}
		tried[credential.version] = true
		answer, sent, err := c.attempt(ctx, p, method, credential)
		if err != nil {
			return Answer{}, err
		}
		err = answer.oauthError(p.endpoint, sent...)
		var oauth *OAuthError
		switch {
		case errors.As(err, &oauth) && oauth.Code == "invalid_client":
			c.call.observer.ClientAuth(c.call.name, credential.version, Refused)
			if attempts == 1 {
				refused = err // the active one's refusal is the one to report
			}
			continue
		case errors.Is(err, errUnexplained):
			if attempts == 1 {
				refused = err
			}
			continue // the others may do better; nobody is accused
		case err == nil || oauth != nil: // an error of another kind comes after authentication
			c.call.observer.ClientAuth(c.call.name, credential.version, Accepted)
		}
		return answer, err
	}
	return Answer{}, refused
}

// request builds one attempt. sent are the values that must not come back in an
// error.
func (c *Client) request(p posting, method string, with credential) (*http.Request, []string, error) {
	body := make(url.Values, len(p.form)+4)
	var sent []string
	for name, values := range p.form {
		body[name] = values
		if hidden[name] {
			sent = append(sent, values...)
		}
	}
	var basic string
	switch method {
	case PrivateKeyJWT:
		assertion, err := c.assertion(with.signer, p.metadata, time.Now())
		if err != nil {
			return nil, nil, err
		}
		body.Set("client_id", c.id)
		body.Set("client_assertion_type", assertionType)
		body.Set("client_assertion", assertion)
		sent = append(sent, assertion)
	case ClientSecretPost:
		body.Set("client_id", c.id)
		body.Set("client_secret", string(with.secret.Reveal()))
		sent = append(sent, string(with.secret.Reveal()))
	default:
		basic = string(with.secret.Reveal())
		sent = append(sent, basic)
	}
	request, err := http.NewRequest(http.MethodPost, p.address, strings.NewReader(body.Encode()))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: an endpoint is no URL", ErrMetadata)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if basic != "" {
		// Both parts are form-urlencoded first (RFC 6749 section 2.3.1), so that
		// a colon or a percent sign in them arrives as it is.
		request.SetBasicAuth(url.QueryEscape(c.id), url.QueryEscape(basic))
		_, encoded, _ := strings.Cut(request.Header.Get("Authorization"), " ")
		sent = append(sent, encoded)
	}
	return request, sent, nil
}

// hidden are parameters whose values no error may show.
var hidden = map[string]bool{
	"code": true, "code_verifier": true, "refresh_token": true, "token": true,
	"state": true, "nonce": true, "request": true, "subject_token": true, "actor_token": true,
}
