package oidc

import (
	"context"
	"net/url"
	"strings"
)

// ClientCredentials gets a token for the client itself (RFC 6749 section 4.4) at a
// provider with this metadata, of which only the token endpoint and the methods of
// authentication there are looked at. Errors are as of [Client.Post].
func (c *Client) ClientCredentials(ctx context.Context, m *Metadata, scopes []string) (Tokens, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	return c.token(ctx, m, form, scopes, c.binds())
}

// IsClientRefused reports whether an error says that the provider does not take the
// credential (RFC 6749 section 5.2).
func IsClientRefused(err error) bool { return isInvalidClient(err) }
