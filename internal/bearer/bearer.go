package bearer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"keyway/internal/jwks"
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
	// Asker tells apart what answers rest on, beside issuer and token: as whom the
	// provider is asked, where, and in which form. An answer to one is none to
	// another.
	Asker string
	// NotOpaque: tokens that do not say whose they are, are not shown to the provider.
	NotOpaque bool
	// Roles and Permissions say in which claims those are.
	Roles, Permissions []Claim
}

// Need is what a route asks of a token, beyond what its entry does. The zero Need
// is any token of any entry. An entry that IdPs does not name, or none of whose
// audiences is in Audience, is not asked about the token, nor shown it.
type Need struct {
	Audience []string // one of them; empty: one of its entry's
	Scopes   []string // all of them (RFC 6750 section 3.1: insufficient_scope)
	IdPs     []string // names of entries; empty: any
	// NotAsked: no provider is asked about a token whose answer is not remembered. It
	// is refused then, unless keys prove it.
	NotAsked bool
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
// *problem.Error: 400, 401 or 403, always with a [RefusedError], or 502 or 503
// when it can't be known.
func (a *Authenticator) Authenticate(ctx context.Context, authorization []string, need Need) (principal.Principal, secret.Value, error) {
	token, err := fromHeaders(authorization)
	if err != nil {
		return principal.Principal{}, secret.Value{}, err
	}
	var who principal.Principal
	kind := "opaque"
	if p, isJWT := peek(token); isJWT {
		kind = "jwt"
		who, err = a.jwt(ctx, token, p, &need)
	} else {
		who, err = a.opaque(ctx, token, &need)
	}
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

// Issuers are those whose tokens can be good for a need, in the order of the
// entries, each once.
func (a *Authenticator) Issuers(need Need) []string {
	var issuers []string
	for i := range a.entries {
		if e := &a.entries[i]; need.accepts(&e.Entry) && !slices.Contains(issuers, e.Issuer) {
			issuers = append(issuers, e.Issuer)
		}
	}
	return issuers
}

// jwt goes by what a token says of itself, to find who can prove it.
func (a *Authenticator) jwt(ctx context.Context, token string, p peeked, need *Need) (principal.Principal, error) {
	for i := range a.entries {
		e := &a.entries[i]
		if e.Issuer != p.issuer || !need.accepts(&e.Entry) {
			continue
		}
		ours := need.isFor(&e.Entry, p.audience)
		switch {
		case e.Keys != nil && p.accessToken:
			if ours {
				return a.verify(ctx, e, token, need)
			}
		case p.other:
			return principal.Principal{}, refused("it is another kind of token")
		case e.Introspect != nil && (ours || len(p.audience) == 0):
			who, _, err := a.introspect(ctx, e, token, need)
			return who, err
		case ours:
			return principal.Principal{}, refused("typ: expected at+jwt (RFC 9068 section 4), and entry %s has no introspection", e.Name)
		}
	}
	return principal.Principal{}, refused("no entry that is accepted here has its issuer and audience")
}

// verify proves a JWT access token by the provider's keys, the cheap checks first.
func (a *Authenticator) verify(ctx context.Context, e *entry, token string, need *Need) (principal.Principal, error) {
	parsed, err := jwks.Parse(token, e.Algorithms)
	if err != nil {
		return principal.Principal{}, refused("%w", err)
	}
	// Its scopes are looked at only when it is proved: what a stranger wrote is
	// not worth the answer that it lacks something.
	unproved, err := readClaims(parsed.Unproved())
	if err != nil {
		return principal.Principal{}, refused("%w", err)
	}
	if err := unproved.check(e, need, true, a.o.Now()); err != nil {
		return principal.Principal{}, refused("%w", err)
	}
	payload, err := e.Keys.Check(ctx, parsed)
	switch {
	case errors.Is(err, jwks.ErrSignature), errors.Is(err, jwks.ErrUnknownKey):
		return principal.Principal{}, refused("%w", err)
	case err != nil:
		e := problem.New(problem.IdPUnavailable, err)
		if early, ok := errors.AsType[*jwks.CoolDownError](err); ok {
			e.RetryAfter = early.Wait
		}
		return principal.Principal{}, e
	}
	c, err := readClaims(payload)
	if err != nil {
		return principal.Principal{}, refused("%w", err)
	}
	return c.accept(e, need, true, a.o.Now())
}

// opaque asks those whose tokens the route accepts and who allow it, one after
// the other, until one knows the token. From then on it is nobody else's: only
// another entry of the same issuer may still be the one that it is for.
func (a *Authenticator) opaque(ctx context.Context, token string, need *Need) (principal.Principal, error) {
	var unknown, refusal error
	var issuer string // whose it is
	asked := false
	for i := range a.entries {
		e := &a.entries[i]
		if e.Introspect == nil || e.NotOpaque || !need.accepts(&e.Entry) || issuer != "" && e.Issuer != issuer {
			continue
		}
		asked = true
		who, active, err := a.introspect(ctx, e, token, need)
		if err == nil {
			return who, nil
		}
		switch code := problem.CodeOf(err); {
		case code.Status() >= 500:
			unknown = err // another may know it; if none does, nobody can say that it is bad
		case code == problem.InsufficientScope:
			return principal.Principal{}, err // it is for us, and that is all it is good for
		case active:
			issuer, refusal = e.Issuer, err
		}
	}
	switch {
	case unknown != nil:
		return principal.Principal{}, unknown
	case refusal != nil:
		return principal.Principal{}, refusal
	}
	if !asked {
		return principal.Principal{}, refused("it is no JWT access token, and no entry that is accepted here is asked about others (client_id, opaque_tokens)")
	}
	return principal.Principal{}, refused("no entry that is asked knows it")
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
