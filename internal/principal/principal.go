// Package principal says who is asking. It imports nothing of Keyway, so that
// every room can speak of a principal without knowing how it was established.
package principal

import (
	"net/url"
	"time"
)

// Principal is an authenticated user or machine. It is immutable once built.
type Principal struct {
	Provider  string // alias of the IdP, from idps.yaml
	Subject   string // sub at that IdP
	Email     string // empty when the IdP did not say
	Name      string // display name; empty when the IdP did not say
	SessionID string // the session's public id; empty for bearer tokens
	AuthTime  time.Time
	Roles     []string
	// Permissions are fine-grained rights, where the IdP's tokens carry them.
	Permissions []string
}

// Account is the identity in the form that upstreams know:
// auth:account:<provider>:<sub>. Colons and anything else that could shift the
// fields, or end a header, are percent-encoded in both parts.
func (p Principal) Account() string {
	return "auth:account:" + url.QueryEscape(p.Provider) + ":" + url.QueryEscape(p.Subject)
}
