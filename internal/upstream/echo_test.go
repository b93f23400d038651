package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"syscall"
	"testing"

	"keyway/internal/problem"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

const echoed = "token-of-ada"

// withToken sends the token that must not come back into any text of ours.
func withToken(streaming bool) func(*http.Request, *Request) {
	return func(_ *http.Request, req *Request) {
		req.Token, req.AccessToken, req.Streaming = NewTokenPolicy(Passthrough, "", nil), secret.NewValue([]byte(echoed)), streaming
	}
}

// wantSilence checks that no way to print err, or what it wraps, shows the token.
func wantSilence(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("no error")
	}
	for text := range strings.SplitSeq(fmt.Sprintf("%v\x00%+v\x00%#v\x00%q", err, err, err, err), "\x00") {
		if strings.Contains(text, echoed) || strings.Contains(text, "Bearer") {
			t.Errorf("an error says %s", text)
		}
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if strings.Contains(err.Error(), echoed) {
			t.Errorf("an error wraps %s", err)
		}
	}
}

// An upstream sends back the Authorization it got, in every place that an error
// of net/http quotes.
func TestUpstreamCantPutTheTokenIntoOurErrors(t *testing.T) {
	const start = "HTTP/1.1 200 OK\r\n"
	for name, answer := range map[string]string{
		"status line":           "%s\r\n\r\n",
		"one word":              "%[1]s",
		"protocol":              "%s/1.1 200 OK\r\n\r\n",
		"protocol, no spaces":   "HTTP/token-of-ada 200 OK\r\n\r\n",
		"status code":           "HTTP/1.1 %s\r\n\r\n",
		"status code, negative": "HTTP/1.1 -token-of-ada OK\r\n\r\n",
		"status out of range":   "HTTP/1.1 099 %s\r\n\r\n",
		"header without colon":  start + "%s\r\n\r\n",
		"header of bytes":       start + "X: %s\x00\r\n\r\n",
		"first header folded":   start + " %s\r\n\r\n",
		"length":                start + "Content-Length: %s\r\n\r\n",
		"two lengths":           start + "Content-Length: 1\r\nContent-Length: %s\r\n\r\n",
		"transfer encoding":     start + "Transfer-Encoding: %s\r\n\r\n",
		"two encodings":         start + "Transfer-Encoding: chunked\r\nTransfer-Encoding: %s\r\n\r\n",
		"trailer names":         start + "Transfer-Encoding: chunked\r\nTrailer: Content-Length, %s\r\n\r\n0\r\n\r\n",
		"informational":         "HTTP/1.1 102 Processing\r\n%s\r\n\r\n",
		"101":                   "HTTP/1.1 101 %[1]s\r\nUpgrade: %[1]s\r\nConnection: upgrade\r\n\r\n%[1]s",
		"too many headers":      start + strings.Repeat("X: %[1]s\r\n", 4000) + "\r\n",
		"ends in a header":      start + "X: %s",
	} {
		for _, request := range []string{get, handshake} {
			t.Run(name+" "+request[4:6], func(t *testing.T) {
				threat.Covers(t, 23)
				f := newFront(t, Service{BaseURL: echoing(t, answer)}, withToken(true))
				res, body := f.send(t, request)
				wantProblem(t, res, body, problem.UpstreamFailed)
				if strings.Contains(body, echoed) {
					t.Errorf("the client reads %s", body)
				}
				wantSilence(t, receive(t, f.errs, "the error"))
				wantSilence(t, receive(t, f.outcomes, "the outcome").Err)
			})
		}
	}
}

func TestUpstreamCantPutTheTokenIntoErrorsOfTheBody(t *testing.T) {
	const start = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n"
	for name, answer := range map[string]string{
		"chunk size":  start + "%s\r\n",
		"chunk's end": start + "1\r\nx%s\r\n",
		"trailer":     start + "0\r\n%s\r\n\r\n",
		"short":       start + "ff\r\n%s",
	} {
		for _, streaming := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " streaming ", streaming), func(t *testing.T) {
				threat.Covers(t, 23)
				f := newFront(t, Service{BaseURL: echoing(t, answer)}, withToken(streaming))
				c := f.dial(t)
				_, _ = io.WriteString(c, get)
				_, _ = io.Copy(io.Discard, c)
				outcome := receive(t, f.outcomes, "the outcome")
				if !outcome.Aborted || problem.CodeOf(outcome.Err) != problem.UpstreamFailed {
					t.Errorf("outcome %+v", outcome)
				}
				wantSilence(t, outcome.Err)
			})
		}
	}
}

// echoing answers a request with its Authorization in the answer's %s, and closes.
func echoing(t *testing.T, answer string) (baseURL string) {
	return listen(t, func(c net.Conn) {
		s, err := readSeen(bufio.NewReader(c))
		if err != nil {
			return
		}
		if strings.Contains(answer, "%") {
			answer := fmt.Sprintf(answer, s.field("Authorization")[0])
			_, _ = io.WriteString(c, answer)
			return
		}
		_, _ = io.WriteString(c, answer)
	})
}

