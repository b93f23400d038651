package oidc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"keyway/internal/dpop"
	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/secret"
)

// Client authentication methods (OpenID Connect Core section 9).
const (
	PrivateKeyJWT     = "private_key_jwt"
	ClientSecretBasic = "client_secret_basic"
	ClientSecretPost  = "client_secret_post"
)

// assertionType is fixed by RFC 7523 section 2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Times of a client assertion. It lives 60 s in all, beginning 10 s ago, so that
// a provider whose clock is up to 10 s behind ours, or 50 s ahead, accepts it.
const (
	assertionBackdated = 10 * time.Second
	assertionLifetime  = 60 * time.Second
)

// maxAttempts bounds how many live credentials one request is tried with. More
// than three are live only if somebody rotates faster than anything retires.
const maxAttempts = 3

// ClientOptions describe us at one provider.
type ClientOptions struct {
	Name     string // of the provider, for metrics
	ClientID string
	// Method is one of the constants above; empty means the best that the
	// credentials and the metadata allow.
	Method string
	// Secret is the ring of client secrets; zero when there is none.
	Secret keyring.Ring
	// Next is the id of a live version of Secret that is tried right after the active
	// one: what was found last is what the provider is most likely to know. It may be
	// empty.
	Next string
	// Signing is the ring of signing keys, for private_key_jwt.
	Signing keyring.Ring
	// DPoP has all tokens bound to its active key (RFC 9449); nil: they are bearer
	// tokens. A provider that answers with the other kind is refused.
	DPoP *dpop.Keys
	// HTTP, Observer and Timeout are as in ProviderOptions.
	HTTP     *http.Client
	Observer Observer
	Timeout  time.Duration
	// Newer has credentials looked for that came after this client was built, and
	// returns the client that has them; nil: there are none. It is asked when the
	// provider refuses all that this client has.
	Newer func(context.Context) *Client
}

// credential is one live version of what we authenticate with.
type credential struct {
	version string
	secret  secret.Value
	signer  *jwks.Signer
}

// Client sends authenticated requests to a provider's endpoints. It is built
// once per generation from the rings, immutable, and safe for concurrent use.
type Client struct {
	id      string
	method  string
	secrets []credential // the active version first
	signers []credential
	proofs  *proofs // nil: no token is bound
	call    *caller
	newer   func(context.Context) *Client // may be nil
}

// NewClient parses the credentials of every live version. It fails when the
// configured method has none.
func NewClient(o ClientOptions) (*Client, error) {
	if o.ClientID == "" {
		return nil, errors.New("client id: expected one, found none")
	}
	c := &Client{id: o.ClientID, method: o.Method, proofs: newProofs(o.DPoP), call: newCaller(o.Name, o.HTTP, o.Observer, o.Timeout), newer: o.Newer}
	for v := range o.Secret.Live() {
		one := credential{version: v.ID, secret: v.Value}
		if v.ID == o.Next && len(c.secrets) > 0 {
			c.secrets = slices.Insert(c.secrets, 1, one)
		} else {
			c.secrets = append(c.secrets, one)
		}
	}
	for v := range o.Signing.Live() {
		signer, err := jwks.NewVersionSigner(v)
		if err != nil {
			return nil, err
		}
		c.signers = append(c.signers, credential{version: v.ID, signer: signer})
	}
	switch o.Method {
	case "":
		if len(c.secrets)+len(c.signers) == 0 {
			return nil, errors.New("client authentication: expected a client secret or a signing key, found neither")
		}
	case PrivateKeyJWT:
		if len(c.signers) == 0 {
			return nil, errors.New("client authentication: private_key_jwt needs a signing key, found none")
		}
	case ClientSecretBasic, ClientSecretPost:
		if len(c.secrets) == 0 {
			return nil, fmt.Errorf("client authentication: %s needs a client secret, found none", o.Method)
		}
	default:
		return nil, fmt.Errorf("client authentication: expected %s, %s or %s, found %.40q",
			PrivateKeyJWT, ClientSecretBasic, ClientSecretPost, o.Method)
	}
	return c, nil
}

// ID is the client id.
func (c *Client) ID() string { return c.id }

// Method is how the client authenticates at a provider with this metadata. A
// client secret, where there is one, says that we are registered with it; a
// signing key alone says nothing, because every gateway has one.
func (c *Client) Method(m *Metadata) string {
	if c.method != "" {
		return c.method
	}
	offered := func(method string) bool { return slices.Contains(m.TokenAuthMethods, method) }
	switch {
	case len(c.secrets) == 0:
		return PrivateKeyJWT
	case len(m.TokenAuthMethods) == 0 || offered(ClientSecretBasic): // the default of RFC 8414 section 2
		return ClientSecretBasic
	case offered(ClientSecretPost):
		return ClientSecretPost
	case offered(PrivateKeyJWT) && len(c.signers) > 0:
		return PrivateKeyJWT
	default:
		return ClientSecretBasic
	}
}

// Post sends a form to one of the provider's endpoints (its name is for metrics
// and errors), authenticated with the active credential, and reads at most most
// bytes of the answer. When the provider answers invalid_client, the other live
// credentials are tried, each once: during a rotation either may be the one
// that it knows. So they are after a 401 that says nothing, which counts against none
// of them. An answer with status 400 or above is returned as an error:
// *UnavailableError, *OAuthError, or ErrAnswer.
//
// When all are refused, somebody may have changed the credential here and there a
// moment ago: what is new since is looked for once, and tried.
func (c *Client) Post(ctx context.Context, m *Metadata, endpoint, address string, form url.Values, most int64, options ...PostOption) (Answer, error) {
	return c.postBound(ctx, m, endpoint, address, form, most, "", options...)
}

