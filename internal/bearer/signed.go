package bearer

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"
	"time"

	josejson "github.com/go-jose/go-jose/v4/json"

	"keyway/internal/jwks"
	"keyway/internal/oidc"
	"keyway/internal/secret"
)

// Form is what an answer to introspection has to be.
type Form string

// The forms.
const (
	FormAuto Form = "auto" // signed where the metadata offers it; plain JSON is taken, too
	FormJSON Form = "json" // a signed one is not asked for, nor taken
	FormJWT  Form = "jwt"  // a signed one, and nothing else
)

// signedType is the media type of a signed answer (RFC 9701 section 5).
const signedType = "application/token-introspection+jwt"

// maxSigned bounds how long ago a signed answer was made before it was asked for:
// clocks differ. An older one was made for somebody else, or for another question.
const maxSigned = oidc.Skew

// Introspection asks a provider through a client of ours, whose other live
// credentials are tried when one is refused. A signed answer (RFC 9701) is
// verified, and what it says of the token returned.
func Introspection(p *oidc.Provider, c *oidc.Client, form Form) func(context.Context, secret.Value) ([]byte, error) {
	return func(ctx context.Context, token secret.Value) ([]byte, error) {
		m, err := p.Metadata(ctx)
		if err != nil {
			return nil, err
		}
		if m.IntrospectionEndpoint == "" {
			return nil, oidc.ErrNotOffered
		}
		wanted := form == FormJWT || form != FormJSON && len(m.IntrospectionAlgs) > 0
		var options []oidc.PostOption
		if wanted {
			options = append(options, oidc.Accept(signedType+", application/json;q=0.5")) // JSON for errors
		}
		began := time.Now()
		answer, err := c.Post(ctx, m, "introspection", m.IntrospectionEndpoint, map[string][]string{
			"token": {string(token.Reveal())}, "token_type_hint": {"access_token"},
		}, maxAnswer, options...)
		switch {
		case err != nil:
			return nil, err
		case answer.Status != 200:
			return nil, nonsense("expected status 200, found %d", answer.Status)
		}
		media, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
		switch signed := media == signedType; {
		case signed && !wanted:
			return nil, nonsense("a signed answer that was not asked for")
		case !signed && form == FormJWT:
			return nil, nonsense("expected a signed answer (%s), found another", signedType)
		case !signed:
			return answer.Body, nil
		}
		return readSigned(ctx, answer.Body, signedBy{
			keys: p.Keys(), algorithms: jwks.Acceptable(m.IntrospectionAlgs), issuer: m.Issuer, client: c.ID(), asked: began,
		}, time.Now())
	}
}

// signedBy is what a signed answer is compared with.
type signedBy struct {
	keys       checker
	algorithms []string // what the metadata offers; RS256 if it does not say
	issuer     string
	client     string    // ours
	asked      time.Time // when the question was sent
}

// checker is a [jwks.Remote].
type checker interface {
	Check(context.Context, jwks.Parsed) ([]byte, error)
}

// readSigned makes the checks of RFC 9701 section 5 and returns the member
// token_introspection. All that a provider can get wrong is oidc.ErrAnswer; keys
// that can't be had are not. Nothing that was found is quoted.
func readSigned(ctx context.Context, body []byte, by signedBy, now time.Time) ([]byte, error) {
	parsed, err := jwks.Parse(strings.TrimSpace(string(body)), by.algorithms)
	if err != nil {
		return nil, nonsense("%w", err)
	}
	// What else the provider signs, an access token or an ID token among it, is no
	// answer (RFC 8725 section 3.11).
	if typ := strings.TrimPrefix(strings.ToLower(parsed.Header.Type), "application/"); typ != "token-introspection+jwt" {
		return nil, nonsense("typ: expected token-introspection+jwt, found another")
	}
	payload, err := by.keys.Check(ctx, parsed)
	switch {
	case errors.Is(err, jwks.ErrSignature), errors.Is(err, jwks.ErrUnknownKey):
		return nil, nonsense("%w", err)
	case err != nil:
		return nil, err
	}
	var c struct {
		jwks.Times
		Issuer   string              `json:"iss"`
		Audience jwks.Audience       `json:"aud"`
		Answer   josejson.RawMessage `json:"token_introspection"`
	}
	if err := jwks.DecodeObject(payload, &c); err != nil { // a nested JWT is no object
		return nil, nonsense("%w", err)
	}
	times := c.Check(now, jwks.TimesWanted{Skew: oidc.Skew, IssuedAt: true})
	switch {
	case c.Issuer != by.issuer:
		return nil, nonsense("iss: expected the provider")
	case !slices.Contains(c.Audience, by.client):
		return nil, nonsense("aud: expected our client_id")
	case times != nil:
		return nil, nonsense("%w", times)
	case c.IssuedAt.Time().Before(by.asked.Add(-maxSigned)):
		return nil, nonsense("iat: from before the question")
	case len(c.Answer) == 0 || c.Answer[0] != '{':
		return nil, nonsense("token_introspection: expected an object")
	}
	return c.Answer, nil
}

func nonsense(format string, args ...any) error {
	return fmt.Errorf("%w: introspection endpoint: %w", oidc.ErrAnswer, fmt.Errorf(format, args...))
}
