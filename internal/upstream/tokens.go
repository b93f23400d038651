package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"keyway/internal/dpop"
	"keyway/internal/problem"
	"keyway/internal/secret"
)

// TokenMode is what a route's token_policy.mode says.
type TokenMode int

// The modes. The zero mode sends no Authorization.
const (
	NoToken      TokenMode = iota // "none"
	Passthrough                   // "session_passthrough": the caller's own access token
	ServiceToken                  // "service_token": client credentials
)

// TokenPolicy is a route's token_policy, made ready once. It is immutable.
type TokenPolicy struct {
	mode     TokenMode
	audience string
	scopes   []string
	key      string
}

// NewTokenPolicy makes a policy; audience and scopes count for ServiceToken only.
// The order of scopes, and repetitions, do not matter (RFC 6749 section 3.3).
func NewTokenPolicy(mode TokenMode, audience string, scopes []string) *TokenPolicy {
	p := &TokenPolicy{mode: mode}
	if mode == ServiceToken {
		p.audience = audience
		p.scopes = slices.Compact(slices.Sorted(slices.Values(scopes)))
		p.key = joinKey(append([]string{audience}, p.scopes...)...)
	}
	return p
}

// Mode is the policy's mode; that of a nil policy is NoToken.
func (p *TokenPolicy) Mode() TokenMode {
	if p == nil {
		return NoToken
	}
	return p.mode
}

// Audience is what the service token is for, Scopes what it may do. The slice is
// not to be changed.
func (p *TokenPolicy) Audience() string { return p.audience }

// Scopes are the scopes, sorted.
func (p *TokenPolicy) Scopes() []string { return p.scopes }

// joinKey makes one string of several, such that no two lists make the same one:
// each part goes behind its length.
func joinKey(parts ...string) string {
	var b strings.Builder
	for _, part := range parts {
		b.WriteString(strconv.Itoa(len(part)))
		b.WriteByte(':')
		b.WriteString(part)
	}
	return b.String()
}

// Token is an access token. Key is the version of the key that it is bound to (RFC
// 9449); empty: it is a bearer token.
type Token struct {
	Value secret.Value
	Key   string
}

// TokenSource has service tokens. [ServiceTokens.For] is one.
type TokenSource interface {
	// Token returns a token that has not expired, from memory if possible.
	Token(ctx context.Context, policy *TokenPolicy) (Token, error)
	// Reject says that an upstream refused the token; if it is the one in use the
	// next call fetches a new one.
	Reject(policy *TokenPolicy, token secret.Value)
}

const bearer = "Bearer "

var (
	errNoAccessToken = errors.New("the route passes the caller's access token on, and there is none")
	errNoTokenSource = errors.New("the route wants a service token, and no source of them is configured")
	errTokenBytes    = errors.New("the access token holds bytes that RFC 6750 section 2.1 does not allow")
)

// authorization is the value of the upstream's Authorization header, and the token in
// it; both empty when there is to be none. It fails closed: a policy that can't be
// fulfilled never sends less than it says.
func (p *Proxy) authorization(ctx context.Context, req *Request) (string, Token, error) {
	refused := func(err error) (string, Token, error) {
		return "", Token{}, problem.New(problem.UpstreamAuthFailed, err)
	}
	var token Token
	switch req.Token.Mode() {
	case NoToken:
		return "", token, nil
	case Passthrough:
		if token = (Token{req.AccessToken, req.AccessKey}); token.Value.IsZero() {
			return refused(errNoAccessToken)
		}
	case ServiceToken:
		if p.tokens == nil {
			return refused(errNoTokenSource)
		}
		var err error
		if token, err = p.tokens.Token(ctx, req.Token); err != nil {
			if ctx.Err() != nil {
				return "", token, kindOf(ctx, nil, "the token endpoint", err)
			}
			return refused(fmt.Errorf("service token for audience %q: %w", req.Token.audience, err))
		}
		if token.Value.IsZero() {
			return refused(errors.New("the service token is empty"))
		}
	default:
		return refused(fmt.Errorf("token policy mode %d is unknown", req.Token.mode))
	}
	raw := token.Value.Reveal()
	for _, c := range raw {
		if c-'!' > '~'-'!' { // one comparison for each of a kilobyte
			return refused(errTokenBytes)
		}
	}
	scheme := bearer
	if token.Key != "" {
		if req.Proofs == nil || !req.Proofs.Has(token.Key) {
			if req.Token.Mode() == ServiceToken {
				p.tokens.Reject(req.Token, token.Value) // the next is bound to a key that is there
			}
			return refused(dpop.ErrNoKey)
		}
		scheme = dpop.Scheme + " "
	}
	var value strings.Builder // a token is copied once: many are of a kilobyte or more
	value.Grow(len(scheme) + len(raw))
	value.WriteString(scheme)
	value.Write(raw)
	return value.String(), token, nil
}