// GOAWAY carries debug data (RFC 9113 section 6.8), which net/http quotes.
func TestUpstreamCantPutTheTokenIntoErrorsOfHTTP2(t *testing.T) {
	threat.Covers(t, 23)
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	certificate, ca := s.TLS.Certificates[0], pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	s.Close()
	base := listen(t, func(raw net.Conn) {
		c := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2"}})
		r := bufio.NewReader(c)
		_, _ = io.WriteString(c, "\x00\x00\x00\x04\x00\x00\x00\x00\x00") // SETTINGS
		if _, err := r.Discard(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
			return
		}
		for {
			head := make([]byte, 9)
			if _, err := io.ReadFull(r, head); err != nil {
				return
			}
			_, _ = r.Discard(int(head[0])<<16 | int(head[1])<<8 | int(head[2]))
			if head[3] == 1 { // HEADERS: the request
				break
			}
		}
		debug := "Bearer " + echoed
		_, _ = io.WriteString(c, "\x00\x00"+string(rune(8+len(debug)))+"\x07\x00\x00\x00\x00\x00"+"\x00\x00\x00\x01"+"\x00\x00\x00\x02"+debug)
		_ = c.Close()
	})
	f := newFront(t, Service{BaseURL: strings.Replace(base, "http:", "https:", 1), TLS: TLS{CA: ca, ServerName: "example.com"}}, withToken(false))
	res, body := f.send(t, get)
	wantProblem(t, res, body, problem.UpstreamFailed)
	err := receive(t, f.errs, "the error")
	wantSilence(t, err)
	if !strings.Contains(err.Error(), "HTTP/2") {
		t.Errorf("an operator reads %q, which does not tell", err)
	}
}

// The client's bytes are no better: a trailer may hold its cookies.
func TestClientCantPutItsBytesIntoOurErrors(t *testing.T) {
	threat.Covers(t, 23)
	f := newFront(t, Service{BaseURL: listen(t, hang)}, nil)
	f.send(t, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: \xff"+echoed+"\r\n\r\n")
	wantSilence(t, receive(t, f.errs, "the error"))
	err := kindOf(t.Context(), fmt.Errorf("malformed MIME header line: %s", echoed), "", nil)
	wantSilence(t, err)
}

func TestFaultsAreToldInWordsOfOurs(t *testing.T) {
	threat.Covers(t, 23)
	addr := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80}
	for _, c := range []struct {
		err  error
		want string
	}{
		{&net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: syscall.ECONNREFUSED}, "api:80: connecting to 192.0.2.1:80: connection refused"},
		{&net.OpError{Op: "read", Net: "tcp", Addr: addr, Err: syscall.ECONNRESET}, "api:80: connection reset by peer"},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Name: echoed, Err: echoed, IsNotFound: true}}, "api:80: name not found"},
		{&net.DNSError{Err: echoed, IsTimeout: true}, "api:80: looking the name up took too long"},
		{&net.DNSError{Err: echoed}, "api:80: looking the name up failed"},
		{context.DeadlineExceeded, "api:80: took too long"},
		{context.Canceled, "api:80: cancelled"},
		{fmt.Errorf("%s: %w", echoed, io.ErrUnexpectedEOF), "api:80: connection ended too early"},
		{fmt.Errorf("%s: %w", echoed, net.ErrClosed), "api:80: connection closed on our side"},
		{tls.RecordHeaderError{Msg: echoed}, "api:80: expected TLS, found something else"},
		{textproto.ProtocolError(echoed), "api:80: malformed header"},
		{x509.HostnameError{Host: "api", Certificate: &x509.Certificate{DNSNames: []string{echoed}}}, `api:80: its certificate is not for "api"`},
		{x509.UnknownAuthorityError{}, "api:80: its certificate is not from an authority that is trusted here"},
		{x509.CertificateInvalidError{Reason: x509.Expired, Detail: echoed}, "api:80: its certificate has expired or is not valid yet"},
		{x509.CertificateInvalidError{Reason: x509.TooManyIntermediates, Detail: echoed}, "api:80: its certificate is not valid (reason 3 of crypto/x509)"},
		{&tls.CertificateVerificationError{Err: errors.New(echoed)}, "api:80: its certificate is not accepted"},
		{fmt.Errorf("malformed HTTP response %q", echoed), "api:80: malformed status line"},
		{errors.New(echoed), "api:80: failed with an error of type *errors.errorString, whose text may quote the peer"},
		{fmt.Errorf("%s: %w", echoed, errStatus), errStatus.Error()},
	} {
		if got := fault("api:80", c.err); got.Error() != c.want {
			t.Errorf("%v became %q, want %q", c.err, got, c.want)
		}
	}
	t.Run("a TLS alert", func(t *testing.T) {
		threat.Covers(t, 23)
		here, there := net.Pipe()
		defer here.Close()
		go func() {
			_ = tls.Server(there, &tls.Config{}).Handshake() // no certificate: it sends an alert
			there.Close()
		}()
		err := tls.Client(here, &tls.Config{ServerName: "api"}).Handshake()
		if got := fault("api:80", err).Error(); got != "api:80: remote error: tls: unrecognized name" && got != "api:80: remote error: tls: internal error" {
			t.Errorf("%v became %q", err, got)
		}
	})
}
