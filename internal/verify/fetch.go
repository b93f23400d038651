package verify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"keyway/internal/jwks"
)

// userAgent begins as browsers do: who fetches our keys under another name is
// counted as an IdP that knows them from then on (bff_jwks_fetches_total), and this
// is none.
const userAgent = "Mozilla/5.0 (compatible; keyway-verify)"

// maxBody bounds what is read of an answer.
const maxBody = 1 << 20

// answer is a response whose body was read, and that no redirect was followed for.
type answer struct {
	status   int
	header   http.Header
	body     []byte
	location *url.URL // of a redirect; nil: there is none
	tls      *tls.ConnectionState
	at       time.Time // when it had come
}

func (a answer) mediaType() string {
	kind, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(kind))
}

func (a answer) redirects() bool { return a.status >= 300 && a.status < 400 && a.location != nil }

// newHTTP makes the client that looks at the public side: each check with
// connections of its own would cost a handshake each, so they share these.
func newHTTP(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout:       within,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    3 * time.Second,
			ResponseHeaderTimeout:  within,
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConnsPerHost:    beside,
			IdleConnTimeout:        10 * time.Second,
		},
	}
}

// fetch asks. Headers come in pairs of name and value. Its errors are
// *jwks.TransportError, which repeat nothing of what a peer sent.
func fetch(ctx context.Context, client *http.Client, method, address string, headers ...string) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return answer{}, &jwks.TransportError{Reason: "the address is no URL"}
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	return send(client, request)
}

func send(client *http.Client, request *http.Request) (answer, error) {
	request.Header.Set("User-Agent", userAgent)
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := c.Do(request)
	if err != nil {
		return answer{}, jwks.Transport(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return answer{}, jwks.Transport(err)
	}
	a := answer{status: response.StatusCode, header: response.Header, body: body, tls: response.TLS, at: time.Now()}
	if to, err := response.Location(); err == nil {
		a.location = to
	}
	return a, nil
}

// unreachable is a failure to get an answer, with what it may come from.
func unreachable(what, address string, err error) finding {
	f := bad("no answer from %s: %v", address, err)
	reason := err.Error()
	switch {
	case strings.Contains(reason, "has expired"):
		return f.because("the TLS certificate of "+host(address)+" has expired, or its clock or ours is off", "Renew the certificate where TLS ends, and see that it is loaded there.")
	case strings.Contains(reason, "authority that is not trusted"):
		return f.because("the TLS certificate of "+host(address)+" is self-signed, or by an authority that is not trusted here", "Use a certificate of an authority that browsers and the IdP trust, and send the whole chain.")
	case strings.Contains(reason, "for another host"):
		return f.because("the TLS certificate is not for "+host(address), "Have "+host(address)+" among the certificate's names.")
	case strings.HasPrefix(reason, "TLS:"):
		return f.because("TLS with "+host(address)+" fails", "See where TLS ends: its certificate, its versions, and that https leads there.")
	case strings.Contains(reason, "name is not found"):
		return f.because("the name "+host(address)+" is not known to this machine's DNS", "See that the name exists, and that this machine asks a DNS that knows it.")
	case strings.Contains(reason, "connection refused"):
		return f.because(what+" is not up, or something else should listen at "+host(address), "See that it runs and that the address leads to it.")
	}
	return f.because(what+" is away, or the network between here and "+host(address)+" does not let us through", "See that it runs, and that firewalls and proxies let this machine reach it.")
}

func host(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return u.Host
	}
	return address
}

func origin(u *url.URL) string { return strings.ToLower(u.Scheme + "://" + u.Host) }

// isLoopback goes by the name alone.
func isLoopback(host string) bool {
	name := (&url.URL{Host: host}).Hostname()
	ip := net.ParseIP(name)
	return strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback()
}
