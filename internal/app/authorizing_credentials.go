package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"keyway/internal/authz/authzen"
	"keyway/internal/config"
	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/secret"
	"keyway/internal/upstream"
)

// Ways to authenticate at the decision point.
const (
	pdpBearer            = "bearer"
	pdpClientCredentials = "client_credentials"
)

// usesPDPSecret reports whether we authenticate at the decision point.
func usesPDPSecret(c *config.Config) bool {
	return c.PDP.Configured() && !c.PDP.Embedded() && !pdpSecret(c.PDP).IsZero()
}

// pdpSecret is where the decision point's secret is handed in.
func pdpSecret(p config.PDP) config.SecretRef {
	switch p.Connection.Credentials.Method {
	case pdpBearer:
		return p.Connection.Credentials.Token
	case pdpClientCredentials:
		return p.Connection.Credentials.ClientSecret
	}
	return config.SecretRef{}
}

// pdpClient asks for tokens by one version of the secret.
type pdpClient struct {
	value  secret.Value
	source upstream.TokenSource
}

// credentials are the live versions. A token may have been revoked, whatever the
// secret is: the active version is tried once more then, with a new token.
func (p *remotePoint) credentials() []authzen.Credential {
	ring := p.ring()
	if ring.IsZero() {
		return nil
	}
	var all []authzen.Credential
	for v := range ring.Live() {
		all = append(all, p.credential(v))
	}
	if p.c.Connection.Credentials.Method == pdpClientCredentials {
		again := all[0]
		first := again.Authorization
		again.Authorization = func(ctx context.Context) (string, error) {
			text, err := first(ctx)
			if err == nil && p.isRefused(again.Version, text) {
				return "", errors.New("no other token can be had yet")
			}
			return text, err
		}
		all = append(all, again)
	}
	return all
}

func (p *remotePoint) credential(v keyring.Version) authzen.Credential {
	if p.c.Connection.Credentials.Method == pdpBearer {
		return bearerCredential(v)
	}
	return authzen.Credential{Version: v.ID, Authorization: func(ctx context.Context) (string, error) {
		source, err := p.tokens(v)
		if err != nil {
			return "", err
		}
		token, err := source.Token(ctx, p.policy())
		if err != nil {
			return "", err
		}
		return showing(token.Value), nil
	}, Refused: func(authorization string) { p.tokenRefused(v.ID, authorization) }}
}

// bearerCredential is a version that is shown as it is.
func bearerCredential(v keyring.Version) authzen.Credential {
	return authzen.Credential{Version: v.ID, Authorization: func(context.Context) (string, error) {
		return showing(v.Value), nil
	}}
}

func (p *remotePoint) policy() *upstream.TokenPolicy {
	return upstream.NewTokenPolicy(upstream.ServiceToken, "", p.c.Connection.Credentials.Scopes)
}

// tokens are those by one version of the secret. Versions that are over are dropped.
func (p *remotePoint) tokens(v keyring.Version) (upstream.TokenSource, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.clients[v.ID]; ok && known.value.Equal(v.Value) {
		return known.source, nil
	}
	fetch, err := newPDPTokens(p.c.Connection.Credentials, v, p.metadata, observer{p.a.resources.metrics, func(version string) { p.a.refused(namePDPSecret, version, "") }})
	if err != nil {
		return nil, err
	}
	source := p.a.resources.tokens.For(fmt.Sprintf("pdp %s %s %s", p.c.Connection.Credentials.TokenURL, p.c.Connection.Credentials.ClientID, v.ID), fetch)
	if len(p.clients) >= 16 {
		clear(p.clients)
		clear(p.refused)
	}
	p.clients[v.ID] = pdpClient{v.Value, source}
	return source, nil
}

// pdpTokens fetches tokens for the decision point, by one version of the secret alone.
type pdpTokens struct {
	metadata func(context.Context) (*oidc.Metadata, error)
	client   *oidc.Client
}

var _ upstream.ClientCredentials = pdpTokens{}

// newPDPTokens has metadata say where tokens are asked for.
func newPDPTokens(c config.PDPCredentials, v keyring.Version, metadata func(context.Context) (*oidc.Metadata, error), o oidc.Observer) (pdpTokens, error) {
	v.State, v.Withdrawn, v.Compromised, v.Exposed, v.TakesOver = keyring.Active, false, false, false, false
	alone, err := keyring.New(namePDPSecret, v)
	if err != nil {
		return pdpTokens{}, err
	}
	client, err := oidc.NewClient(oidc.ClientOptions{Name: pdpName, ClientID: c.ClientID, Secret: alone, Observer: o})
	return pdpTokens{metadata, client}, err
}

// ClientCredentials implements upstream.ClientCredentials.
func (t pdpTokens) ClientCredentials(ctx context.Context, _ string, scopes []string) (upstream.Token, time.Time, error) {
	metadata, err := t.metadata(ctx)
	if err != nil {
		return upstream.Token{}, time.Time{}, err
	}
	tokens, err := t.client.ClientCredentials(ctx, metadata, scopes)
	return upstream.Token{Value: tokens.AccessToken}, tokens.Expiry, err
}

func (p *remotePoint) metadata(ctx context.Context) (*oidc.Metadata, error) {
	return tokenMetadata(ctx, p.c.Connection.Credentials, p.a.resources.provider)
}

// tokenMetadata is that of where tokens are asked for: the endpoint that is
// configured, or the sign-in provider, which may be nil.
func tokenMetadata(ctx context.Context, c config.PDPCredentials, signIn *oidc.Provider) (*oidc.Metadata, error) {
	if c.TokenURL != "" {
		return &oidc.Metadata{TokenEndpoint: c.TokenURL}, nil
	}
	if signIn == nil {
		return nil, errors.New("there is no sign-in provider to ask for a token, and no connection.credentials.token_url")
	}
	return signIn.Metadata(ctx)
}

// isRefused reports whether an authorization is what tokenRefused was told last.
func (p *remotePoint) isRefused(version, authorization string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, ok := p.refused[version]
	return ok && last.Equal(tokenIn(authorization))
}

// tokenRefused drops a token that the decision point did not take. It says nothing of
// the secret, by which another authorization server gave it, nor of a token that was
// had by it since: others may have been refused the same one, and have seen to that.
func (p *remotePoint) tokenRefused(version, authorization string) {
	token := tokenIn(authorization)
	p.mu.Lock()
	known, ok := p.clients[version]
	if ok {
		p.refused[version] = token
	}
	p.mu.Unlock()
	if ok {
		known.source.Reject(p.policy(), token)
	}
}

// showing is how a token is shown (RFC 6750 section 2.1), and tokenIn which was.
func showing(token secret.Value) string { return bearerScheme + string(token.Reveal()) }

func tokenIn(authorization string) secret.Value {
	return secret.NewValue([]byte(strings.TrimPrefix(authorization, bearerScheme)))
}

const bearerScheme = "Bearer "