// postBound is Post with a proof of a version of the key, if key is not empty.
func (c *Client) postBound(ctx context.Context, m *Metadata, endpoint, address string, form url.Values, most int64, key string, options ...PostOption) (Answer, error) {
	tried := map[string]bool{}
	answer, refused := c.post(ctx, m, endpoint, address, form, most, key, tried, options)
	if c.newer == nil || !isInvalidClient(refused) {
		return answer, refused
	}
	newer := c.newer(ctx)
	if newer == nil || newer == c {
		return answer, refused
	}
	known := len(tried)
	again, err := newer.post(ctx, m, endpoint, address, form, most, key, tried, options)
	if len(tried) == known {
		return answer, refused // nothing was new
	}
	return again, err
}

// PostOption changes a request of [Client.Post], each attempt anew.
type PostOption func(*http.Request)

// Accept is the media types that are understood as an answer (RFC 9110 section
// 12.5.1), instead of application/json. An error stays JSON.
func Accept(types string) PostOption {
	return func(r *http.Request) { r.Header.Set("Accept", types) }
}

// post tries the credentials that were not tried yet.
func (c *Client) post(ctx context.Context, m *Metadata, endpoint, address string, form url.Values, most int64, key string, tried map[string]bool, options []PostOption) (Answer, error) {
	method := c.Method(m)
	credentials := c.secrets
	if method == PrivateKeyJWT {
		credentials = c.signers
	}
	refused := fmt.Errorf("%w: there is no credential for %s", ErrClientRefused, method)
	attempts := 0
	for _, credential := range credentials {
		if tried[credential.version] {
			continue
		}
		if attempts++; attempts > maxAttempts {
			break
		}
		tried[credential.version] = true
		answer, sent, err := c.attempt(ctx, m, endpoint, address, method, credential, form, most, key, options)
		if err != nil {
			return Answer{}, err
		}
		err = answer.oauthError(endpoint, sent...)
		var oauth *OAuthError
		switch {
		case errors.As(err, &oauth) && oauth.Code == "invalid_client":
			c.call.observer.ClientAuth(c.call.name, credential.version, Refused)
			if attempts == 1 {
				refused = err // the active one's refusal is the one to report
			}
			continue
		case errors.Is(err, errUnexplained):
			if attempts == 1 {
				refused = err
			}
			continue // the others may do better; nobody is accused
		case err == nil || oauth != nil: // an error of another kind comes after authentication
			c.call.observer.ClientAuth(c.call.name, credential.version, Accepted)
		}
		return answer, err
	}
	return Answer{}, refused
}

// request builds one attempt. sent are the values that must not come back in an
// error.
func (c *Client) request(method string, with credential, m *Metadata, address string, form url.Values) (*http.Request, []string, error) {
	body := make(url.Values, len(form)+4)
	var sent []string
	for name, values := range form {
		body[name] = values
		if hidden[name] {
			sent = append(sent, values...)
		}
	}
	var basic string
	switch method {
	case PrivateKeyJWT:
		assertion, err := c.assertion(with.signer, m, time.Now())
		if err != nil {
			return nil, nil, err
		}
		body.Set("client_id", c.id)
		body.Set("client_assertion_type", assertionType)
		body.Set("client_assertion", assertion)
		sent = append(sent, assertion)
	case ClientSecretPost:
		body.Set("client_id", c.id)
		body.Set("client_secret", string(with.secret.Reveal()))
		sent = append(sent, string(with.secret.Reveal()))
	default:
		basic = string(with.secret.Reveal())
		sent = append(sent, basic)
	}
	request, err := http.NewRequest(http.MethodPost, address, strings.NewReader(body.Encode()))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: an endpoint is no URL", ErrMetadata)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if basic != "" {
		// Both parts are form-urlencoded first (RFC 6749 section 2.3.1), so that
		// a colon or a percent sign in them arrives as it is.
		request.SetBasicAuth(url.QueryEscape(c.id), url.QueryEscape(basic))
		_, encoded, _ := strings.Cut(request.Header.Get("Authorization"), " ")
		sent = append(sent, encoded)
	}
	return request, sent, nil
}

// hidden are parameters whose values no error may show.
var hidden = map[string]bool{
	"code": true, "code_verifier": true, "refresh_token": true, "token": true,
	"state": true, "nonce": true, "request": true, "subject_token": true, "actor_token": true,
}

// assertionClaims are those of RFC 7523 section 3.
type assertionClaims struct {
	Issuer    string `json:"iss"`
	Subject   string `json:"sub"`
	Audience  string `json:"aud"`
	ID        string `json:"jti"`
	IssuedAt  int64  `json:"iat"`
	NotBefore int64  `json:"nbf"`
	Expiry    int64  `json:"exp"`
}

// assertion makes a client assertion. The audience is the issuer as one string,
// at every endpoint: whatever other address the metadata names, an assertion
// sent there is of no use at the true provider's (FAPI 2.0 Security
// Profile section 5.3.3).
// Each has its own jti, a retry's too.
func (c *Client) assertion(signer *jwks.Signer, m *Metadata, now time.Time) (string, error) {
	begin := now.Add(-assertionBackdated)
	text, err := signer.Sign(assertionClaims{
		Issuer: c.id, Subject: c.id, Audience: m.Issuer, ID: rand.Text(),
		IssuedAt: begin.Unix(), NotBefore: begin.Unix(), Expiry: begin.Add(assertionLifetime).Unix(),
	}, "JWT", m.TokenAuthAlgs)
	if err != nil {
		return "", fmt.Errorf("client assertion: %w", err)
	}
	return text, nil
}
