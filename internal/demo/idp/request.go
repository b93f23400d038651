package idp

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var responseModes = []string{"query", "form_post", "jwt", "query.jwt"}

// authRequest is an authorization request that was checked in full, whether it
// came pushed or by the front channel.
type authRequest struct {
	reply
	client    string
	scope     []string
	audience  []string
	nonce     string
	challenge string // PKCE, S256
	prompt    []string
	maxAge    *time.Duration
	loginHint string
	jkt       string // key that the code is bound to (RFC 9449, 10); empty: none
	idHint    string // sub that must sign in, from id_token_hint
}

// reply is where and how to answer. It exists only for a redirect URI that is
// registered, so whoever has one may redirect there.
type reply struct {
	clientID    string
	redirectURI string
	state       string
	hasState    bool
	mode        string
}

// resolveReply checks what must be right before an error may be sent to the
// redirect URI (RFC 6749, 4.1.2.1): otherwise we would be an open redirector.
func resolveReply(client *registered, v url.Values) (reply, *oauthError) {
	for _, name := range []string{"client_id", "redirect_uri", "state", "response_mode"} {
		if len(v[name]) > 1 {
			return reply{}, invalidRequest("parameter " + name + " is there twice")
		}
	}
	to := reply{clientID: client.ID, redirectURI: v.Get("redirect_uri"), state: v.Get("state"), hasState: v.Has("state"), mode: "query"}
	switch {
	case !client.allows(GrantCode):
		return reply{}, &oauthError{Code: "unauthorized_client", Description: "this client may not use the code flow"}
	case to.redirectURI == "":
		return reply{}, invalidRequest("redirect_uri is missing")
	case !slices.Contains(client.RedirectURIs, to.redirectURI):
		// Compared as strings (RFC 9700, 4.1.3): whatever is cleverer has been
		// fooled.
		return reply{}, invalidRequest("redirect_uri is not registered for this client")
	}
	if mode := v.Get("response_mode"); slices.Contains(responseModes, mode) {
		to.mode = mode
	}
	return to, nil
}

// RFC 7636, 4.2: BASE64URL of a SHA-256.
var challengeForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// readRequest checks the rest; its errors go to the redirect URI.
func (p *Provider) readRequest(client *registered, v url.Values, to reply) (*authRequest, *oauthError) {
	if name := repeated(v); name != "" {
		return nil, invalidRequest("parameter " + cut(name) + " is there twice")
	}
	req := &authRequest{
		reply: to, client: client.ID, nonce: v.Get("nonce"), challenge: v.Get("code_challenge"),
		prompt: strings.Fields(v.Get("prompt")), loginHint: v.Get("login_hint"), jkt: v.Get("dpop_jkt"),
	}
	mode, responseType := v.Get("response_mode"), v.Get("response_type")
	switch {
	case v.Has("registration"):
		return nil, &oauthError{Code: "registration_not_supported", Description: "registration is not supported"}
	case mode != "" && !slices.Contains(responseModes, mode):
		return nil, invalidRequest("response_mode: want " + strings.Join(responseModes, " or "))
	case responseType == "":
		return nil, invalidRequest("response_type is missing")
	case responseType != "code":
		return nil, &oauthError{Code: "unsupported_response_type", Description: "want response_type code"}
	case req.challenge == "":
		return nil, invalidRequest("code_challenge is missing: PKCE is required (RFC 9700, 2.1.1)")
	case v.Get("code_challenge_method") != "S256":
		return nil, invalidRequest("code_challenge_method: want S256")
	case !challengeForm.MatchString(req.challenge):
		return nil, invalidRequest("code_challenge: want 43 base64url characters")
	case has(req.prompt, "none") && len(req.prompt) > 1:
		return nil, invalidRequest("prompt: none stands alone")
	}
	for _, s := range req.prompt {
		// There is neither consent nor more than one account here to choose
		// from, so those two ask for nothing.
		if !has([]string{"none", "login", "consent", "select_account"}, s) {
			return nil, invalidRequest("prompt: unknown value")
		}
	}
	if v.Has("max_age") {
		n, err := strconv.ParseUint(v.Get("max_age"), 10, 31)
		if err != nil {
			return nil, invalidRequest("max_age: want a number of seconds")
		}
		age := time.Duration(n) * time.Second
		req.maxAge = &age
	}
	if v.Has("id_token_hint") {
		claims, err := p.verifyOwn(v.Get("id_token_hint"))
		if err != nil {
			return nil, invalidRequest("id_token_hint is not an ID token of ours")
		}
		req.idHint, _ = claims["sub"].(string)
	}
	for _, s := range strings.Fields(v.Get("scope")) {
		// Unknown scope values are ignored (OpenID Connect Core, 3.1.2.1); the
		// token response says what was granted.
		if has(client.Scopes, s) && !has(req.scope, s) {
			req.scope = append(req.scope, s)
		}
	}
	if len(req.scope) == 0 {
		return nil, &oauthError{Code: "invalid_scope", Description: "none of the scopes is this client's"}
	}
	var err *oauthError
	req.audience, err = p.audienceFor(client, v)
	return req, err
}

// audienceFor reads `resource` (RFC 8707) and `audience`, its older name.
func (p *Provider) audienceFor(client *registered, v url.Values) ([]string, *oauthError) {
	var out []string
	for _, a := range slices.Concat(v["resource"], v["audience"]) {
		if !slices.Contains(client.Audiences, a) {
			return nil, &oauthError{Code: "invalid_target", Description: "this client may not ask for that resource"}
		}
		if !has(out, a) {
			out = append(out, a)
		}
	}
	switch {
	case len(out) > 0:
		return out, nil
	case len(client.Audiences) > 0:
		return client.Audiences[:1:1], nil
	}
	return []string{p.o.Issuer}, nil
}
