package config

import (
	"fmt"

	"keyway/internal/route"
)

// checkAvailable refuses what the format has and this version does not do. It
// is the one place that knows; what a later version can do is taken out here.
// A setting that were accepted and not obeyed would be a hole.
func (l *loader) checkAvailable() {
	refuse := func(file, key, what, instead string) {
		l.wrong(file, key, what+" is not available in this version", "expected "+instead)
	}
	s := &l.settings
	if s.OIDC.TokenAuthMethod == AuthTLSClient {
		refuse(SettingsFile, "oidc.token_auth_method", "tls_client_auth", "private_key_jwt, client_secret_basic or client_secret_post")
	}
	for i, r := range l.routes.Routes {
		if r.TokenPolicy.Mode == route.TokenOnBehalfOf {
			refuse(RoutesFile, fmt.Sprintf("routes[%d].token_policy.mode", i), "on_behalf_of", "session_passthrough, service_token or none")
		}
	}
	for i, p := range l.idps.IdPs {
		if p.TokenEndpointAuthMethod == AuthTLSClient {
			refuse(IdPsFile, fmt.Sprintf("idps[%d].token_endpoint_auth_method", i), "tls_client_auth", "private_key_jwt, client_secret_basic or client_secret_post")
		}
	}
}
