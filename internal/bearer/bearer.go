package bearer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"keyway/internal/jwks"
	"keyway/internal/oidc"
	"keyway/internal/principal"
	"keyway/internal/problem"
	"keyway/internal/seal"
	"keyway/internal/secret"
)

// Entry is one provider whose tokens are accepted.
type Entry struct {
	Name     string // in messages; unique
	Provider string // alias in identities
	Issuer   string // compared as a string (RFC 9068 section 4)
	// Audience are those that a token may be for; one of them must be in it. At
	// least one is needed: a token for somebody else's service is of no use here.
	Audience []string
	// Keys verify JWT access tokens; nil: they are introspected.
	Keys *jwks.Remote
	// Algorithms may sign them; empty means ES256, PS256, RS256 and EdDSA.
	Algorithms []string
	// Introspect asks the provider about a token, and returns the body of its
	// answer with status 200; nil: it is not asked. See [Introspection].
	Introspect func(ctx context.Context, token secret.Value) ([]byte, error)
	// Roles and Permissions say in which claims those are.
	Roles, Permissions []Claim
}

// Need is what a route asks of a token, beyond what its entry does. The zero Need
// is any token of any entry.
type Need struct {
	Audience []string // one of them; empty: one of its entry's
	Scopes   []string // all of them (RFC 6750 section 3.1: insufficient_scope)
	Entries  []string // names; empty: any
}

// Outcomes of [Options.Observe].
const (
	Accepted    = "accepted"
	Refused     = "refused"
	Unavailable = "unavailable"
)

// Options are what an Authenticator is built from. Entries, Salt and Cache are
// needed.
type Options struct {
	Entries []Entry
	// Salt hashes tokens, to find what was answered about them.
	Salt *seal.Hasher
	// Cache outlives generations.
	Cache *Cache
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Observe is told the outcome for each token, by its kind: jwt or opaque. nil:
	// nobody is.
	Observe func(kind, outcome string)
}

// Authenticator says whose a token is. It is built with each generation of keys,
// immutable, and safe for concurrent use.
type Authenticator struct {
	o       Options
	entries []entry
}

