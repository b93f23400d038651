package oidc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"keyway/internal/jwks"
	"keyway/internal/problem"
)

// SignInRequest is what whoever starts a sign-in may say about it.
type SignInRequest struct {
	// ReturnTo is where to go afterwards, as it was sent: it is checked here.
	ReturnTo string
	// RedirectURI is our callback, from [Callback.URI].
	RedirectURI string
	// Params are the request's query; of them only Options.AllowedParams count.
	Params url.Values
}

// SignIn is a sign-in that was begun.
type SignIn struct {
	// URL is where to send the browser.
	URL string
	// Cookie is to be set with the redirect; without it the callback fails.
	Cookie *http.Cookie
}

// maxParam bounds one parameter that a stranger sets.
const maxParam = 256

// Begin starts a sign-in. Verifier, state and nonce are fresh each time, PKCE
// is always S256, and where the provider takes pushed authorization requests
// (RFC 9126) the browser carries client_id and request_uri only. When pushing
// fails the sign-in fails: a request that was to be pushed is never sent by the
// browser instead. Nothing is kept here or in any store.
func (rp *RelyingParty) Begin(ctx context.Context, r SignInRequest) (SignIn, error) {
	returnTo, err := rp.o.Return.Check(r.ReturnTo)
	if err != nil {
		return SignIn{}, err
	}
	if err := checkCallback("redirect_uri", r.RedirectURI); err != nil {
		return SignIn{}, problem.New(problem.Internal, err)
	}
	m, err := rp.metadata(ctx)
	if err != nil {
		return SignIn{}, err
	}
	var id transactionID
	rand.Read(id[:])
	demanded, err := rp.demands(m)
	if err != nil {
		return SignIn{}, problem.New(problem.IdPFailed, err)
	}
	now := time.Now()
	t := transaction{
		Verifier: randomText(), Nonce: randomText(), ReturnTo: returnTo,
		RedirectURI: r.RedirectURI, Issuer: m.Issuer, Created: now.Unix(), Begun: now.UnixMilli(),
		Key: rp.client.binds(), Signed: rp.o.JARM,
	}
	value, err := rp.transactions.sealCookie(id, t)
	if err != nil {
		return SignIn{}, problem.New(problem.Internal, err)
	}
	if len(value) > maxLoginCookie {
		return SignIn{}, fail(problem.BadRequest, ErrReturnTo, "too long for a cookie")
	}
	params := rp.authorization(id, t, r.Params)
	if demanded.responseMode != "" {
		params.Set("response_mode", demanded.responseMode)
	}
	if demanded.signedRequests {
		if params, err = rp.requestObject(m, params, now); err != nil {
			return SignIn{}, problem.New(problem.IdPFailed, err)
		}
	}
	pushed := m.PAREndpoint != "" && rp.o.PAR != PAROff || m.RequirePAR
	switch {
	case pushed:
		if params, err = rp.push(ctx, m, params, t.Key); err != nil {
			return SignIn{}, coded(err, problem.IdPFailed)
		}
	case rp.o.PAR == PARRequired:
		return SignIn{}, problem.New(problem.IdPFailed, fmt.Errorf("%w: pushed authorization requests, which the configuration requires", ErrNotOffered))
	}
	where, err := withQuery(m.AuthorizationEndpoint, params)
	if err != nil {
		return SignIn{}, problem.New(problem.IdPFailed, err)
	}
	return SignIn{URL: where, Cookie: rp.o.Cookies.cookie(rp.o.Cookies.name(id, t.Created), value, SignInLifetime)}, nil
}

// authorization builds the request of OpenID Connect Core 3.1.2.1 and RFC 7636
// section 4.3. S256 is sent whatever the metadata lists: a provider that does
// not know it ignores it, and one that does must not be downgraded.
func (rp *RelyingParty) authorization(id transactionID, t transaction, asked url.Values) url.Values {
	params := url.Values{}
	for _, name := range rp.o.AllowedParams {
		if values := asked[name]; len(values) == 1 && values[0] != "" && len(values[0]) <= maxParam {
			params.Set(name, values[0])
		}
	}
	params.Set("response_type", "code")
	params.Set("client_id", rp.client.ID())
	params.Set("redirect_uri", t.RedirectURI)
	params.Set("scope", strings.Join(rp.scopes, " "))
	params.Set("state", rp.transactions.sealState(id, t.Created))
	params.Set("nonce", t.Nonce)
	params.Set("code_challenge", t.challenge())
	params.Set("code_challenge_method", "S256")
	if t.Key != "" {
		// Whoever gets hold of the code can't redeem it without the key (RFC 9449
		// section 10). Pushed, the proof that goes with it says the same.
		params.Set("dpop_jkt", rp.client.proofs.Thumbprint(t.Key))
	}
	return params
}

// maxRequestURI bounds what a provider may have us put into a Location header.
const maxRequestURI = 1024

// push sends the request to the PAR endpoint and returns what is left for the
// browser to carry (RFC 9126 section 2.2 and 4). While the endpoint does not
// answer, or has enough to do, this fails at once.
func (rp *RelyingParty) push(ctx context.Context, m *Metadata, params url.Values, key string) (url.Values, error) {
	pushes := &rp.provider.pushes
	if err := pushes.enter(time.Now()); err != nil {
		return nil, err
	}
	result := unknown
	defer func() { pushes.leave(time.Now(), result) }()
	answer, err := rp.client.post(ctx, posting{metadata: m, endpoint: "par", address: m.PAREndpoint, form: params, most: maxSmallAnswer, key: key})
	result = outcomeOf(ctx, err)
	if err != nil {
		return nil, err
	}
	var body struct {
		RequestURI string `json:"request_uri"`
	}
	switch {
	case answer.Status != http.StatusCreated && answer.Status != http.StatusOK:
		return nil, fmt.Errorf("%w: par endpoint: expected status 201, found %d", ErrAnswer, answer.Status)
	case jwks.DecodeObject(answer.Body, &body) != nil:
		return nil, fmt.Errorf("%w: par endpoint: expected a JSON object", ErrAnswer)
	case body.RequestURI == "" || len(body.RequestURI) > maxRequestURI:
		return nil, fmt.Errorf("%w: par endpoint: expected a request_uri of at most %d bytes", ErrAnswer, maxRequestURI)
	}
	return url.Values{"client_id": {rp.client.ID()}, "request_uri": {body.RequestURI}}, nil
}

// withQuery adds parameters to an endpoint, keeping a query that it has (RFC
// 6749 section 3.1).
func withQuery(endpoint string, params url.Values) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", fmt.Errorf("%w: an endpoint is no URL", ErrMetadata)
	}
	query := params.Encode()
	if u.RawQuery != "" {
		query = u.RawQuery + "&" + query
	}
	u.RawQuery = query
	return u.String(), nil
}

// codedMetadata: while the metadata can't be had, or names another issuer, no
// flow starts.
func codedMetadata(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return problem.New(problem.IdPUnavailable, err)
	}
	return problem.New(problem.IdPFailed, err)
}
