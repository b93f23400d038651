package app

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"keyway/internal/bearer"
	"keyway/internal/config"
	"keyway/internal/dpop"
	"keyway/internal/gateway"
	"keyway/internal/jwks"
	"keyway/internal/oidc"
	"keyway/internal/seal"
)

// signIn is the name of the provider that users sign in at, among the peers. No
// entry of idps.yaml can have it.
const signIn = ""

// peerClient is how we authenticate at a provider: which ring it is by.
type peerClient struct {
	peer   string // signIn, or the name of an entry
	name   string // in metrics
	id     string
	method config.AuthMethod
	secret string // the name of its ring
	given  bool   // there is such a secret
}

// clients are our clients at all providers.
func clients(c *config.Config) []peerClient {
	var all []peerClient
	if c.OIDC.Issuer != "" {
		all = append(all, peerClient{signIn, c.OIDC.Provider, c.OIDC.ClientID, c.OIDC.TokenAuthMethod, nameClientSecret, true})
	}
	for _, idp := range c.IdPs {
		if idp.ClientID != "" {
			all = append(all, peerClient{idp.Name, idp.Name, idp.ClientID, idp.TokenEndpointAuthMethod, clientSecretOf(idp.Name), !idp.ClientSecret.IsZero()})
		}
	}
	return all
}

// build makes the client from the rings; next is the version that is tried after the
// active one, if it is one of the ring.
func (k peerClient) build(r *resources, keys rings, next string, proofs *dpop.Keys) (*oidc.Client, error) {
	if k.peer != signIn {
		proofs = nil // we ask others about tokens, and for none
	}
	made, err := oidc.NewClient(oidc.ClientOptions{
		Name: k.name, ClientID: k.id, Method: string(k.method),
		Secret: keys[k.secret], Next: next, Signing: keys[nameSigningKey], DPoP: proofs, Observer: observer{r.metrics, r.refusedBy(k)},
		At:    r.peers[k.peer],
		Newer: func(ctx context.Context) *oidc.Client { return r.newer(ctx, k) },
	})
	if err != nil {
		return nil, fmt.Errorf("our client at %s: %w", r.peers[k.peer].Issuer(), err)
	}
	return made, nil
}

// signs reports whether it authenticates by the signing key.
func (k peerClient) signs(keys rings) bool {
	return k.method == config.AuthPrivateKeyJWT || k.method == config.AuthMethodDefault && keys[k.secret].IsZero()
}

// peersOf are the providers that a secret is presented to.
func (a *app) peersOf(secret string) []string {
	var users []string
	keys := a.first
	for _, k := range clients(a.config) {
		if secret == nameSigningKey && k.signs(keys) || secret == k.secret && !k.signs(keys) && !keys[secret].IsZero() {
			users = append(users, k.peer)
		}
	}
	return users
}

// openPeers makes the providers of idps.yaml ready. They are asked when they are
// needed.
func (r *resources) openPeers(c *config.Config) error {
	r.peers = map[string]*oidc.Provider{}
	r.nonces = dpop.NewNonces(0)
	r.presented = bearer.NewCache(0)
	r.close = append(r.close, func() error { r.presented.Close(); return nil })
	if r.provider != nil {
		r.peers[signIn] = r.provider
	}
	for _, idp := range c.IdPs {
		provider, err := oidc.NewProvider(oidc.ProviderOptions{
			Name: idp.Name, Issuer: idp.Issuer, Setting: "issuer of " + idp.Name + " in idps.yaml", AllowHTTP: idp.AllowInsecureHTTP,
			Overrides: idpOverrides(idp),
			Observer:  observer{r.metrics, nil},
		})
		if err != nil {
			return fmt.Errorf("idps.yaml: %s: %w", idp.Name, err)
		}
		r.peers[idp.Name] = provider
	}
	return nil
}

func idpOverrides(idp config.IdP) oidc.Overrides {
	return oidc.Overrides{TokenURL: idp.TokenURL, JWKSURL: idp.JWKSURL, IntrospectionURL: idp.IntrospectionURL}
}

// bearer is who presented tokens are checked by; nil when no provider's are
// accepted.
func (r *resources) bearer(c *config.Config, keys rings, clients map[string]*oidc.Client) (gateway.Bearer, error) {
	var entries []bearer.Entry
	for _, idp := range c.IdPs {
		if len(idp.Audience) == 0 {
			continue // it is there for what we ask of it, not for what others bring
		}
		provider := r.peers[idp.Name]
		entry := bearer.Entry{
			Name: idp.Name, Provider: cmp.Or(idp.Provider, idp.Name), Issuer: idp.Issuer, Audience: idp.Audience, Keys: provider.Keys(),
			Roles: claimsOf(idp.ClaimsMapping.Roles), Permissions: claimsOf(idp.ClaimsMapping.Permissions),
		}
		if client := clients[idp.Name]; client != nil {
			form := bearer.Form(idp.IntrospectionResponse)
			entry.Introspect, entry.NotOpaque = bearer.Introspection(provider, client, form), !idp.OpaqueTokens
			entry.Asker = fmt.Sprintf("%q %q %s", idp.ClientID, idp.IntrospectionURL, form)
		}
		entries = append(entries, entry)
	}
	if len(entries) == 0 {
		return nil, nil
	}
	salt, err := seal.NewHasher(keys[nameTokenHashSalt], "introspection", r.meter)
	if err != nil {
		return nil, err
	}
	return bearer.New(bearer.Options{Entries: entries, Salt: salt, Cache: r.presented, Observe: r.metrics.TokenValidation})
}

func claimsOf(sources []config.ClaimSource) []bearer.Claim {
	var claims []bearer.Claim
	for _, s := range sources {
		claims = append(claims, bearer.Claim{Source: s.Source, SpaceDelimited: s.Format == "space_delimited"})
	}
	return claims
}

// refusedBy is told of refusals of our credentials.
func (r *resources) refusedBy(k peerClient) func(version string) {
	return func(version string) {
		r.tally(k.secret, version, "")
		r.tally(nameSigningKey, version, "")
	}
}

// signingAlgorithm is that of a key that is made now: the configured one, else the
// best that the provider takes, if it can be asked.
func (r *resources) signingAlgorithm(ctx context.Context, c *config.Config) string {
	if c.SigningKey.Algorithm != "" || r.provider == nil {
		return c.SigningKey.Algorithm
	}
	metadata, err := r.provider.Metadata(ctx)
	if err != nil {
		return ""
	}
	return metadata.BestSigningAlgorithm()
}

// fetches is when our keys were last fetched by a program, as an IdP is.
type fetches struct{ at atomic.Int64 }

func (f *fetches) note(now time.Time) { f.at.Store(now.UnixNano()) }

func (f *fetches) last() time.Time {
	if at := f.at.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// after is the last fetch, if it was since all of these versions are held.
func (f *fetches) after(holds map[string]time.Time) time.Time {
	last := f.last()
	for _, since := range holds {
		if last.Before(since) {
			return time.Time{}
		}
	}
	return last
}

// counted counts who fetches our keys, because an IdP that has fetched them knows
// a new one.
type counted struct {
	*jwks.Publisher
	resources *resources
}

func (c counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	client := "program"
	if strings.HasPrefix(r.UserAgent(), "Mozilla/") {
		client = "browser"
	} else {
		c.resources.fetched.note(time.Now())
	}
	c.resources.metrics.JWKSFetch(client)
	c.Publisher.ServeHTTP(w, r)
}
