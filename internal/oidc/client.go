package oidc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
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
	// At is the provider that it is a client of: what its calls come to counts for
	// [Provider.Health]. nil: for nobody's.
	At *Provider
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
	secrets []credential // the active version first, here and of signers
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
	if o.At != nil {
		c.call.reach = o.At.reach
	}
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

// credentials are those of a method, the active version first.
func (c *Client) credentials(method string) []credential {
	if method == PrivateKeyJWT {
		return c.signers
	}
	return c.secrets
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
