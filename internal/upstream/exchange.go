package upstream

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"time"

	"keyway/internal/problem"
)

// exchange is one request on its way through the proxy. Its methods are the hooks
// of httputil.ReverseProxy; all run on the request's own goroutine.
type exchange struct {
	proxy         httputil.ReverseProxy
	service       *service
	tokens        TokenSource
	req           Request
	authorization string
	token         Token // in authorization
	webSocket     bool

	w        http.ResponseWriter
	in       *http.Request // as given to the proxy, without a header; its context is the exchange's
	outside  *http.Request // as it came; its context says whether anybody waits
	cutoff   cutoff
	sent     requestBody
	received responseBody
	backend  net.Conn  // of a WebSocket
	kept     *keptBody // what of the request can be sent again; nil: nothing is kept
	err      error     // failure before the first byte
}

// silent takes what httputil.ReverseProxy would log. Failures are reported by
// return value and Outcome instead.
var silent = log.New(io.Discard, "", 0)

func (x *exchange) run(r *http.Request) error {
	x.outside = r
	x.in = r.WithContext(x.arm(r))
	x.in.Header = nil // it would be copied, and what must not pass removed from the copy; see rewrite
	finished := false
	defer func() {
		x.disarm()
		if !finished {
			x.reportAbort()
		}
	}()
	x.proxy = httputil.ReverseProxy{
		Rewrite:        x.rewrite,
		Transport:      x,
		ModifyResponse: x.onResponse,
		ErrorHandler:   x.onError,
		ErrorLog:       silent,
		BufferPool:     buffers{},
	}
	if x.req.Streaming {
		x.proxy.FlushInterval = -1
	}
	x.proxy.ServeHTTP(x.w, x.in)
	finished = true
	if x.err != nil && x.req.Outcome != nil {
		x.req.Outcome.Err = x.err
	}
	return x.err
}

// arm starts what will end the exchange in time, whoever is stuck, and returns the
// exchange's context.
func (x *exchange) arm(r *http.Request) context.Context {
	x.cutoff.rc = *http.NewResponseController(x.w)
	x.cutoff.body = r.ContentLength != 0
	if x.req.Streaming {
		if x.cutoff.body {
			_ = x.cutoff.rc.EnableFullDuplex() // HTTP/1: else the response waits for the whole request
		}
		x.cutoff.stop = context.AfterFunc(r.Context(), x.cutoff.fire)
		x.w = &stallGuard{ResponseWriter: x.w, cutoff: &x.cutoff, patience: x.service.writeStall}
		return r.Context()
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	x.cutoff.cancel = cancel
	timeout := orDefault(x.req.Timeout, x.service.timeout)
	x.cutoff.timer = time.AfterFunc(timeout, x.cutoff.fire)
	return ctx
}

func (x *exchange) disarm() {
	x.cutoff.disarm()
	if x.sent.pending() {
		// net/http will wait for the rest, with a lock held on which our answer may
		// depend. It shall not wait for long.
		_ = x.cutoff.rc.SetReadDeadline(time.Now().Add(graceToWrite))
	}
	x.sent.close()
}

// rewrite turns the client's request into ours. The proxy has no say in its header any
// more: what is added here stays.
func (x *exchange) rewrite(pr *httputil.ProxyRequest) {
	out := pr.Out
	out.Header = forwardable(x.outside.Header)
	if x.webSocket {
		out.Header["Connection"] = []string{"Upgrade"}
		out.Header["Upgrade"] = []string{"websocket"}
	}
	inject(out.Header, &x.req, x.authorization)

	// Opaque is written as it stands; a Path would be escaped again, and could
	// come out differently from what was decided.
	u := out.URL
	u.Scheme, u.Host = x.service.scheme, x.service.host
	u.Opaque = x.req.Path
	if x.service.basePath != "" {
		u.Opaque = x.service.basePath + x.req.Path
	}
	u.Path, u.RawPath, u.RawQuery, u.Fragment, u.RawFragment, u.User = "", "", x.req.RawQuery, "", "", nil
	out.Host = ""
	// Trailers come after the headers were decided upon, under any name.
	out.Trailer = nil
	if out.Body != nil {
		x.sent.src = out.Body
		out.Body = &x.sent
		if x.token.Key != "" {
			x.kept = keepBody(&x.sent, out.ContentLength)
			out.Body = x.kept
		}
	}
}

// RoundTrip implements http.RoundTripper. It drops the proxy's client trace, with
// which an upstream's informational responses would write to the client, and
// wipe the headers that the gateway has set, past onResponse.
func (x *exchange) RoundTrip(out *http.Request) (*http.Response, error) {
	if x.token.Key != "" {
		return x.proven(out)
	}
	return x.send(out)
}

func (x *exchange) send(out *http.Request) (*http.Response, error) {
	ctx := x.in.Context()
	if !x.webSocket {
		return x.service.transport.RoundTrip(out.WithContext(ctx))
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { x.backend = info.Conn },
	})
	return x.service.upgrades.RoundTrip(out.WithContext(ctx))
}

