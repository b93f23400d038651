package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"

	"keyway/internal/problem"
)

// Causes with which the owner of a request's context may cancel it
// (context.WithCancelCause). Streams are told why they end: event streams end
// cleanly, WebSockets get a close frame. Every cause that is not of package
// context's own making, and not ErrShutdown, is taken for ErrSessionEnded; one
// that is a *problem.Error keeps its code.
var (
	// ErrSessionEnded says that the session behind the request is no more.
	ErrSessionEnded = errors.New("the session ended")
	// ErrShutdown says that this replica goes away.
	ErrShutdown = errors.New("the gateway is shutting down")
)

// ownersCause is why the owner of ctx ended it, or nil when it lives, its deadline
// has passed, or the client went away.
func ownersCause(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
		return nil
	}
	return cause
}

// ErrClientGone is what [Proxy.Forward] returns when the client went away before
// the response began. There is nobody to answer; it is worth one log line
// (status 499) and no alarm. Panic with http.ErrAbortHandler then: a handler that
// just returns has said 200.
var ErrClientGone = errors.New("the client went away")

var (
	errOverallTimeout  = errors.New("the upstream's time is up")
	errTunnelDone      = errors.New("the WebSocket is over")
	errUnasked         = errors.New("the upstream switched protocols without having been asked to, or without proof that it understood")
	errTokenRefused    = errors.New("the upstream refused our service token")
	errNonce           = errors.New("the upstream goes on demanding another nonce in the proof of the token (DPoP), or the request's body can't be sent again with the one that it set")
	errProof           = errors.New("no proof for the token (DPoP) could be made")
	errStatus          = errors.New("the upstream's status code is out of range")
	errNoHijack        = errors.New("the client's connection can't be switched to WebSocket")
	errBadUpgrade      = errors.New("expected a protocol's name in Upgrade, found bytes that are not printable ASCII")
	errNoUpgradeSocket = errors.New("the upstream's connection can't be switched to WebSocket")
)

// kindOf says what went wrong before the first byte of a response, given the
// context of the request as it came in, the error that reading the client's body
// ended with, if any, and that of the peer. The order matters: net/http cancels the
// context at any error in reading from the client, and so do we when time is up.
// Of neither error does any text pass (see [fault]).
func kindOf(ctx context.Context, bodyErr error, peer string, err error) error {
	if errors.Is(err, errOverallTimeout) {
		return problem.New(problem.UpstreamTimeout, errOverallTimeout)
	}
	if cause := ownersCause(ctx); cause != nil {
		if p, ok := errors.AsType[*problem.Error](cause); ok {
			return p
		}
		if errors.Is(cause, ErrShutdown) {
			return problem.New(problem.ShuttingDown, cause)
		}
		return problem.New(problem.SessionEnded, cause)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return problem.New(problem.UpstreamTimeout, fault(peer, err))
	}
	if bodyErr != nil {
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](bodyErr); ok {
			return problem.New(problem.TooLarge, tooLarge)
		}
		if _, lost := errors.AsType[net.Error](bodyErr); lost || errors.Is(bodyErr, io.ErrUnexpectedEOF) {
			return ErrClientGone
		}
		return problem.Newf(problem.BadRequest, "reading the request's body: %w", fault(theClient, bodyErr))
	}
	if ctx.Err() != nil {
		return ErrClientGone
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return problem.New(problem.UpstreamTimeout, fault(peer, err))
	}
	return problem.New(problem.UpstreamFailed, fault(peer, err))
}
