package jwks

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"keyway/internal/threat"
)

// Whatever a peer makes the library say, none of it goes on.
func TestTransportErrorsAreInOurWords(t *testing.T) {
	threat.Covers(t, 23)
	const words = "client_secret=hunter2"
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for name, c := range map[string]struct {
		err    error
		reason string
		kind   error
	}{
		"refused":      {dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), "connection refused", syscall.ECONNREFUSED},
		"reset":        {&net.OpError{Op: "read", Err: syscall.ECONNRESET}, "connection reset", syscall.ECONNRESET},
		"EOF":          {io.EOF, "closed before", io.ErrUnexpectedEOF},
		"cut short":    {io.ErrUnexpectedEOF, "closed before", io.ErrUnexpectedEOF},
		"given up":     {fmt.Errorf("%s: %w", words, context.Canceled), "given up", context.Canceled},
		"time":         {fmt.Errorf("%s: %w", words, context.DeadlineExceeded), "timed out", context.DeadlineExceeded},
		"dial timeout": {dial(os.ErrDeadlineExceeded), "timed out while connecting", context.DeadlineExceeded},
		"no name":      {dial(&net.DNSError{Err: words, Name: words, IsNotFound: true}), "not found", nil},
		"no resolver":  {dial(&net.DNSError{Err: words, Name: words}), "can't be looked up", nil},
		"authority":    {&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "not trusted here", nil},
		"another host": {&tls.CertificateVerificationError{Err: x509.HostnameError{Host: words, Certificate: &x509.Certificate{DNSNames: []string{words}}}}, "another host", nil},
		"expired":      {&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired, Detail: words}}, "expired", nil},
		"alert":        {&net.OpError{Op: "remote error", Err: tls.AlertError(40)}, "refused the handshake", nil},
		"not TLS":      {tls.RecordHeaderError{Msg: words}, "does not speak it", nil},
		"http on TLS":  {http.ErrSchemeMismatch, "does not speak it", nil},
		"other TLS":    {errors.New("tls: " + words), "handshake failed", nil},
		"redirect":     {fmt.Errorf("%w: %s", ErrRedirect, words), "redirect", ErrRedirect},
		"proxy":        {&net.OpError{Op: "proxyconnect", Err: errors.New(words)}, "the proxy: ", nil},
		"idle":         {errors.New("http: server closed idle connection"), "closed before", io.ErrUnexpectedEOF},
		"anything":     {errors.New(words), malformed, nil},
		"can't dial":   {dial(errors.New(words)), "can't connect", nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, err := range []error{c.err, &url.Error{Op: words, URL: words, Err: c.err}} {
				got := Transport(err)
				if !strings.Contains(got.Error(), c.reason) {
					t.Errorf("got %q, want %q in it", got, c.reason)
				}
				if c.kind != nil && !errors.Is(got, c.kind) {
					t.Errorf("%v is not %v", got, c.kind)
				}
				if all := fmt.Sprintf("%v %+v %#v", got, got, got); strings.Contains(all, "hunter2") {
					t.Errorf("it shows the peer's words: %s", all)
				}
			}
		})
	}
	if Transport(nil) != nil {
		t.Error("nil became an error")
	}
}

// Names of the real thing: what the library returns for each, not what we think.
func TestTransportErrorsOfRealConnections(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	secure.Config.ErrorLog = nil
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := closed.Addr().String()
	closed.Close()
	client := &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second}
	for address, want := range map[string]string{
		"http://" + gone: "connection refused",
		secure.URL:       "authority that is not trusted",
		strings.Replace(plain.URL, "http:", "https:", 1): "does not speak it",
	} {
		answer, err := client.Get(address)
		if err == nil {
			answer.Body.Close()
			t.Fatal("no error")
		}
		if got := Transport(err).Error(); !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it (the library: %v)", got, want, err)
		}
	}
}

func TestKeySetErrorsNeverShowWhatAPeerSays(t *testing.T) {
	threat.Covers(t, 23)
	const words = "PEERBYTES"
	for name, answer := range map[string]string{
		"status line":       words + "\r\n\r\n",
		"header line":       "HTTP/1.1 200 OK\r\n" + words + "\r\n\r\n",
		"Content-Length":    "HTTP/1.1 200 OK\r\nContent-Length: " + words + "\r\n\r\n",
		"Transfer-Encoding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + words + "\r\n\r\n",
		"Location":          "HTTP/1.1 302 x\r\nLocation: http://[" + words + "\r\n\r\n",
		"other origin":      "HTTP/1.1 302 x\r\nLocation: http://" + words + "/\r\n\r\n",
		"chunk":             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + words + "\r\n",
		"trailer":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n" + words + "\r\n\r\n",
		"body":              "HTTP/1.1 200 OK\r\n\r\n{\"keys\":[" + words,
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
						_, _ = io.WriteString(conn, answer)
					}
					conn.Close()
				}
			}()
			var seen error
			remote := NewRemote(RemoteOptions{
				Locate:  func(context.Context) (string, error) { return "http://" + listener.Addr().String(), nil },
				Client:  &http.Client{Transport: &http.Transport{}},
				Observe: func(_ int, _ time.Duration, err error) { seen = err },
			})
			_, _, err = remote.Verify(t.Context(), sign(t, newEC(t), "k", "ES256", map[string]string{}), []string{"ES256"})
			if !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), words) || seen == nil || strings.Contains(seen.Error(), words) {
				t.Errorf("got %v, told %v", err, seen)
			}
		})
	}
}
