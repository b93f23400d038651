package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"keyway/internal/jwks"
)

// Verdict is what a provider says of one of our credentials.
type Verdict string

// The verdicts.
const (
	Proved  Verdict = "accepted" // it authenticates us
	Refuted Verdict = "refused"  // it does not
	// Unproved: the provider's answer says neither. Nothing may rest on it.
	Unproved Verdict = "unknown"
)

// ErrNoCredential says that the client has no live credential of that version.
var ErrNoCredential = errors.New("oidc: no live credential of that version")

// Prove asks the provider whether it accepts one version of our credentials,
// before anything depends on it, and without a side effect: it introspects a
// random string, which answers "active": false to a client that authenticates
// (RFC 7662 section 2.2), or, where that is not offered or not for us, redeems a
// random code, which fails with invalid_grant for such a client and with
// invalid_client for any other (RFC 6749 section 5.2).
//
// It is one or two requests. Call it seldom: a refusal looks to the provider
// like somebody who guesses. Errors: ErrNoCredential, and those of the calls;
// *UnavailableError says when to ask again.
func (c *Client) Prove(ctx context.Context, m *Metadata, version string) (Verdict, error) {
	method := c.Method(m)
	credential, ok := c.credential(method, version)
	if !ok {
		return Unproved, fmt.Errorf("%w: %s", ErrNoCredential, version)
	}
	if m.IntrospectionEndpoint != "" {
		answer, err := c.ask(ctx, method, credential, posting{
			metadata: m, endpoint: "introspection", address: m.IntrospectionEndpoint, form: url.Values{"token": {randomText()}},
		})
		if verdict, done := introspected(answer, err); done {
			return c.proved(version, verdict, err)
		}
	}
	_, err := c.ask(ctx, method, credential, posting{
		metadata: m, endpoint: "token", address: m.TokenEndpoint,
		form: url.Values{
			"grant_type": {"authorization_code"}, "code": {randomText()}, "code_verifier": {randomText()},
			"redirect_uri": {"https://invalid.invalid/"},
		},
		key: c.binds(), // or the answer would be about the proof that is missing
	})
	return c.proved(version, redeemed(err), err)
}

// CloseIdle has what is asked next go over a new connection: a provider behind a
// balancer may have another of its nodes answer.
func (c *Client) CloseIdle() { c.call.client.CloseIdleConnections() }

// ask sends one request with one credential; other live ones are not tried.
func (c *Client) ask(ctx context.Context, method string, with credential, p posting) (Answer, error) {
	p.most = maxSmallAnswer
	answer, sent, err := c.attempt(ctx, p, method, with)
	if err != nil {
		return Answer{}, err
	}
	return answer, answer.oauthError(p.endpoint, sent...)
}

// introspected reads what introspecting a random string says. done is false when
// it says nothing of our credential: we may not be allowed to introspect.
func introspected(answer Answer, err error) (verdict Verdict, done bool) {
	switch {
	case isInvalidClient(err):
		return Refuted, true
	case errors.Is(err, ErrUnavailable):
		return Unproved, true
	case err != nil || answer.Status != http.StatusOK:
		return Unproved, false
	}
	var body struct {
		Active *bool `json:"active"`
	}
	// "active": true for a random string is no answer to be believed, and an
	// endpoint that answers strangers proves nothing either, but the standard
	// forbids that (section 4).
	if jwks.DecodeObject(answer.Body, &body) == nil && body.Active != nil && !*body.Active {
		return Proved, true
	}
	return Unproved, false
}

// redeemed reads what redeeming a random code says.
func redeemed(err error) Verdict {
	switch {
	case isInvalidClient(err):
		return Refuted
	case errors.Is(err, ErrGrantGone):
		return Proved
	}
	return Unproved
}

// proved reports a verdict. The errors that carry one are no failures.
func (c *Client) proved(version string, verdict Verdict, err error) (Verdict, error) {
	switch verdict {
	case Proved:
		c.call.observer.ClientAuth(c.call.name, version, Accepted)
		return verdict, nil
	case Refuted:
		c.call.observer.ClientAuth(c.call.name, version, Refused)
		return verdict, nil
	}
	if _, answered := errors.AsType[*OAuthError](err); answered {
		return verdict, nil // it said something, only not about us
	}
	return verdict, err
}

func isInvalidClient(err error) bool {
	refusal, ok := errors.AsType[*OAuthError](err)
	return ok && refusal.Code == "invalid_client"
}

func (c *Client) credential(method, version string) (credential, bool) {
	for _, credential := range c.credentials(method) {
		if credential.version == version {
			return credential, true
		}
	}
	return credential{}, false
}
