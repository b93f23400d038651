package authzen

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// Connections to one server: in all, and kept while nobody asks.
const (
	maxConnections = 256
	maxIdle        = 64 // a question for each request that waits
)

// NewTransport is for what is said to decision points: TLS 1.2 or newer, everything
// but the answer's own time bounded, the environment's proxy. caFile has the
// authorities to trust, in PEM; empty: the system's.
func NewTransport(caFile string) (*http.Transport, error) {
	var roots *x509.CertPool
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("connection.ca_file: %w", err)
		}
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("connection.ca_file: expected certificates in PEM, found none in %s", caFile)
		}
	}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    5 * time.Second,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    maxIdle,
		MaxConnsPerHost:        maxConnections,
		MaxResponseHeaderBytes: 64 << 10,
	}, nil
}

// ProbeTransport reaches the servers that t reaches, over connections of its own, which
// it does not keep: it is for Options.ProbeHTTP.
func ProbeTransport(t *http.Transport) *http.Transport {
	own := t.Clone()
	own.DisableKeepAlives = true
	return own
}