func (x *exchange) onResponse(res *http.Response) error {
	if x.req.Outcome != nil {
		x.req.Outcome.UpstreamStatus = res.StatusCode
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return x.switchProtocols(res)
	}
	if res.StatusCode < 200 || res.StatusCode > 999 {
		return errStatus // net/http would panic on writing it
	}
	if x.webSocket {
		// Not switched: what the client sent ahead, meant for a tunnel, must not be
		// read as its next request (RFC 9110 section 7.8 lets the server decline).
		res.Header["Connection"] = []string{"close"}
	}
	if res.StatusCode == http.StatusUnauthorized && x.authorization != "" && x.req.Token.mode == ServiceToken {
		x.tokens.Reject(x.req.Token, x.token.Value)
		// Passed on, it would send the user to sign in, for a token that is ours.
		return errTokenRefused
	}
	cleanResponse(res.Header, x.w.Header())
	cleanResponse(res.Trailer, nil)
	if _, ok := res.Header["Content-Type"]; !ok {
		x.w.Header()["Content-Type"] = nil // present but empty: no sniffing
	}
	x.received = responseBody{src: res.Body, res: res, outside: x.outside, events: isEventStream(res.Header)}
	res.Body = &x.received
	return nil
}

// onError takes failures before the first byte, and the end of a WebSocket.
func (x *exchange) onError(_ http.ResponseWriter, _ *http.Request, err error) {
	switch {
	case errors.Is(err, errTunnelDone):
		return
	case errors.Is(err, errTokenRefused):
		x.err = problem.New(problem.UpstreamAuthFailed, errTokenRefused)
	case errors.Is(err, errNonce), errors.Is(err, errProof):
		x.err = problem.New(problem.UpstreamAuthFailed, err)
	case errors.Is(err, errNoHijack):
		x.err = problem.New(problem.Internal, errNoHijack)
	default:
		if cause := context.Cause(x.in.Context()); errors.Is(cause, errOverallTimeout) {
			err = cause
		}
		x.err = kindOf(x.outside.Context(), x.sent.failure(), x.service.host, err)
	}
	if x.in.ContentLength != 0 {
		// What is left of the body must not be taken for the next request, nor be
		// waited for.
		x.w.Header().Set("Connection", "close")
	}
}

// reportAbort runs while http.ErrAbortHandler is on its way.
func (x *exchange) reportAbort() {
	if x.req.Outcome == nil {
		return
	}
	x.req.Outcome.Aborted = true
	err := x.received.err
	if err == nil {
		// The copy failed, and not by reading: the client stopped taking it.
		x.req.Outcome.Err = ErrClientGone
		return
	}
	if cause := context.Cause(x.in.Context()); errors.Is(cause, errOverallTimeout) {
		err = cause
	}
	x.req.Outcome.Err = kindOf(x.outside.Context(), nil, x.service.host, err)
}
