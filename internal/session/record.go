package session

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"keyway/internal/secret"
)

// Record is what is kept of a session. It prints as its public id and provider
// only, whatever the verb, since the rest is tokens and people's data.
type Record struct {
	// PublicID names the session where its cookie must not be known: in logs, to
	// upstreams, as what a CSRF token is bound to. Set by Manager.Create.
	PublicID string

	Provider string // alias of the IdP
	Issuer   string
	Subject  string
	SID      string // the IdP's session id, where it gave one
	Email    string
	Name     string
	Roles    []string
	// Permissions are fine-grained rights, where the IdP's tokens carry them.
	Permissions []string
	// Claims is the part of the user's claims that /auth/session shows.
	Claims map[string]json.RawMessage

	AccessToken  secret.Value
	AccessExpiry time.Time // zero: the IdP did not say
	RefreshToken secret.Value
	IDToken      secret.Value
	TokenType    string
	// TokenKey is the version of the key that AccessToken is bound to (RFC 9449);
	// empty: it is a bearer token.
	TokenKey  string
	Scope     string
	GrantedAt time.Time // when these tokens were issued to us

	// RightsMissed is since when Roles and Permissions are what the IdP said once: a
	// refresh has brought tokens, and nobody could be asked. Zero: they are what it
	// says. See Manager.RenewRights.
	RightsMissed time.Time
	// RefreshBy is when tokens are renewed at the latest, however long they are good:
	// only new ones say what was missed. Zero: in time.
	RefreshBy time.Time

	AuthTime time.Time // when the user signed in at the IdP
	IssuedAt time.Time // iat of the ID token of the sign-in, by the IdP's clock
	BegunAt  time.Time // when the sign-in began, by ours; zero: not known
	// CreatedAt and AbsoluteExpiry are set by Manager.Create, and never change.
	CreatedAt      time.Time
	AbsoluteExpiry time.Time
	Binding        Binding // set by Manager.Create
}

// Binding is where a session was signed in from, as hashes that name their
// salt's version. The zero Binding is bound to nothing.
type Binding struct {
	Version    string // of the salt
	PrefixBits int    // of the address that PrefixHash is of
	PrefixHash []byte
	UAHash     []byte
}

// Format implements fmt.Formatter, for every verb.
func (r Record) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "session %s (%s)", r.PublicID, r.Provider)
}

// LogValue implements slog.LogValuer.
func (r Record) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", r.PublicID), slog.String("provider", r.Provider))
}

// clone is a copy that shares nothing that can be changed.
func (r Record) clone() Record {
	r.Claims = maps.Clone(r.Claims)
	r.Roles = slices.Clone(r.Roles)
	r.Permissions = slices.Clone(r.Permissions)
	return r
}

// keepFixed undoes changes to what never changes in the life of a session.
func (r Record) keepFixed(was Record) Record {
	r.PublicID, r.Provider, r.Issuer, r.Subject = was.PublicID, was.Provider, was.Issuer, was.Subject
	r.SID, r.IssuedAt, r.BegunAt = was.SID, was.IssuedAt, was.BegunAt // what it is found by
	r.CreatedAt, r.AbsoluteExpiry, r.Binding = was.CreatedAt, was.AbsoluteExpiry, was.Binding
	return r
}
