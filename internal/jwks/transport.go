package jwks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

// TransportError says in words of our own why a request had no usable answer.
// The words of net/http and crypto/x509 quote what the peer sent (a status line,
// a header, a Location, a certificate's names), and a peer can send back what it
// was sent: an assertion, a code, a refresh token. So nothing of the original
// goes on but its kind.
type TransportError struct {
	// Reason is one of a fixed set of texts.
	Reason string
	// kind is a well-known error without a peer's words; may be nil.
	kind error
}

func (e *TransportError) Error() string { return e.Reason }

// Unwrap lets errors.Is find context.Canceled, context.DeadlineExceeded,
// [ErrRedirect] and the like. It never leads to the original error.
func (e *TransportError) Unwrap() error { return e.kind }

// Timeout reports whether time ran out.
func (e *TransportError) Timeout() bool { return errors.Is(e.kind, context.DeadlineExceeded) }

// malformed is what is left when nothing else fits: what came was no HTTP.
const malformed = "a malformed answer, or a broken connection"

// Transport turns an error of an http.Client, or of reading an answer's body,
// into a [*TransportError]. nil stays nil.
func Transport(err error) error {
	if err == nil {
		return nil
	}
	// The client's own wrapper holds the address, into which a redirect may have
	// put anything.
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	reason, kind := describe(err)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "proxyconnect" {
		reason = "the proxy: " + reason
	}
	return &TransportError{Reason: reason, kind: kind}
}

func describe(err error) (string, error) {
	var network net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return "given up by whoever asked", context.Canceled
	case errors.Is(err, ErrRedirect):
		return "a redirect that leads too far, or to another origin", ErrRedirect
	}
	if reason := describeName(err); reason != "" {
		return reason, nil
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout() {
		if dialing(err) {
			return "timed out while connecting", context.DeadlineExceeded
		}
		return "timed out", context.DeadlineExceeded
	}
	for number, reason := range numbers {
		if errors.Is(err, number) {
			return reason, number
		}
	}
	if reason := describeTLS(err); reason != "" {
		return reason, nil
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), err.Error() == "http: server closed idle connection":
		return "the connection was closed before the whole answer came", io.ErrUnexpectedEOF
	case dialing(err):
		return "can't connect", nil
	}
	return malformed, nil
}

var numbers = map[syscall.Errno]string{
	syscall.ECONNREFUSED: "connection refused",
	syscall.ECONNRESET:   "connection reset",
	syscall.EPIPE:        "connection reset while sending",
	syscall.EHOSTUNREACH: "no route to the host",
	syscall.ENETUNREACH:  "the network is unreachable",
	syscall.EMFILE:       "too many open files here",
	syscall.ENFILE:       "too many open files on this machine",
}

func dialing(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

func describeName(err error) string {
	name, ok := errors.AsType[*net.DNSError](err)
	switch {
	case !ok:
		return ""
	case name.IsNotFound:
		return "the host's name is not found"
	case name.IsTimeout:
		return "looking up the host's name timed out"
	}
	return "the host's name can't be looked up"
}

// describeTLS tells the operator which of the usual mistakes it is, without the
// certificate's words.
func describeTLS(err error) string {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if invalid.Reason == x509.Expired {
			return "TLS: the certificate has expired, or is not valid yet"
		}
		return "TLS: the certificate is not valid"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "TLS: the certificate is by an authority that is not trusted here"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "TLS: the certificate is for another host"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "TLS: the certificate is not trusted"
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return "TLS: the peer refused the handshake"
	}
	_, record := errors.AsType[tls.RecordHeaderError](err)
	switch text := err.Error(); { // looked at, and not passed on
	case record || errors.Is(err, http.ErrSchemeMismatch):
		return "TLS: what answered does not speak it"
	case strings.HasPrefix(text, "tls: "), strings.HasPrefix(text, "remote error: tls: "), strings.HasPrefix(text, "x509: "):
		return "TLS: the handshake failed"
	}
	return ""
}
