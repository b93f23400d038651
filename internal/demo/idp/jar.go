package idp

import (
	"encoding/json"
	"net/url"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// beside are parameters that may stand beside a request object: who asks, and how that
// is proved. Everything else has to be in it (RFC 9101, 5; FAPI 2.0 Message Signing,
// 5.3.2).
var beside = []string{"request", "client_id", "client_assertion", "client_assertion_type", "client_secret"}

// unwrapped are the parameters of an authorization request, out of its request object
// if it has one (RFC 9101, 6).
func (p *Provider) unwrapped(c *call, client *registered, v url.Values) (url.Values, *oauthError) {
	if !v.Has("request") {
		if client.SignedRequests || p.o.RequireSignedRequests {
			return nil, invalidRequest("the request must be signed (RFC 9101)")
		}
		return v, nil
	}
	bad := func(why string) (url.Values, *oauthError) {
		return nil, &oauthError{Code: "invalid_request_object", Description: why}
	}
	for name := range v {
		if !slices.Contains(beside, name) {
			return bad("parameter " + cut(name) + " is beside the request object")
		}
	}
	raw := v.Get("request")
	header, claims := jwtParts(raw)
	p.seen.note(func() { c.seen.RequestHeader, c.seen.RequestClaims = header, claims })
	if len(v["request"]) != 1 || len(raw) > maxAssertion {
		return bad("want one request object")
	}
	jws, err := jose.ParseSignedCompact(raw, assertionAlgs)
	if err != nil {
		return bad("not a JWS by one of our algorithms")
	}
	if typ, _ := jws.Signatures[0].Protected.ExtraHeaders[jose.HeaderType].(string); typ != "oauth-authz-req+jwt" {
		return bad("typ: want oauth-authz-req+jwt")
	}
	if !p.verifyAssertion(c, client, jws) {
		return bad("the signature does not verify")
	}
	var known assertionClaims
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &known); err != nil {
		return bad("claims")
	}
	known.Subject = known.Issuer // it has none
	if known.Issuer != client.ID || known.NotBefore == nil {
		return bad("iss must be the client_id, and nbf be there")
	}
	if err := known.check([]string{p.o.Issuer}, c.now, p.o.ClockSkew, p.o.MaxAssertionLifetime); err != nil {
		return bad(err.Error())
	}
	out := url.Values{}
	for name, value := range claims {
		text, isText := value.(string)
		switch {
		case name == "request" || name == "request_uri" || name == "sub":
			return bad(name + " must not be in a request object")
		case slices.Contains([]string{"iss", "aud", "exp", "nbf", "iat", "jti"}, name):
		case !isText:
			return bad(cut(name) + ": want a string")
		default:
			out.Set(name, text)
		}
	}
	if out.Get("client_id") != client.ID {
		return bad("client_id in the request object is not the one beside it")
	}
	return out, nil
}
