package oidc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/seal"
)

// OneTime remembers that something was used. It must be shared by all replicas.
type OneTime interface {
	// Claim reports whether it is the first to claim id, and keeps the claim for
	// ttl. It is atomic. On an error nothing may have been claimed.
	Claim(ctx context.Context, id string, ttl time.Duration) (first bool, err error)
	// Unclaim takes a claim back that was made here, as if it never was.
	Unclaim(ctx context.Context, id string) error
}

// PAR modes (MS_BFF_PAR_ENABLED).
const (
	PARAuto     = ""         // whenever the metadata has the endpoint
	PAROff      = "off"      // only if the provider demands it
	PARRequired = "required" // no sign-in without it
)

// Options describe a relying party. Provider, Client, StateKey and OneTime are
// required.
type Options struct {
	Provider *Provider
	Client   *Client
	// StateKey is the ring that seals sign-ins under way.
	StateKey keyring.Ring
	// Meter counts what that is used for; nil: nobody does.
	Meter   *seal.Meter
	OneTime OneTime
	// Scopes to ask for; openid is added if it is not among them.
	Scopes []string
	// Callback, Return and Cookies are our own addresses and cookies.
	Callback Callback
	Return   ReturnPolicy
	Cookies  CookiePolicy
	PAR      string
	// JAR says whether authorization requests are signed (RFC 9101). JARM demands that
	// the responses are.
	JAR  string
	JARM bool
	// IDTokenAlgorithms narrows what ID tokens may be signed with, to what we
	// are registered with. Empty: the asymmetric ones of the metadata.
	IDTokenAlgorithms []string
	// SkipUserInfo leaves the UserInfo endpoint alone.
	SkipUserInfo bool
	// AllowedParams are names of further authorization request parameters that
	// whoever starts a sign-in may set, such as login_hint or ui_locales.
	AllowedParams []string
}

// reserved parameters are never taken from whoever starts a sign-in: with them
// it could be made weaker, or somebody else's.
var reserved = []string{
	"response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "nonce",
	"code_challenge", "code_challenge_method", "request", "request_uri", "client_secret",
	"client_assertion", "client_assertion_type", "claims", "resource", "audience", "dpop_jkt", "id_token_hint",
}

// RelyingParty signs users in at one provider. It is immutable, built once per
// generation, and safe for concurrent use.
type RelyingParty struct {
	o            Options
	provider     *Provider
	client       *Client
	transactions transactions
	scopes       []string
}

// New builds a relying party.
func New(o Options) (*RelyingParty, error) {
	switch {
	case o.Provider == nil || o.Client == nil || o.OneTime == nil:
		return nil, errors.New("relying party: Provider, Client and OneTime are required")
	case !slices.Contains([]string{PARAuto, PAROff, PARRequired}, o.PAR):
		return nil, fmt.Errorf("relying party: expected a PAR mode of %q, %q or %q, found %q", PARAuto, PAROff, PARRequired, o.PAR)
	}
	if !slices.Contains([]string{JARAuto, JAROff, JARRequired}, o.JAR) {
		return nil, fmt.Errorf("relying party: expected a JAR mode of %q, %q or %q, found %q", JARAuto, JAROff, JARRequired, o.JAR)
	}
	for _, name := range o.AllowedParams {
		if slices.Contains(reserved, name) || name == "" {
			return nil, fmt.Errorf("relying party: the parameter %q can't be left to whoever starts a sign-in", name)
		}
	}
	if err := o.Callback.Check(); err != nil {
		return nil, err
	}
	if len(o.IDTokenAlgorithms) > 0 && len(jwks.Acceptable(o.IDTokenAlgorithms)) != len(o.IDTokenAlgorithms) {
		return nil, fmt.Errorf("relying party: ID token algorithms: expected asymmetric ones, found %q", o.IDTokenAlgorithms)
	}
	sealed, err := newTransactions(o.StateKey, o.Meter)
	if err != nil {
		return nil, err
	}
	scopes := slices.Clone(o.Scopes)
	if !slices.Contains(scopes, "openid") { // what makes it OpenID Connect (Core 3.1.2.1)
		scopes = append([]string{"openid"}, scopes...)
	}
	return &RelyingParty{o: o, provider: o.Provider, client: o.Client, transactions: sealed, scopes: scopes}, nil
}

// Provider is the long-lived part.
func (rp *RelyingParty) Provider() *Provider { return rp.provider }

// Cookies is the policy of the login cookies.
func (rp *RelyingParty) Cookies() CookiePolicy { return rp.o.Cookies }

// Callback knows our addresses.
func (rp *RelyingParty) Callback() Callback { return rp.o.Callback }

// metadata is the provider's metadata, or an error with its code.
func (rp *RelyingParty) metadata(ctx context.Context) (*Metadata, error) {
	m, err := rp.provider.Metadata(ctx)
	if err != nil {
		return nil, codedMetadata(err)
	}
	return m, nil
}
