package idp

import (
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Hooks are the lies. Every field may be nil, and so may the pointer. They are
// called concurrently, one call per request, after the provider has decided and
// stored what an honest one would: a hook changes what is said, not what is
// true, so that the next honest answer is right again.
type Hooks struct {
	// Before sees every request first. Handled means that it has answered, or
	// has hung up. The ResponseWriter supports http.NewResponseController. The
	// body has not been read.
	Before func(w http.ResponseWriter, r *http.Request) (handled bool)

	// Discovery changes the metadata document, JWKS the published key set.
	Discovery func(doc map[string]any)
	JWKS      func(set *jose.JSONWebKeySet)

	// IDToken and AccessToken change header and claims before signing. The
	// signature is made with the active ES256 key whatever the header says.
	IDToken     func(t *JWT)
	AccessToken func(t *JWT)

	// SerializedIDToken replaces the finished token.
	SerializedIDToken func(token string) string

	// LogoutToken and SerializedLogoutToken are the same for what is sent to
	// clients when somebody signs out. LogoutAnswered is told what came of it, in
	// the background: the status of the last try, or why there is none.
	LogoutToken           func(t *JWT)
	SerializedLogoutToken func(token string) string
	LogoutAnswered        func(clientID string, status int, err error)

	// Goodbye changes the parameters with which the browser is sent back after
	// signing out: `state`, if the client sent one.
	Goodbye func(v url.Values)

	// ResponseMode, if it is not empty, is the response mode of every authorization
	// response, whatever was asked for: query or form_post.
	ResponseMode string

	// Authorization changes the parameters of an authorization response. The
	// order within one name is kept, so a parameter can be sent twice.
	Authorization func(v url.Values)

	// Response changes header and claims of a signed authorization response (JARM)
	// before signing; SerializedResponse replaces it.
	Response           func(t *JWT)
	SerializedResponse func(token string) string

	// DPoPNonce says which nonce a proof has to carry at an endpoint now (RFC 9449,
	// 8); it is set with the answer. Empty: none. It must be good for concurrent use.
	DPoPNonce func(endpoint string) string

	// These change a whole answer, errors included.
	Token         func(r *http.Request, a *Answer)
	Userinfo      func(r *http.Request, a *Answer)
	PAR           func(r *http.Request, a *Answer)
	Introspection func(r *http.Request, a *Answer)
}

// JWT is a token about to be signed. Values are encoded by encoding/json; a
// json.RawMessage passes as it is, a json.Number too.
type JWT struct {
	ClientID       string
	Grant          string // grant type that asked for it
	Header, Claims map[string]any
}

// Answer is a response about to be sent.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Delay  time.Duration // before the first byte; ends early when the client leaves
}

// Edit decodes the body as a JSON object, lets f change it, and encodes it
// again. A body that is no JSON object is given to f as an empty one.
func (a *Answer) Edit(f func(m map[string]any)) {
	m := map[string]any{}
	if json.Unmarshal(a.Body, &m) != nil || m == nil {
		m = map[string]any{}
	}
	f(m)
	a.Body, _ = json.Marshal(m)
}

// SetHooks replaces the hooks for requests that arrive from now on; nil makes
// the provider honest.
func (p *Provider) SetHooks(h *Hooks) {
	if h == nil {
		h = &Hooks{}
	}
	p.hooks.Store(h)
}
