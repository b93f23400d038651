package app

import (
	"keyway/internal/config"
	"keyway/internal/oidc"
)

// chosen is how we authenticate at a provider, and why so, where nobody set it: a client
// secret that was forgotten shows nowhere else. Empty: it was set. client and metadata
// may be nil.
func (k peerClient) chosen(c *config.Config, keys rings, client *oidc.Client, metadata *oidc.Metadata) string {
	if k.method != config.AuthMethodDefault {
		return ""
	}
	from := k.handedIn(c)
	if k.signs(keys) {
		return string(config.AuthPrivateKeyJWT) + ", because no client secret is handed in (" + from + ")"
	}
	if client == nil || metadata == nil {
		return "a client secret, because one is handed in (" + from + ")"
	}
	method := client.Method(metadata)
	if method == oidc.PrivateKeyJWT {
		return method + ", because the provider takes no client secret, though one is handed in (" + from + ")"
	}
	return method + ", because a client secret is handed in (" + from + ")"
}

// handedIn is where the client secret is handed in, or would be.
func (k peerClient) handedIn(c *config.Config) string {
	ref := c.OIDC.ClientSecret
	if k.peer != signIn {
		for _, idp := range c.IdPs {
			if idp.Name == k.peer {
				ref = idp.ClientSecret
			}
		}
	}
	switch {
	case ref.Kind == config.SecretEnv:
		return ref.Name
	case !ref.IsZero():
		return ref.String()
	case k.peer != signIn:
		return "client_secret of " + k.peer + " in idps.yaml"
	}
	return "AUTH_CLIENT_SECRET"
}

// tellMethod says at the start how we authenticate where users sign in.
func (a *app) tellMethod() {
	now := a.current.Load()
	for _, k := range clients(a.config) {
		if k.peer != signIn {
			continue
		}
		method := k.chosen(a.config, now.rings, now.clients[k.peer], a.resources.provider.Known())
		if method == "" {
			method = string(k.method) + ", as configured (oidc.token_auth_method)"
		}
		a.log.Info("how we authenticate at the identity provider", "issuer", a.config.OIDC.Issuer, "client", k.id, "method", method)
	}
}
