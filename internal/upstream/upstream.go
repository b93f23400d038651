package upstream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"keyway/internal/dpop"
	"keyway/internal/principal"
	"keyway/internal/problem"
	"keyway/internal/secret"
)

// Options configure a Proxy.
type Options struct {
	// Services are the only places that are ever connected to.
	Services []Service
	// Tokens issues service tokens. It may be nil when no route uses them; it
	// outlives the Proxy.
	Tokens TokenSource
}

// Proxy forwards requests to services. It is immutable and safe for concurrent
// use. A new configuration gets a new Proxy; what is under way on the old one
// finishes there.
type Proxy struct {
	services map[string]*service
	tokens   TokenSource
}

// New checks the services and builds a Proxy. It connects to nothing. The error
// joins everything that is wrong.
func New(o Options) (*Proxy, error) {
	p := &Proxy{services: make(map[string]*service, len(o.Services)), tokens: o.Tokens}
	var problems []error
	for _, s := range o.Services {
		if _, twice := p.services[s.Name]; twice {
			problems = append(problems, fmt.Errorf("service %q: expected once, found twice", s.Name))
			continue
		}
		ready, err := newService(s)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		p.services[s.Name] = ready
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return p, nil
}

// Close gives up idle connections. Requests under way are not touched, and their
// connections close on their own a minute after.
func (p *Proxy) Close() {
	for _, s := range p.services {
		s.transport.CloseIdleConnections()
		s.upgrades.CloseIdleConnections()
	}
}

// URL is where a request for the escaped path and raw query would go, for people
// to read. It is empty when there is no such service.
func (p *Proxy) URL(serviceName, path, rawQuery string) string {
	s, ok := p.services[serviceName]
	if !ok {
		return ""
	}
	u := s.scheme + "://" + s.host + s.basePath + path
	if rawQuery != "" {
		u += "?" + rawQuery
	}
	return u
}

// Request is what the gateway decided about one request.
type Request struct {
	// Service names where it goes.
	Service string
	// Path is the escaped path at the service, RawQuery the query without "?".
	// Both are sent byte for byte, after the service's base path.
	Path, RawQuery string
	// Principal is who asks; nil means nobody is signed in.
	Principal *principal.Principal
	// CorrelationID is sent as X-Correlation-ID.
	CorrelationID string
	// TraceParent and TraceState are sent as the headers of that name (W3C Trace
	// Context); empty: not. What a client sends under these names never is.
	TraceParent, TraceState string
	// Token says which Authorization the upstream gets; nil means none.
	Token *TokenPolicy
	// AccessToken is the session's or the caller's token, for Passthrough.
	AccessToken secret.Value
	// AccessKey is the version of the key that AccessToken is bound to; empty: it is a
	// bearer token. Proofs has that key; nil when there are no bound tokens.
	AccessKey string
	Proofs    *dpop.Keys
	// Streaming lets the exchange last as long as both sides and the request's
	// context want, flushes every piece, and allows WebSockets.
	Streaming bool
	// ClientIP, Scheme and Host are as determined from trusted sources only.
	ClientIP     netip.Addr
	Scheme, Host string
	// Outcome, when not nil, is filled in before Forward returns or panics.
	Outcome *Outcome
}

// Outcome is what became of a forwarded request, for the log.
type Outcome struct {
	// UpstreamStatus is zero when the upstream did not answer.
	UpstreamStatus int
	// Aborted is set when the response had begun and could not be finished.
	Aborted bool
	// Err says why, for an operator: it may hold addresses, never tokens, paths,
	// bodies, or any other text of the client's or the upstream's. For an Aborted response it is a *problem.Error or ErrClientGone.
	Err error
}

// Forward sends r to the service and its response to w.
//
// When it fails before the response began, it returns an error and has written
// nothing: a *[problem.Error] (codes bad_request, ambiguous_path,
// ambiguous_query, unsupported_upgrade, too_large, upstream_failed,
// upstream_timeout, upstream_auth_failed, session_ended, shutting_down,
// internal_error), or [ErrClientGone]. When the connection has to be closed with
// the answer, w's Connection header says so already.
//
// When it fails later there is no honest way to finish the response: it panics
// with http.ErrAbortHandler, on which net/http cuts the client's connection.
//
// Headers that are in w already stay, and win over the upstream's.
func (p *Proxy) Forward(w http.ResponseWriter, r *http.Request, req Request) error {
	if err := CheckForm(r); err != nil {
		return refuse(w, r, err)
	}
	s, ok := p.services[req.Service]
	if !ok {
		return problem.Newf(problem.Internal, "expected one of the configured services, found %q", req.Service)
	}
	if err := checkPath(req.Path); err != nil {
		return problem.New(problem.AmbiguousPath, err)
	}
	if err := checkQuery(req.RawQuery); err != nil {
		return problem.New(problem.AmbiguousQuery, err)
	}
	webSocket, err := asksForWebSocket(r, req.Streaming)
	if err != nil {
		return refuse(w, r, err)
	}
	if ignoresUpgrade(r, webSocket) {
		endConnection(w, r)
	}
	authorization, token, err := p.authorization(r.Context(), &req)
	if err != nil {
		return err
	}
	x := &exchange{service: s, req: req, authorization: authorization, token: token, webSocket: webSocket, tokens: p.tokens, w: w}
	return x.run(r)
}

// refuse has the client's connection closed with the answer.
func refuse(w http.ResponseWriter, r *http.Request, err error) error {
	endConnection(w, r)
	return err
}

// endConnection has the client's connection end with the answer. In HTTP/2 a request's
// end is no matter of its connection's, which others share: net/http would take the
// header for an order to end that.
func endConnection(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		w.Header()["Connection"] = []string{"close"}
	}
}

// endUpload has the connection end with the answer while the client may still be sending
// the request; but not at once: with unread bytes at hand the kernel would reset it, and
// the client might not get to read the answer. After a body that is over its bound
// net/http waits a little for the client, so it is told of one. It knows so by itself only
// of a body that nobody has put a bound around.
func endUpload(w http.ResponseWriter, r *http.Request) {
	endConnection(w, r)
	for {
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = outer.Unwrap()
	}
	_, _ = http.MaxBytesReader(w, io.NopCloser(strings.NewReader("x")), 0).Read(make([]byte, 1))
}
