package idp

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// metadata is the document of OpenID Connect Discovery 1.0, 3 and RFC 8414, 2.
func (p *Provider) metadata() map[string]any {
	scopes := map[string]bool{"openid": true, "profile": true, "email": true, "offline_access": true}
	p.mu.Lock()
	for _, c := range p.clients {
		for _, s := range c.Scopes {
			scopes[s] = true
		}
	}
	p.mu.Unlock()
	doc := map[string]any{
		"issuer":                                p.o.Issuer,
		"authorization_endpoint":                p.base + pathAuthorize,
		"token_endpoint":                        p.base + pathToken,
		"userinfo_endpoint":                     p.base + pathUserinfo,
		"jwks_uri":                              p.base + pathJWKS,
		"introspection_endpoint":                p.base + pathIntrospect,
		"revocation_endpoint":                   p.base + pathRevoke,
		"end_session_endpoint":                  p.base + pathEndSession,
		"scopes_supported":                      slices.Sorted(maps.Keys(scopes)),
		"response_types_supported":              []string{"code"},
		"response_modes_supported":              responseModes,
		"grant_types_supported":                 grantTypes,
		"subject_types_supported":               []string{"public"},
		"prompt_values_supported":               []string{"none", "login"},
		"id_token_signing_alg_values_supported": []string{"ES256"},
		"code_challenge_methods_supported":      []string{"S256"},
		"claims_supported": []string{
			"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "sid", "at_hash", "acr", "amr",
			"name", "preferred_username", "email", "email_verified", "roles",
		},
		"acr_values_supported":                           []string{demoACR},
		"backchannel_logout_supported":                   true,
		"backchannel_logout_session_supported":           true,
		"claims_parameter_supported":                     false,
		"request_parameter_supported":                    true,
		"request_uri_parameter_supported":                false,
		"authorization_response_iss_parameter_supported": true, // RFC 9207, 3
	}
	doc["dpop_signing_alg_values_supported"] = proofAlgs
	doc["request_object_signing_alg_values_supported"] = assertionAlgs
	doc["require_signed_request_object"] = p.o.RequireSignedRequests
	doc["authorization_signing_alg_values_supported"] = []string{"ES256"}
	for _, e := range []string{"token", "introspection", "revocation"} {
		doc[e+"_endpoint_auth_methods_supported"] = authMethods
		doc[e+"_endpoint_auth_signing_alg_values_supported"] = assertionAlgs
	}
	if !p.o.DisablePAR {
		doc["pushed_authorization_request_endpoint"] = p.base + pathPAR
		doc["require_pushed_authorization_requests"] = p.o.RequirePAR
	}
	return doc
}

func (p *Provider) discovery(c *call) {
	doc := p.metadata()
	if h := c.hooks.Discovery; h != nil {
		h(doc)
	}
	c.sendPublic(doc)
}

func (p *Provider) jwks(c *call) {
	set := p.keys.public()
	if h := c.hooks.JWKS; h != nil {
		h(&set)
	}
	c.sendPublic(set)
}

func (c *call) sendPublic(v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(c.w, err.Error(), http.StatusInternalServerError) // only a hook can cause it
		return
	}
	c.w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(c.p.o.JWKSMaxAge.Seconds())))
	c.w.Header().Set("Content-Type", "application/json")
	_, _ = c.w.Write(body)
}
