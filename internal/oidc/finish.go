package oidc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"keyway/internal/dpop"
	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/problem"
)

// CallbackRequest is what came to our callback.
type CallbackRequest struct {
	// Params are the raw query of a GET, or the raw form of a POST: not both,
	// and not yet decoded, so that nothing was dropped on the way.
	Params string
	// Cookie looks up a cookie of the request.
	Cookie func(name string) (value string, ok bool)
}

// Grant is the result of a sign-in. With an error only Cookie and ReturnTo are
// set, as far as they are known.
type Grant struct {
	Tokens   Tokens
	Claims   IDTokenClaims
	UserInfo map[string]any // nil: there is no such endpoint, or it was not asked
	// ReturnTo is where the browser was going.
	ReturnTo string
	// RedirectURI is our callback that the sign-in was begun for.
	RedirectURI string
	// BegunAt is when the sign-in was begun, by the clock of the replica that did, to a
	// millisecond; zero: not known.
	BegunAt time.Time
	// Cookie is the name of the login cookie to clear now. Empty while the
	// callback may be tried again.
	Cookie string
}

// Bounds of a callback.
const (
	maxCallback       = 16 << 10
	maxCallbackParams = 50
	maxCode           = 8 << 10
)

// Finish ends a sign-in. Before anything is sent it is sure that the parameters
// are unambiguous, that the state is ours, live, and this browser's, that the
// response is from the right issuer, and that it was not used before. Errors
// are of the kinds in this package, with a code. After ErrUnavailable with an
// empty Grant.Cookie, and after ErrStore, the same callback may be tried again.
// Any later failure, of keys that can't be had too, has used up the code: the
// sign-in is to be begun anew.
func (rp *RelyingParty) Finish(ctx context.Context, r CallbackRequest) (Grant, error) {
	params, err := parseCallback(r.Params)
	if err != nil {
		return Grant{}, err
	}
	now := time.Now()
	var answer signedResponse
	_, signed := params["response"]
	if signed {
		m, err := rp.metadata(ctx)
		if err != nil {
			return Grant{}, err
		}
		if answer, err = openResponse(params, m, rp.client.ID(), now); err != nil {
			return Grant{}, err
		}
		params = answer.params
	}
	id, t, name, err := rp.open(params["state"], r.Cookie, now)
	if err != nil {
		return Grant{Cookie: name}, err
	}
	grant := Grant{ReturnTo: t.ReturnTo}
	over := Grant{ReturnTo: t.ReturnTo, Cookie: name}
	m, err := rp.metadata(ctx)
	switch {
	case err != nil:
		return grant, err
	case signed && !t.Signed:
		return over, fail(problem.LoginFailed, ErrParameters, "a signed response was not asked for")
	case !signed && (t.Signed || rp.o.JARM):
		// It may say the same as a signed one would. That is what an attacker's says, too.
		return over, fail(problem.LoginFailed, ErrResponse, "expected a signed one (JARM), found a plain one")
	case signed:
		if params, err = answer.prove(ctx, rp.provider.Keys(), t.Issuer, rp.client.ID()); err != nil {
			if errors.Is(err, ErrUnavailable) {
				return grant, err
			}
			return over, err
		}
	}
	if err := checkResponse(params, t, m); err != nil {
		return over, err
	}
	algorithms, err := rp.idTokenAlgorithms(m)
	if err != nil {
		return grant, problem.New(problem.IdPFailed, err)
	}
	// The claim outlives the state, also on a replica whose clock is behind.
	first, err := rp.o.OneTime.Claim(ctx, id.String(), SignInLifetime+replicaSkew)
	switch {
	case err != nil:
		return grant, problem.New(problem.StoreUnavailable, fmt.Errorf("%w: %w", ErrStore, err))
	case !first:
		return grant, problem.New(problem.LoginFailed, ErrAlreadyUsed)
	}
	tokens, err := rp.client.token(ctx, m, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {params["code"]},
		"redirect_uri":  {t.RedirectURI},
		"code_verifier": {t.Verifier},
	}, rp.scopes, cmp.Or(t.Key, rp.client.binds())) // begun before tokens were bound: they are now
	switch {
	case errors.Is(err, dpop.ErrNoKey):
		return over, problem.New(problem.LoginFailed, err) // a new sign-in is bound to a key that is there
	case err != nil:
		return over, coded(err, problem.LoginFailed)
	}
	if tokens.IDToken.IsZero() {
		return over, fail(problem.IdPFailed, ErrAnswer, "token endpoint: expected an id_token, found none")
	}
	claims, err := verifyIDToken(ctx, rp.provider.Keys(), tokens.IDToken, expected{
		issuer: m.Issuer, clientID: rp.client.ID(), algorithms: algorithms, now: time.Now(), nonce: &t.Nonce,
		notBefore: time.Unix(t.Created, 0).Add(-maxAgeAtSignIn), accessToken: tokens.AccessToken,
	})
	if err != nil {
		return over, codedIDToken(err, problem.LoginFailed)
	}
	grant = Grant{Tokens: tokens, Claims: claims, ReturnTo: t.ReturnTo, RedirectURI: t.RedirectURI, BegunAt: t.begun(), Cookie: name}
	if rp.wantsUserInfo(m, tokens) {
		if grant.UserInfo, err = rp.userInfo(ctx, m, tokens, claims.Subject); err != nil {
			return over, codedUserInfo(err)
		}
	}
	return grant, nil
}

