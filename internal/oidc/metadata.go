package oidc

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"keyway/internal/jwks"
)

// Metadata is what is used of a provider's metadata (OpenID Connect Discovery
// 1.0 section 3, RFC 8414 section 2). It is immutable: don't change the lists.
type Metadata struct {
	Issuer                string `json:"issuer"`
	AuthorizationEndpoint string `json:"authorization_endpoint"`
	TokenEndpoint         string `json:"token_endpoint"`
	UserInfoEndpoint      string `json:"userinfo_endpoint"`
	JWKSURI               string `json:"jwks_uri"`
	PAREndpoint           string `json:"pushed_authorization_request_endpoint"`
	EndSessionEndpoint    string `json:"end_session_endpoint"`
	RevocationEndpoint    string `json:"revocation_endpoint"`
	IntrospectionEndpoint string `json:"introspection_endpoint"`

	TokenAuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgs    []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	IDTokenAlgs      []string `json:"id_token_signing_alg_values_supported"`
	ChallengeMethods []string `json:"code_challenge_methods_supported"`
	GrantTypes       []string `json:"grant_types_supported"`

	IntrospectionAlgs []string `json:"introspection_signing_alg_values_supported"`
	DPoPAlgs          []string `json:"dpop_signing_alg_values_supported"`
	RequestObjectAlgs []string `json:"request_object_signing_alg_values_supported"`
	RequireSigned     bool     `json:"require_signed_request_object"`
	ResponseModes     []string `json:"response_modes_supported"`
	AuthorizationAlgs []string `json:"authorization_signing_alg_values_supported"`

	// BackchannelLogout: the provider tells us that a user signed out there.
	BackchannelLogout bool `json:"backchannel_logout_supported"`

	// IssuerInResponse: the provider promises the iss parameter of RFC 9207, so
	// that a response without it is not one of its.
	IssuerInResponse bool `json:"authorization_response_iss_parameter_supported"`
	RequirePAR       bool `json:"require_pushed_authorization_requests"`
}

// Overrides replace endpoints of the metadata: OIDC_AUTHORIZATION_URL,
// OIDC_TOKEN_URL, and the *_url keys of idps.yaml. Empty means as discovered.
type Overrides struct {
	AuthorizationURL, TokenURL, JWKSURL, IntrospectionURL string
}

// parseMetadata checks a document against the issuer that was configured. The
// comparison is of strings, without any normalising (Discovery 1.0 section 4.3,
// RFC 8414 section 3.3): an attacker's look-alike must not be made to match.
func parseMetadata(body []byte, issuer string, allowHTTP bool, o Overrides, setting string) (*Metadata, error) {
	var m Metadata
	if err := jwks.DecodeObject(body, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMetadata, err)
	}
	if m.Issuer != issuer {
		return nil, fmt.Errorf("%w: expected exactly %q, as configured, found %+.200q%s", ErrIssuerMismatch, issuer, m.Issuer, adopt(setting, m.Issuer, allowHTTP))
	}
	override(&m.AuthorizationEndpoint, o.AuthorizationURL)
	override(&m.TokenEndpoint, o.TokenURL)
	override(&m.JWKSURI, o.JWKSURL)
	override(&m.IntrospectionEndpoint, o.IntrospectionURL)
	allowHTTP = allowHTTP || strings.HasPrefix(issuer, "http://")
	for _, e := range []struct {
		name, value string
		required    bool
	}{
		{"authorization_endpoint", m.AuthorizationEndpoint, true},
		{"token_endpoint", m.TokenEndpoint, true},
		{"jwks_uri", m.JWKSURI, true},
		{"userinfo_endpoint", m.UserInfoEndpoint, false},
		{"pushed_authorization_request_endpoint", m.PAREndpoint, m.RequirePAR},
		{"end_session_endpoint", m.EndSessionEndpoint, false},
		{"revocation_endpoint", m.RevocationEndpoint, false},
		{"introspection_endpoint", m.IntrospectionEndpoint, false},
	} {
		if e.value == "" && !e.required {
			continue
		}
		if err := checkEndpoint(e.value, allowHTTP); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrMetadata, e.name, err)
		}
	}
	return &m, nil
}

// adopt advises to configure the issuer that the document names; empty: that would
// be no issuer to be configured, or it can't be shown to the letter. Quoted as ASCII,
// a look-alike's letters show.
func adopt(setting, found string, allowHTTP bool) string {
	if len(found) > 200 || checkIssuer(found, allowHTTP) != nil {
		return ""
	}
	return fmt.Sprintf("; if that is your provider, set %s to %+q, to the letter", setting, found)
}

func override(endpoint *string, by string) {
	if by != "" {
		*endpoint = by
	}
}

// checkEndpoint wants an absolute URL without fragment (RFC 6749 section 3.1
// and 3.2) or user, over https unless http was allowed for this issuer.
func checkEndpoint(raw string, allowHTTP bool) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Opaque != "" || len(raw) > 2048 {
		return fmt.Errorf("expected an absolute URL, found %.200q", raw)
	}
	switch {
	case u.Scheme != "https" && !(u.Scheme == "http" && allowHTTP):
		return fmt.Errorf("expected an https URL, found %.200q", raw)
	case u.User != nil || u.Fragment != "" || strings.Contains(raw, "#"):
		return fmt.Errorf("expected a URL without user or fragment, found %.200q", u.Redacted())
	}
	return nil
}

// checkIssuer wants what OpenID Connect Core section 1.2 calls an issuer
// identifier; http only on loopback, or where it was allowed by name.
func checkIssuer(issuer string, allowHTTP bool) error {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" {
		return fmt.Errorf("issuer: expected a URL such as https://idp.example, found %.200q", issuer)
	}
	switch {
	case u.RawQuery != "" || u.ForceQuery || u.User != nil || strings.Contains(issuer, "#"):
		return fmt.Errorf("issuer: expected a URL without user, query or fragment, found %.200q", u.Redacted())
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && (allowHTTP || loopback(u.Hostname())):
		return nil
	default:
		return fmt.Errorf("issuer: expected an https URL (http is for loopback only), found %.200q", issuer)
	}
}

// loopback goes by the name alone; nothing is resolved.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
