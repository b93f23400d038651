package app

import (
	"context"
	"fmt"
	"time"

	"keyway/internal/authz"
	"keyway/internal/authz/authzen"
	"keyway/internal/config"
	"keyway/internal/keyring"
	"keyway/internal/oidc"
)

// DecisionPoint is the one that a configuration names, for who asks it without a
// gateway. It is asked as the gateway asks: over the same connection, with the same
// bounds, and with the credential that is handed in now; env has the environment's
// variables. Nobody is asked before it is. done ends its connections.
func DecisionPoint(c *config.Config, env func(string) (string, bool)) (point authz.PDP, done func(), err error) {
	if c.PDP.Embedded() {
		folder, err := openPolicies(c)
		return folder, func() {}, err
	}
	transport, err := authzen.NewTransport(c.PDP.Connection.CAFile)
	if err != nil {
		return nil, nil, err
	}
	options := pointOptions(c.PDP, transport)
	if usesPDPSecret(c) {
		credential, err := handedInCredential(c, env)
		if err != nil {
			return nil, nil, err
		}
		options.Credentials = func() []authzen.Credential { return []authzen.Credential{credential} }
	}
	client, err := authzen.New(options)
	return client, transport.CloseIdleConnections, err
}

// handedInCredential is what is handed in to authenticate at the decision point with.
func handedInCredential(c *config.Config, env func(string) (string, bool)) (authzen.Credential, error) {
	d := definition{name: namePDPSecret, ref: pdpSecret(c.PDP), peer: true, ids: &fingerprints{}}
	found, err := newOpener(c, env).find(d.ref)
	if err == nil {
		err = d.check(found.Value)
	}
	if err != nil {
		return authzen.Credential{}, fmt.Errorf("connection.credentials: %w", err)
	}
	v := keyring.Version{ID: d.candidate(found.Value).ID, State: keyring.Active, CreatedAt: time.Now(), ActivatedAt: time.Now(), Value: found.Value}
	credentials := c.PDP.Connection.Credentials
	if credentials.Method == pdpBearer {
		return bearerCredential(v), nil
	}
	var signIn *oidc.Provider
	if c.OIDC.Issuer != "" {
		if signIn, err = oidc.NewProvider(signInOptions(c)); err != nil {
			return authzen.Credential{}, err
		}
	}
	tokens, err := newPDPTokens(credentials, v, func(ctx context.Context) (*oidc.Metadata, error) {
		return tokenMetadata(ctx, credentials, signIn)
	}, nil)
	return authzen.Credential{Version: v.ID, Authorization: func(ctx context.Context) (string, error) {
		token, _, err := tokens.ClientCredentials(ctx, "", credentials.Scopes)
		return showing(token.Value), err
	}}, err
}