// open finds the transaction of a callback: the state names it, this browser's
// cookie holds it. name is the cookie to clear, if the sign-in is over.
func (rp *RelyingParty) open(state string, cookie func(string) (string, bool), now time.Time) (id transactionID, t transaction, name string, err error) {
	id, created, err := rp.transactions.openState(state, now)
	if errors.Is(err, ErrExpired) {
		return id, t, rp.o.Cookies.name(id, created), err
	}
	if err != nil {
		return id, t, "", err
	}
	name = rp.o.Cookies.name(id, created)
	value, ok := cookie(name)
	if !ok {
		return id, t, "", fail(problem.LoginFailed, ErrState, "this browser did not begin the sign-in, or has finished it")
	}
	t, err = rp.transactions.openCookie(id, value)
	switch {
	case errors.Is(err, keyring.ErrUnknownVersion):
		return id, t, "", err // the cookie stays: another replica may know it
	case err != nil:
		return id, t, name, err
	case t.Created != created || t.Issuer != rp.provider.Issuer():
		return id, t, name, fail(problem.LoginFailed, ErrState, "it was begun at another identity provider")
	}
	return id, t, name, nil
}

// checkResponse looks at what the provider said, before it is believed: first
// who says it (RFC 9207 section 2.4, errors too), then whether it is an error.
func checkResponse(params map[string]string, t transaction, m *Metadata) error {
	issuer, stated := params["iss"]
	switch {
	case stated && issuer != t.Issuer:
		return fail(problem.LoginFailed, ErrIssuer, "iss: expected %q, found %q", t.Issuer, clean(issuer, 200))
	case !stated && m.IssuerInResponse:
		return fail(problem.LoginFailed, ErrIssuer, "iss: the provider promises it, and it is missing")
	}
	if code, ok := params["error"]; ok {
		refusal := newOAuthError("authorization", 0, code, params["error_description"], params["state"], params["code"])
		switch refusal.Code {
		case "access_denied":
			return problem.New(problem.LoginDenied, refusal)
		case "server_error", "temporarily_unavailable":
			return problem.New(problem.IdPUnavailable, &UnavailableError{Endpoint: "authorization", Cause: refusal})
		}
		return problem.New(problem.LoginFailed, refusal)
	}
	switch code := params["code"]; {
	case code == "" || len(code) > maxCode:
		return fail(problem.LoginFailed, ErrParameters, "expected a code of at most %d bytes", maxCode)
	}
	return nil
}

// parseCallback decodes parameters, refusing whatever two readers could read
// differently: a name that occurs twice (RFC 6749 section 3.1), bad escapes,
// semicolons.
func parseCallback(raw string) (map[string]string, error) {
	bad := func(what string) (map[string]string, error) {
		return nil, fail(problem.BadRequest, ErrParameters, "%s", what)
	}
	if len(raw) > maxCallback {
		return bad("too long")
	}
	params := map[string]string{}
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		if strings.Contains(pair, ";") {
			return bad("a semicolon, which some take for a separator")
		}
		escapedName, escapedValue, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(escapedName)
		if err != nil {
			return bad("a malformed escape")
		}
		value, err := url.QueryUnescape(escapedValue)
		if err != nil {
			return bad("a malformed escape")
		}
		if _, again := params[name]; again {
			return bad("a parameter occurs twice")
		}
		if len(params) == maxCallbackParams {
			return bad("too many parameters")
		}
		params[name] = value
	}
	return params, nil
}

// codedIDToken: a token that fails is refused; keys that can't be had decide
// nothing, and nor does a key that it is too soon to look for.
func codedIDToken(err error, refused problem.Code) error {
	switch {
	case errors.Is(err, jwks.ErrUnavailable):
		return withoutKeys(err)
	default:
		return problem.New(refused, err)
	}
}

// withoutKeys is a failure for want of the issuer's keys, with when to try again
// where that is known.
func withoutKeys(err error) error {
	unavailable := &UnavailableError{Endpoint: "jwks", Cause: err}
	if early, ok := errors.AsType[*jwks.CoolDownError](err); ok {
		unavailable.RetryAfter = early.Wait
	}
	e := problem.New(problem.IdPUnavailable, unavailable)
	e.RetryAfter = unavailable.RetryAfter
	return e
}

func codedUserInfo(err error) error {
	if errors.Is(err, ErrUserInfo) {
		return problem.New(problem.LoginFailed, err)
	}
	return coded(err, problem.LoginFailed)
}
