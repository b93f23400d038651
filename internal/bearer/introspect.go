package bearer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"keyway/internal/oidc"
	"keyway/internal/principal"
	"keyway/internal/problem"
	"keyway/internal/secret"
)

// Bounds of one question.
const (
	maxAnswer    = 64 << 10
	askFor       = 15 * time.Second // the client's own bounds are tighter
	claimsWeight = 6                // a decoded document's size in memory, in that of its text
)

// entry is an Entry at work.
type entry struct {
	Entry
	asking chan struct{}
}

// introspect says whose a token is by what its provider answers, or answered a
// short while ago, and whether that was that it is active. The error tells 401 and
// 403 (it is not active, or not for us) from 502 and 503 (nobody knows).
func (a *Authenticator) introspect(ctx context.Context, e *entry, token string, need *Need) (who principal.Principal, active bool, err error) {
	found, err := a.answer(ctx, e, token, need)
	switch {
	case err != nil:
		return principal.Principal{}, false, err
	case found.claims == nil:
		return principal.Principal{}, false, refused("entry %s calls it inactive", e.Name)
	}
	// Anew each time: it may have expired since, and who asks may be another route.
	who, err = found.claims.accept(e, need, false, a.o.Now())
	return who, true, err
}

// answer looks under each version of the salt that answers may be found by, so
// that a rotation does not have every token asked about again.
func (a *Authenticator) answer(ctx context.Context, e *entry, token string, need *Need) (*answer, error) {
	active := a.o.Salt.ActiveVersion()
	var mine key
	for i, version := range a.o.Cache.under(active) {
		sum, err := a.o.Salt.Sum(version, []byte(token))
		if err != nil {
			if i == 0 {
				return nil, problem.New(problem.KeysUnavailable, err)
			}
			continue // retired since, or of a generation that is newer than this
		}
		k := key{entry: e.Name, issuer: e.Issuer, asker: e.Asker, version: version, sum: sum}
		if i == 0 {
			mine = k
		}
		if found := a.o.Cache.get(k, a.o.Now()); found != nil {
			if i > 0 {
				a.o.Cache.put(mine, found) // it ends when it would have
			}
			return found, nil
		}
	}
	if need.NotAsked {
		return nil, refused("entry %s is not asked about it", e.Name)
	}
	return a.ask(ctx, e, mine, token)
}

// ask asks once for all who wait. Who goes away first ends nobody's wait but its
// own.
func (a *Authenticator) ask(ctx context.Context, e *entry, k key, token string) (*answer, error) {
	flight := fmt.Sprintf("%q %q %q %q %x", k.entry, k.issuer, k.asker, k.version, k.sum)
	result := a.o.Cache.flights.DoChan(flight, func() (said any, err error) {
		// What others send must not end us, whatever a parser makes of it.
		defer func() {
			if recover() != nil { // not the panic's own text: it may have anything
				said, err = nil, problem.New(problem.Internal, errDefect)
			}
		}()
		// Who looked in vain may come when the flight that would have told it is over.
		if found := a.o.Cache.get(k, a.o.Now()); found != nil {
			return found, nil
		}
		select {
		case e.asking <- struct{}{}:
			defer func() { <-e.asking }()
		default:
			return nil, problem.Newf(problem.Overloaded, "bearer: entry %s is being asked about %d tokens already", e.Name, maxAsking)
		}
		began := a.o.Now() // what the provider says is true of then, at least
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askFor)
		defer cancel()
		body, err := e.Introspect(ctx, secret.NewValue([]byte(token)))
		if err != nil {
			return nil, unknown(e, err)
		}
		found, err := readAnswer(body, began)
		if err != nil {
			return nil, problem.Newf(problem.IdPFailed, "bearer: entry %s: introspection: %w", e.Name, err)
		}
		a.o.Cache.put(k, found)
		return found, nil
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*answer), nil
	case <-ctx.Done():
		return nil, problem.New(problem.IdPUnavailable, context.Cause(ctx))
	}
}

var errDefect = errors.New("bearer: a defect while asking about a token; please report it")

// readAnswer wants the one boolean that counts (RFC 7662 section 2.2).
func readAnswer(body []byte, began time.Time) (*answer, error) {
	c, err := readClaims(body)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Active == nil:
		return nil, errors.New("active: expected true or false, found nothing")
	case !*c.Active:
		return &answer{till: began.Add(refusedFor)}, nil
	}
	if c.Subject == "" {
		// Of a client's own token, where the answer names only that (RFC 7662 section
		// 2.2 makes sub optional; RFC 9068 section 2.2 has the client be the subject).
		c.Subject = c.text("client_id")
	}
	till := began.Add(freshFor)
	if exp := c.Expiry.Time(); c.Expiry != nil && exp.Before(till) {
		if till = exp; !began.Before(exp) { // a provider that calls active what has expired
			return &answer{till: began.Add(refusedFor)}, nil
		}
	}
	return &answer{claims: c, till: till, weight: uint32(512 + claimsWeight*len(body))}, nil
}

// unknown is a failure of the provider, or of what it knows of us. None of it is
// the caller's fault, nor an answer about the token.
func unknown(e *entry, err error) error {
	code := problem.IdPUnavailable
	if errors.Is(err, oidc.ErrAnswer) || errors.Is(err, oidc.ErrNotOffered) || errors.Is(err, oidc.ErrMetadata) || errors.Is(err, oidc.ErrIssuerMismatch) {
		code = problem.IdPFailed
	}
	return problem.Newf(code, "bearer: entry %s: introspection: %w", e.Name, err)
}
