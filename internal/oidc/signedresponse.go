package oidc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"keyway/internal/jwks"
	"keyway/internal/problem"
)

// insideOnly are parameters that a signed response holds. Beside it they were put there
// by somebody else.
var insideOnly = []string{"code", "state", "iss", "error", "error_description", "id_token", "access_token"}

// signedResponse is an authorization response as a JWT (JARM, section 2.1). Until
// prove has been called, its parameters are anybody's.
type signedResponse struct {
	parsed jwks.Parsed
	params map[string]string
}

// openResponse reads the only parameter of a callback that is signed, and makes the
// checks that cost nothing, before a state is believed or a key looked for.
func openResponse(params map[string]string, m *Metadata, clientID string, now time.Time) (signedResponse, error) {
	for _, name := range insideOnly {
		if _, beside := params[name]; beside {
			return signedResponse{}, fail(problem.LoginFailed, ErrParameters, "%s: found beside a signed response, expected in it", name)
		}
	}
	parsed, err := jwks.Parse(params["response"], responseAlgorithms(m))
	if err != nil {
		return signedResponse{}, badResponse("%w", err)
	}
	// Tokens of other kinds say what they are (RFC 8725 section 3.11).
	if typ := strings.ToLower(parsed.Header.Type); strings.HasSuffix(typ, "+jwt") {
		return signedResponse{}, badResponse("typ: expected JWT or none, found another")
	}
	inner, err := parseResponse(parsed.Unproved(), m.Issuer, clientID, now)
	return signedResponse{parsed, inner}, err
}

// prove checks the signature, and returns the parameters, which are the issuer's words
// from here on.
func (r signedResponse) prove(ctx context.Context, keys *jwks.Remote, issuer, clientID string) (map[string]string, error) {
	payload, err := keys.Check(ctx, r.parsed)
	switch {
	case errors.Is(err, jwks.ErrUnavailable):
		return nil, withoutKeys(err)
	case err != nil:
		return nil, badResponse("%w", err)
	}
	return parseResponse(payload, issuer, clientID, time.Now())
}

// responseClaims are those of JARM section 2.1, beside the parameters.
type responseClaims struct {
	jwks.Times
	Issuer   string        `json:"iss"`
	Audience jwks.Audience `json:"aud"`
	Code     *string       `json:"code"`
	State    *string       `json:"state"`
	Error    *string       `json:"error"`
	Why      *string       `json:"error_description"`
}

// parseResponse makes the checks of JARM section 2.4 on the claims, and returns the
// parameters of the response. What was found is not quoted.
func parseResponse(payload []byte, issuer, clientID string, now time.Time) (map[string]string, error) {
	var c responseClaims
	if err := jwks.DecodeObject(payload, &c); err != nil {
		return nil, badResponse("claims: %w", err)
	}
	times := c.Check(now, jwks.TimesWanted{Skew: Skew, Expiry: true}) // 5
	switch {
	case c.Issuer != issuer: // 3: another provider's answer, in our name (mix-up)
		return nil, fail(problem.LoginFailed, ErrIssuer, "the signed response's iss: expected %q, found another", issuer)
	case len(c.Audience) != 1 || c.Audience[0] != clientID: // 4
		return nil, badResponse("aud: expected our client id and no other")
	case times != nil:
		return nil, badResponse("%w", times)
	case c.State == nil:
		return nil, fail(problem.LoginFailed, ErrState, "missing in the signed response")
	}
	params := map[string]string{"iss": c.Issuer}
	for name, value := range map[string]*string{"code": c.Code, "state": c.State, "error": c.Error, "error_description": c.Why} {
		if value != nil {
			params[name] = *value
		}
	}
	return params, nil
}

func badResponse(format string, args ...any) error {
	return problem.New(problem.LoginFailed, fmt.Errorf("%w: %w", ErrResponse, fmt.Errorf(format, args...)))
}