// New checks the options. It asks nobody.
func New(o Options) (*Authenticator, error) {
	if o.Salt == nil || o.Cache == nil {
		return nil, errors.New("bearer: expected a salt and a cache, found one or none")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Observe == nil {
		o.Observe = func(string, string) {}
	}
	a := &Authenticator{o: o}
	names := map[string]bool{}
	for _, e := range o.Entries {
		switch {
		case e.Name == "" || names[e.Name]:
			return nil, fmt.Errorf("bearer: expected entries with names of their own, found %q twice or empty", e.Name)
		case e.Issuer == "" || len(e.Audience) == 0 || slices.Contains(e.Audience, ""):
			return nil, fmt.Errorf("bearer: entry %s: expected an issuer and at least one audience", e.Name)
		case e.Keys == nil && e.Introspect == nil:
			return nil, fmt.Errorf("bearer: entry %s: expected keys or introspection, found neither", e.Name)
		}
		names[e.Name] = true
		if len(e.Algorithms) == 0 {
			e.Algorithms = []string{jwks.ES256, jwks.PS256, jwks.RS256, jwks.EdDSA}
		}
		a.entries = append(a.entries, entry{Entry: e, asking: o.Cache.asking(e.Name)})
	}
	return a, nil
}

// Authenticate says who presents a token, given all Authorization headers of a
// request. The token is returned with it, for who passes it on. The error is a
// *problem.Error: 400 or 401, always with a [RefusedError], or 502 or 503 when
// it can't be known.
func (a *Authenticator) Authenticate(ctx context.Context, authorization []string, need Need) (principal.Principal, secret.Value, error) {
	token, err := fromHeaders(authorization)
	if err != nil {
		return principal.Principal{}, secret.Value{}, err
	}
	kind, authenticate := "opaque", a.opaque
	p, isJWT := peek(token)
	if isJWT {
		kind, authenticate = "jwt", func(ctx context.Context, token string) (principal.Principal, error) {
			return a.jwt(ctx, token, p)
		}
	}
	who, err := authenticate(ctx, token)
	switch code := problem.CodeOf(err); {
	case err == nil:
		a.o.Observe(kind, Accepted)
	case code.Status() < 500:
		a.o.Observe(kind, Refused)
	default:
		a.o.Observe(kind, Unavailable)
	}
	if err != nil {
		return principal.Principal{}, secret.Value{}, err
	}
	return who, secret.NewValue([]byte(token)), nil
}

// jwt goes by what a token says of itself, to find who can prove it.
func (a *Authenticator) jwt(ctx context.Context, token string, p peeked) (principal.Principal, error) {
	for i := range a.entries {
		e := &a.entries[i]
		if e.Issuer != p.issuer {
			continue
		}
		ours := overlap(e.Audience, p.audience)
		switch {
		case e.Keys != nil && p.accessToken:
			if ours {
				return a.verify(ctx, e, token)
			}
		case p.other:
			return principal.Principal{}, refused("it is another kind of token")
		case e.Introspect != nil && (ours || len(p.audience) == 0):
			return a.introspect(ctx, e, token)
		case ours:
			return principal.Principal{}, refused("typ: expected at+jwt (RFC 9068 section 4), and entry %s has no introspection", e.Name)
		}
	}
	return principal.Principal{}, refused("no entry has its issuer and audience")
}

// verify proves a JWT access token by the provider's keys, the cheap checks first.
func (a *Authenticator) verify(ctx context.Context, e *entry, token string) (principal.Principal, error) {
	parsed, err := jwks.Parse(token, e.Algorithms)
	if err != nil {
		return principal.Principal{}, refused("%w", err)
	}
	if _, err := a.accept(e, parsed.Unproved(), true); err != nil {
		return principal.Principal{}, err
	}
	payload, err := e.Keys.Check(ctx, parsed)
	switch {
	case errors.Is(err, jwks.ErrSignature), errors.Is(err, jwks.ErrUnknownKey):
		return principal.Principal{}, refused("%w", err)
	case err != nil:
		return principal.Principal{}, problem.New(problem.IdPUnavailable, err)
	}
	return a.accept(e, payload, true)
}

// accept reads a JWT's payload, and makes a principal of it.
func (a *Authenticator) accept(e *entry, payload []byte, proved bool) (principal.Principal, error) {
	c, err := readClaims(payload)
	if err != nil {
		return principal.Principal{}, refused("%w", err)
	}
	if err := c.check(e, proved, a.o.Now()); err != nil {
		return principal.Principal{}, refused("%w", err)
	}
	return c.principal(e), nil
}

// opaque asks those who allow it, one after the other.
func (a *Authenticator) opaque(ctx context.Context, token string) (principal.Principal, error) {
	var unknown error
	for i := range a.entries {
		e := &a.entries[i]
		if e.Introspect == nil {
			continue
		}
		who, err := a.introspect(ctx, e, token)
		if err == nil {
			return who, nil
		}
		if problem.CodeOf(err).Status() >= 500 {
			unknown = err // another may know it; if none does, nobody can say that it is bad
		}
	}
	if unknown != nil {
		return principal.Principal{}, unknown
	}
	return principal.Principal{}, refused("no entry that is asked knows it")
}

// Introspection asks a provider through a client of ours, whose other live
// credentials are tried when one is refused.
func Introspection(p *oidc.Provider, c *oidc.Client) func(context.Context, secret.Value) ([]byte, error) {
	return func(ctx context.Context, token secret.Value) ([]byte, error) {
		m, err := p.Metadata(ctx)
		if err != nil {
			return nil, err
		}
		if m.IntrospectionEndpoint == "" {
			return nil, oidc.ErrNotOffered
		}
		answer, err := c.Post(ctx, m, "introspection", m.IntrospectionEndpoint, map[string][]string{
			"token": {string(token.Reveal())}, "token_type_hint": {"access_token"},
		}, maxAnswer)
		switch {
		case err != nil:
			return nil, err
		case answer.Status != 200:
			return nil, fmt.Errorf("%w: introspection endpoint: expected status 200, found %d", oidc.ErrAnswer, answer.Status)
		}
		return answer.Body, nil
	}
}

// fromHeaders finds the token (RFC 6750 section 2.1).
func fromHeaders(authorization []string) (string, error) {
	switch {
	case len(authorization) == 0:
		// No error code for who may not know that a token is needed (section 3.1).
		return "", refuse(problem.Unauthenticated, "", "there is no Authorization header")
	case len(authorization) > 1:
		return "", refuse(problem.BadRequest, "invalid_request", "expected one Authorization header, found %d", len(authorization))
	}
	scheme, token, _ := strings.Cut(authorization[0], " ")
	if !strings.EqualFold(scheme, "Bearer") { // RFC 9110 section 11.1
		return "", refuse(problem.Unauthenticated, "", "expected the scheme Bearer, found another")
	}
	token = strings.TrimLeft(token, " ")
	if len(token) > jwks.MaxTokenBytes || !isB64Token(token) {
		return "", refuse(problem.BadRequest, "invalid_request", "expected a token by the syntax of RFC 6750, found something else")
	}
	return token, nil
}

// isB64Token is the syntax of RFC 6750 section 2.1.
func isB64Token(s string) bool {
	body := strings.TrimRight(s, "=")
	if body == "" {
		return false
	}
	for i := range len(body) {
		c := body[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && !('0' <= c && c <= '9') && strings.IndexByte("-._~+/", c) < 0 {
			return false
		}
	}
	return true
}
