package upstream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"

	"keyway/internal/problem"
)

// exchange is one request on its way through the proxy. All of it runs on the
// request's own goroutine, but for what a transport does with the request's body.
type exchange struct {
	service       *service
	tokens        TokenSource
	req           Request
	authorization string
	token         Token // in authorization
	webSocket     bool

	w        http.ResponseWriter
	outside  *http.Request // as it came; its context says whether anybody waits
	out      *http.Request // as it goes to the service; its context is the exchange's
	target   url.URL       // of out
	cutoff   cutoff
	sent     requestBody
	received responseBody
	backend  net.Conn  // of a WebSocket
	kept     *keptBody // what of the request can be sent again; nil: nothing is kept
}

func (x *exchange) run(r *http.Request) error {
	x.outside = r
	ctx := x.arm(r)
	defer x.disarm()
	x.out = x.request(ctx)
	res, err := x.roundTrip()
	if err == nil {
		if err = x.onResponse(res); err == nil {
			x.answer(res)
		} else {
			_ = res.Body.Close()
		}
	}
	if err == nil || errors.Is(err, errTunnelDone) {
		return nil
	}
	err = x.failure(err)
	if x.req.Outcome != nil {
		x.req.Outcome.Err = err
	}
	return err
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
	x.cutoff.timer = time.AfterFunc(x.service.timeout, x.cutoff.fire)
	return ctx
}

func (x *exchange) disarm() {
	// What net/http still holds of the answer it sends afterwards, and then takes the
	// deadline away.
	x.cutoff.extend(x.service.writeStall)
	x.cutoff.disarm()
	// net/http will wait for the rest of the request. It shall not wait for long.
	x.sent.release(&x.cutoff.rc, graceToWrite)
}

// request is the client's request as the service gets it.
func (x *exchange) request(ctx context.Context) *http.Request {
	out := x.outside.WithContext(ctx)
	out.Header = forwardable(x.outside.Header)
	if x.webSocket {
		out.Header["Connection"] = []string{"Upgrade"}
		out.Header["Upgrade"] = []string{"websocket"}
	}
	inject(out.Header, &x.req, x.authorization)
	if _, said := out.Header["User-Agent"]; !said {
		out.Header["User-Agent"] = nil // present but empty: none of net/http's own
	}

	// Opaque is written as it stands; a Path would be escaped again, and could
	// come out differently from what was decided.
	x.target = url.URL{
		Scheme: x.service.scheme, Host: x.service.host, Opaque: x.req.Path,
		RawQuery: x.req.RawQuery, ForceQuery: x.outside.URL.ForceQuery,
	}
	if x.service.basePath != "" {
		x.target.Opaque = x.service.basePath + x.req.Path
	}
	out.URL, out.Host = &x.target, ""
	// Trailers come after the headers were decided upon, under any name. That the
	// client's connection ends is no reason to end ours.
	out.Trailer, out.Close = nil, false
	if x.outside.ContentLength == 0 || x.outside.Body == nil {
		out.Body = nil // so that a transport knows that there is none
		return out
	}
	x.sent.src = x.outside.Body
	out.Body = &x.sent
	if x.token.Key != "" {
		x.kept = keepBody(&x.sent, out.ContentLength)
		out.Body = x.kept
	}
	return out
}

func (x *exchange) roundTrip() (*http.Response, error) {
	if x.token.Key != "" {
		return x.proven(x.out)
	}
	return x.send(x.out)
}

// send has no trace of informational responses: with one they would be the client's,
// past the rules for headers.
func (x *exchange) send(out *http.Request) (*http.Response, error) {
	if !x.webSocket {
		return x.service.transport.RoundTrip(out)
	}
	ctx := httptrace.WithClientTrace(out.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { x.backend = info.Conn },
	})
	return x.service.upgrades.RoundTrip(out.WithContext(ctx))
}

// onResponse makes a response one that may be passed on, or says why it may not. A
// switch of protocols is served before it returns.
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
	dropHopByHop(res.Header)
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
	cleanTrailer(res.Trailer)
	if _, ok := res.Header["Content-Type"]; !ok {
		x.w.Header()["Content-Type"] = nil // present but empty: no sniffing
	}
	x.received = responseBody{src: res.Body, res: res, outside: x.outside, events: isEventStream(res.Header)}
	res.Body = &x.received
	return nil
}

// failure is what an exchange fails with before the first byte of its answer.
func (x *exchange) failure(err error) error {
	if x.sent.pending() {
		// What is left of the body must not be taken for the next request, nor be
		// waited for.
		endUpload(x.w, x.outside)
	}
	switch {
	case errors.Is(err, errTokenRefused):
		return problem.New(problem.UpstreamAuthFailed, errTokenRefused)
	case errors.Is(err, errNonce), errors.Is(err, errProof):
		return problem.New(problem.UpstreamAuthFailed, err)
	case errors.Is(err, errNoHijack):
		return problem.New(problem.Internal, errNoHijack)
	}
	if cause := context.Cause(x.out.Context()); errors.Is(cause, errOverallTimeout) {
		err = cause
	}
	return kindOf(x.outside.Context(), x.sent.failure(), x.service.host, err)
}

// reportAbort says why a response that had begun can't be finished.
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
	if cause := context.Cause(x.out.Context()); errors.Is(cause, errOverallTimeout) {
		err = cause
	}
	x.req.Outcome.Err = kindOf(x.outside.Context(), nil, x.service.host, err)
}
