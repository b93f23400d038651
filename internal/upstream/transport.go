package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Defaults of a Service's bounds.
const (
	DefaultTimeout     = 30 * time.Second
	DefaultDialTimeout = 5 * time.Second
	DefaultWriteStall  = 30 * time.Second
	maxResponseHeader  = 64 << 10
	idleConnTimeout    = 60 * time.Second
	maxIdlePerHost     = 256
)

// Service is one upstream.
type Service struct {
	Name string
	// BaseURL is http or https, a host, and optionally a path that goes before
	// every forwarded one; nothing else.
	BaseURL string
	// Timeout bounds a whole exchange on routes that don't stream, and the wait
	// for response headers on those that do. Zero means DefaultTimeout.
	Timeout time.Duration
	// DialTimeout bounds the TCP connect, and after it the TLS handshake. Zero
	// means DefaultDialTimeout.
	DialTimeout time.Duration
	// WriteStall is how long a client of a streaming route may refuse to read
	// before it is dropped. Zero means DefaultWriteStall.
	WriteStall time.Duration
	// MaxConns bounds the connections to the service; zero means no bound. WebSockets
	// do not count.
	MaxConns int
	TLS      TLS
}

// TLS says how an https service is verified.
type TLS struct {
	// CA is PEM: only certificates that chain to one of these are accepted. Empty
	// means the system's roots.
	CA []byte
	// ServerName is expected in the certificate instead of the URL's host.
	ServerName string
	// Certificate is presented when the service asks for one.
	Certificate *tls.Certificate
	// HTTP1Only keeps the service from being spoken to in HTTP/2.
	HTTP1Only bool
}

// service is a Service ready for use.
type service struct {
	name       string
	scheme     string
	host       string
	basePath   string // escaped, without the trailing slash
	timeout    time.Duration
	writeStall time.Duration
	transport  *http.Transport
	// upgrades keeps no connection: one that was asked to switch protocols is in a
	// state that only its two ends know, whatever the answer said.
	upgrades *http.Transport
}

func newService(s Service) (*service, error) {
	base, err := parseBaseURL(s.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("service %q: base_url: %w", s.Name, err)
	}
	for _, d := range []time.Duration{s.Timeout, s.DialTimeout, s.WriteStall} {
		if d < 0 {
			return nil, fmt.Errorf("service %q: expected timeouts of zero (the default) or more, found %v", s.Name, d)
		}
	}
	tlsConfig, err := s.TLS.config()
	if err != nil {
		return nil, fmt.Errorf("service %q: %w", s.Name, err)
	}
	timeout := orDefault(s.Timeout, DefaultTimeout)
	dialTimeout := orDefault(s.DialTimeout, DefaultDialTimeout)
	transport := newTransport(tlsConfig, timeout, dialTimeout, !s.TLS.HTTP1Only)
	transport.MaxConnsPerHost = s.MaxConns
	upgrades := newTransport(tlsConfig.Clone(), timeout, dialTimeout, false)
	upgrades.DisableKeepAlives = true
	return &service{
		name:       s.Name,
		scheme:     base.Scheme,
		host:       base.Host,
		basePath:   strings.TrimRight(base.EscapedPath(), "/"),
		timeout:    timeout,
		writeStall: orDefault(s.WriteStall, DefaultWriteStall),
		transport:  transport,
		upgrades:   upgrades,
	}, nil
}

func newTransport(tlsConfig *tls.Config, timeout, dialTimeout time.Duration, http2 bool) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(http2)
	return &http.Transport{
		Proxy:                  nil, // HTTP_PROXY is for others: what is not configured is not connected to
		DialContext:            dialer.DialContext,
		TLSClientConfig:        tlsConfig,
		TLSHandshakeTimeout:    dialTimeout,
		DisableCompression:     true, // bodies pass as they are
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleConnTimeout,
		ResponseHeaderTimeout:  timeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxResponseHeader,
		Protocols:              protocols,
		// A peer that vanished without a word would hold an HTTP/2 connection, and
		// all requests on it, until the kernel gives up.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
}

func parseBaseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// url.Error quotes the URL, which may hold a password.
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err
		}
		return nil, fmt.Errorf("expected a URL such as http://api:8080/v1: %w", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("expected http or https, found %q", u.Scheme)
	case u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("expected a host, found none")
	case u.User != nil:
		return nil, errors.New("expected no user or password in it; credentials go by token_policy")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("expected neither query nor fragment")
	}
	path := u.EscapedPath()
	if path != "" {
		if err := checkPath(path); err != nil {
			return nil, fmt.Errorf("its path: %w", err)
		}
	}
	return u, nil
}

func (t TLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if len(t.CA) > 0 {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(t.CA) {
			return nil, errors.New("tls.ca_file: expected PEM with at least one certificate, found none")
		}
	}
	if t.Certificate != nil {
		c.Certificates = []tls.Certificate{*t.Certificate}
	}
	return c, nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}
