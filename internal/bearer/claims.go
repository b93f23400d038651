package bearer

import (
	"cmp"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"keyway/internal/jwks"
	"keyway/internal/oidc"
	"keyway/internal/principal"
)

// claims are what a JWT access token (RFC 9068 section 2.2) and an answer to
// introspection (RFC 7662 section 2.2) say by the same names. One of another type
// than the standards give it makes the whole unacceptable.
type claims struct {
	jwks.Times
	Issuer   *string           `json:"iss"`
	Subject  string            `json:"sub"`
	Audience jwks.Audience     `json:"aud"`
	AuthTime *jwks.NumericDate `json:"auth_time"`

	Active    *bool   `json:"active"`
	TokenType *string `json:"token_type"`

	all    map[string]any
	scopes []string
}

// readClaims is the last that writes to the claims: they are shared by all who
// ask about one token.
func readClaims(document []byte) (*claims, error) {
	c := &claims{all: map[string]any{}}
	if err := jwks.DecodeObject(document, c); err != nil {
		return nil, err
	}
	if err := jwks.DecodeObject(document, &c.all); err != nil {
		return nil, err
	}
	c.scopes = scopesOf(c.all)
	return c, nil
}

// check makes the checks of RFC 9068 section 4, whoever vouches for the claims.
// An issuer that answers about its token need not name itself, nor say when it
// expires (RFC 7662 section 2.2); a JWT must. Nothing that was found is quoted.
func (c *claims) check(e *entry, need *Need, jwt bool, now time.Time) error {
	times := c.Times.Check(now, jwks.TimesWanted{Skew: oidc.Skew, ExactExpiry: true, Expiry: jwt})
	switch {
	case c.Issuer == nil && jwt, c.Issuer != nil && *c.Issuer != e.Issuer:
		return errors.New("iss: expected that of entry " + e.Name)
	case !need.isFor(&e.Entry, c.Audience):
		return errors.New("aud: expected one of entry " + e.Name + " that the route accepts")
	case times != nil:
		return times
	case !plain(c.Subject):
		return errors.New("sub: expected 1 to 255 printable characters")
	case otherKind(c.all):
		return errors.New("it is another kind of token")
	case c.all["cnf"] != nil:
		// Bound to a key or certificate: whoever presents it as a bearer token has
		// not shown that (RFC 9449 section 7.1, RFC 8705 section 3).
		return errors.New("cnf: it is bound to a key, and no bearer token")
	case c.TokenType != nil && !strings.EqualFold(*c.TokenType, "Bearer"):
		return errors.New("token_type: expected Bearer")
	}
	return nil
}

// accept checks the claims, which somebody vouches for, and makes a principal of
// them.
func (c *claims) accept(e *entry, need *Need, jwt bool, now time.Time) (principal.Principal, error) {
	if err := c.check(e, need, jwt, now); err != nil {
		return principal.Principal{}, refused("%w", err)
	}
	if err := need.checkScopes(c); err != nil {
		return principal.Principal{}, err
	}
	return c.principal(e), nil
}

func (c *claims) principal(e *entry) principal.Principal {
	return principal.Principal{
		Provider: e.Provider, Subject: c.Subject, Email: c.text("email"), Name: c.text("name"),
		AuthTime: c.AuthTime.Time(), Roles: pick(c.all, e.Roles), Permissions: pick(c.all, e.Permissions),
		ClientID: cmp.Or(c.text("client_id"), c.text("azp")), Scopes: c.scopes,
	}
}

func (c *claims) text(name string) string {
	text, _ := c.all[name].(string)
	if !plain(text) {
		return ""
	}
	return text
}

// otherKind finds what is no access token, and may be of the same issuer, signed
// with the same keys and called active: ID tokens (OpenID Connect Core section
// 2), logout tokens (Back-Channel Logout section 2.4), and those that providers
// mark in ways of their own.
func otherKind(all map[string]any) bool {
	for _, name := range []string{"at_hash", "c_hash", "s_hash", "events"} {
		if all[name] != nil {
			return true
		}
	}
	typ, _ := all["typ"].(string) // Keycloak
	if slices.Contains([]string{"id", "refresh", "offline", "logout"}, strings.ToLower(typ)) {
		return true
	}
	use, ok := all["token_use"].(string) // Cognito, Hydra
	return ok && use != "access" && use != "access_token"
}

// plain keeps controls, and what stands for undecodable bytes, out of identities.
func plain(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(c rune) bool { return c < 0x20 || c == 0x7f || c == '\uFFFD' })
}

// peeked is what a token says of itself, unproved: good for choosing whom to ask,
// and for nothing else. Without an issuer it is no entry's.
type peeked struct {
	issuer      string
	audience    []string
	accessToken bool // typ says so (RFC 9068 section 2.1)
	other       bool // it says that it is something else
}

// peek looks into a token that may be a JWT. One without a JOSE header
// is opaque.
func peek(token string) (p peeked, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return peeked{}, false
	}
	var header struct {
		Type      string `json:"typ"`
		Algorithm string `json:"alg"`
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[0])
	if err != nil || jwks.DecodeObject(raw, &header) != nil || header.Algorithm == "" {
		return peeked{}, false
	}
	// From here on it is a JWS, and one without readable claims is of nobody.
	var payload struct {
		Issuer   string        `json:"iss"`
		Audience jwks.Audience `json:"aud"`
	}
	all := map[string]any{}
	raw, err = base64.RawURLEncoding.Strict().DecodeString(parts[1])
	if err != nil || jwks.DecodeObject(raw, &payload) != nil || jwks.DecodeObject(raw, &all) != nil {
		return peeked{}, true
	}
	typ := strings.TrimPrefix(strings.ToLower(header.Type), "application/")
	p = peeked{issuer: payload.Issuer, audience: payload.Audience, accessToken: typ == "at+jwt"}
	p.other = otherKind(all) || strings.HasSuffix(typ, "+jwt") && !p.accessToken
	return p, true
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}
