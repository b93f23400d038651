package oidc

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	josejson "github.com/go-jose/go-jose/v4/json"

	"keyway/internal/dpop"
	"keyway/internal/jwks"
	"keyway/internal/secret"
)

// Tokens are what a token endpoint granted.
type Tokens struct {
	AccessToken  secret.Value
	RefreshToken secret.Value // empty: none, or at a refresh: the old one stays
	IDToken      secret.Value // empty: none
	// Key is the version of the key that the access token is bound to (RFC 9449);
	// empty: it is a bearer token.
	Key string
	// Expiry of the access token. Zero: the provider did not say.
	Expiry time.Time
	// Scopes are what was granted. When the provider does not say
	// (ScopesStated is false) that is what was asked for (RFC 6749 section 5.1),
	// or at a refresh what was granted before, and then Scopes is nil. Stated and
	// empty means that nothing was granted.
	Scopes       []string
	ScopesStated bool
}

// tokenAnswer is a token response (RFC 6749 section 5.1, Core 3.1.3.3).
type tokenAnswer struct {
	AccessToken  string              `json:"access_token"`
	TokenType    string              `json:"token_type"`
	ExpiresIn    josejson.RawMessage `json:"expires_in"`
	RefreshToken string              `json:"refresh_token"`
	IDToken      string              `json:"id_token"`
	Scope        *string             `json:"scope"`
}

// maxLifetime caps what a provider may claim that an access token lives.
const maxLifetime = 366 * 24 * time.Hour

// parseTokens reads a token response. The token type is compared without case
// (RFC 6749 section 5.1). It has to be DPoP when a key was proved, and Bearer
// otherwise: RFC 9449 section 5 lets a server answer a proof with a bearer token, and
// whoever demanded that tokens are bound would not notice.
func parseTokens(body []byte, asked []string, key string, now time.Time) (Tokens, error) {
	scheme := "Bearer"
	if key != "" {
		scheme = dpop.Scheme
	}
	var a tokenAnswer
	if err := jwks.DecodeObject(body, &a); err != nil {
		return Tokens{}, fmt.Errorf("%w: token endpoint: %w", ErrAnswer, err)
	}
	switch {
	case !headerSafe(a.AccessToken):
		return Tokens{}, fmt.Errorf("%w: token endpoint: expected an access_token of visible ASCII characters", ErrAnswer)
	case !strings.EqualFold(a.TokenType, scheme):
		// What was found is not quoted: it may be something that we sent.
		return Tokens{}, fmt.Errorf("%w: token endpoint: expected token_type %s, found another", ErrAnswer, scheme)
	}
	t := Tokens{AccessToken: secret.NewValue([]byte(a.AccessToken)), Key: key, Scopes: asked}
	if a.RefreshToken != "" {
		t.RefreshToken = secret.NewValue([]byte(a.RefreshToken))
	}
	if a.IDToken != "" {
		t.IDToken = secret.NewValue([]byte(a.IDToken))
	}
	if a.Scope != nil {
		t.Scopes, t.ScopesStated = strings.Fields(*a.Scope), true
	}
	if len(a.ExpiresIn) > 0 && string(a.ExpiresIn) != "null" {
		lifetime, ok := seconds(string(a.ExpiresIn))
		if !ok {
			return Tokens{}, fmt.Errorf("%w: token endpoint: expected expires_in as a number of seconds", ErrAnswer)
		}
		t.Expiry = now.Add(lifetime)
	}
	return t, nil
}

// seconds reads a duration, as a number or, as some providers send it, as a
// string that holds one. What is absurdly long is cut.
func seconds(text string) (time.Duration, bool) {
	value, err := strconv.ParseFloat(strings.Trim(text, `"`), 64)
	if err != nil || math.IsNaN(value) || value < 0 {
		return 0, false
	}
	return time.Duration(min(value, maxLifetime.Seconds()) * float64(time.Second)), true
}

// headerSafe: what goes into an Authorization header must be able to.
func headerSafe(token string) bool {
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return false
		}
	}
	return token != ""
}

// token calls the token endpoint. The access token is bound to that version of the
// key; empty: it is a bearer token.
func (c *Client) token(ctx context.Context, m *Metadata, form url.Values, asked []string, key string) (Tokens, error) {
	answer, err := c.post(ctx, posting{metadata: m, endpoint: "token", address: m.TokenEndpoint, form: form, most: maxTokenAnswer, key: key})
	if err != nil {
		return Tokens{}, err
	}
	if answer.Status != http.StatusOK {
		return Tokens{}, fmt.Errorf("%w: token endpoint: expected status 200, found %d", ErrAnswer, answer.Status)
	}
	return parseTokens(answer.Body, asked, key, time.Now())
}
