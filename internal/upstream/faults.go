package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"syscall"
)

// theClient stands for the client where a fault names whose side failed.
const theClient = "the client"

// fault says in words of ours what went wrong with a peer: a service's host, as
// configured, or theClient.
//
// The errors of net/http and crypto/tls quote what the peer sent: a status line, a
// header line, a Content-Length, the names in a certificate, the debug data of a
// GOAWAY frame. What an upstream sends may be what it was sent, the user's access
// token among it. So no text of theirs passes, and they are not wrapped either:
// whatever prints the chain would print them.
func fault(peer string, err error) error {
	for _, own := range ownFaults {
		if errors.Is(err, own) {
			return own
		}
	}
	return errors.New(peer + ": " + wordsFor(err))
}

// ownFaults have texts that nobody outside has a say in.
var ownFaults = [...]error{
	errOverallTimeout, errUnasked, errTokenRefused, errStatus, errNoHijack, errNoUpgradeSocket,
	ErrSessionEnded, ErrShutdown, ErrClientGone, ErrTokensClosed,
}

// wordsFor goes by type where there is one. The order matters: the more telling
// first, since errors wrap each other.
func wordsFor(err error) string {
	if words, ok := certificateWords(err); ok {
		return words
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case dns.IsNotFound:
			return "name not found"
		case dns.IsTimeout:
			return "looking the name up took too long"
		}
		return "looking the name up failed"
	}
	doing := ""
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		doing = "connecting: "
		if addr, ok := op.Addr.(*net.TCPAddr); ok {
			doing = "connecting to " + addr.String() + ": "
		}
	}
	return doing + connectionWords(err)
}

func connectionWords(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok && !errno.Timeout() {
		return errno.Error() // from the system's list: connection refused, connection reset by peer, …
	}
	if errors.Is(err, context.Canceled) {
		return "cancelled"
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "took too long"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil && fmt.Sprintf("%T", op.Err) == "tls.alert" {
		return op.Op + ": " + op.Err.Error() // a number's name in RFC 8446 section 6
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "expected TLS, found something else"
	}
	if _, ok := errors.AsType[textproto.ProtocolError](err); ok {
		return "malformed header"
	}
	switch {
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return "connection closed on our side"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection ended too early"
	}
	return protocolWords(err)
}

// protocolWords tell apart what net/http has no types for. A peer that gets its
// own text to look like another error's has chosen among these words and nothing
// more.
func protocolWords(err error) string {
	text := err.Error()
	for _, c := range [...]struct{ sign, words string }{
		{"server closed idle connection", "connection ended too early"},
		{"response headers exceeded", fmt.Sprintf("response headers of more than %d KiB", maxResponseHeader>>10)},
		{"too many 1xx", "too many informational responses"},
		{"http2: ", "HTTP/2 error"},
		{"tls: ", "TLS error"},
		{"x509: ", "its certificate is not accepted"},
		{"malformed HTTP", "malformed status line"},
		{"Content-Length", "malformed Content-Length"},
		{"transfer encoding", "malformed Transfer-Encoding"},
		{"chunk", "malformed chunked body"},
		{"trailer", "malformed trailer"},
	} {
		if strings.Contains(text, c.sign) {
			return c.words
		}
	}
	return fmt.Sprintf("failed with an error of type %T, whose text may quote the peer", err)
}

func certificateWords(err error) (string, bool) {
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("its certificate is not for %q", e.Host), true // what we asked for
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "its certificate is not from an authority that is trusted here", true
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if e.Reason == x509.Expired {
			return "its certificate has expired or is not valid yet", true
		}
		return fmt.Sprintf("its certificate is not valid (reason %d of crypto/x509)", e.Reason), true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "its certificate is not accepted", true
	}
	return "", false
}
