package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"keyway/internal/jwks"
	"keyway/internal/telemetry/trace"
)

// Observer is told what happens at a provider, for metrics and the operator.
// Calls may be concurrent. No argument holds a secret, a token or a user.
type Observer interface {
	// IdPRequest: one HTTP request; status 0 means that no answer came.
	IdPRequest(idp, endpoint string, status int, took time.Duration)
	// ClientAuth: the credential of this version was "accepted" or "refused".
	ClientAuth(idp, version, outcome string)
}

// Outcomes of [Observer.ClientAuth].
const (
	Accepted = "accepted"
	Refused  = "refused"
)

type noObserver struct{}

func (noObserver) IdPRequest(string, string, int, time.Duration) {}
func (noObserver) ClientAuth(string, string, string)             {}

// maxConnections bounds what a provider that hangs can cost in descriptors.
const maxConnections = 4 * maxPushes

// NewHTTPClient makes the client for all that is said to providers: TLS 1.2 or
// newer, everything bounded in time, at most 256 connections to a host, the
// environment's proxy. A nil pool means the system's roots.
func NewHTTPClient(roots *x509.CertPool) *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Client{
		Timeout:       20 * time.Second, // the ceiling; each request has a tighter one
		CheckRedirect: jwks.SameOrigin,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            dialer.DialContext,
			ForceAttemptHTTP2:      true,
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    5 * time.Second,
			ResponseHeaderTimeout:  10 * time.Second,
			ExpectContinueTimeout:  time.Second,
			IdleConnTimeout:        90 * time.Second,
			MaxIdleConnsPerHost:    32,
			MaxConnsPerHost:        maxConnections,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
}

// Bounds of answers. The largest honest token response holds three JWTs.
const (
	maxTokenAnswer    = 512 << 10
	maxUserInfo       = 256 << 10
	maxMetadata       = 256 << 10
	maxSmallAnswer    = 64 << 10
	defaultTimeout    = 10 * time.Second
	maximumRetryAfter = time.Hour
)

// Answer is a response whose body was read within its bound.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// caller makes requests to one provider.
type caller struct {
	name     string
	client   http.Client // follows no redirect
	observer Observer
	timeout  time.Duration
	reach    *reach // may be nil
}

func newCaller(name string, client *http.Client, observer Observer, timeout time.Duration) *caller {
	if client == nil {
		client = NewHTTPClient(nil)
	}
	if observer == nil {
		observer = noObserver{}
	}
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	c := &caller{name: name, client: *client, observer: observer, timeout: timeout}
	c.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

// do sends a request and reads the answer. What no answer and a server's
// failure have in common is that nothing was decided: both are *UnavailableError.
// A redirect is an answer, and not followed: credentials and tokens go to the
// address that metadata or configuration names, and nowhere else.
func (c *caller) do(ctx context.Context, endpoint string, request *http.Request, most int64) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request = request.WithContext(ctx)
	if request.Header.Get("Accept") == "" {
		request.Header.Set("Accept", "application/json")
	}
	request, span := c.traced(endpoint, request)
	defer span.End()
	start := time.Now()
	response, err := c.client.Do(request)
	if err != nil {
		span.Fail("unavailable")
		c.observer.IdPRequest(c.name, endpoint, 0, time.Since(start))
		c.silent(ctx)
		return Answer{}, &UnavailableError{Endpoint: endpoint, Cause: jwks.Transport(err)}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	c.observer.IdPRequest(c.name, endpoint, response.StatusCode, time.Since(start))
	status := response.StatusCode
	if err != nil {
		c.silent(ctx)
	} else {
		c.reach.answered(status)
	}
	span.Status(status)
	if err != nil || status >= 400 {
		span.Fail(strconv.Itoa(status))
	}
	switch {
	case err != nil:
		return Answer{}, &UnavailableError{Endpoint: endpoint, Status: status, Cause: fmt.Errorf("reading the answer: %w", jwks.Transport(err))}
	case status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout:
		return Answer{}, &UnavailableError{Endpoint: endpoint, Status: status, RetryAfter: retryAfter(response.Header, time.Now())}
	case status >= 300 && status < 400:
		return Answer{}, fmt.Errorf("%w: %s endpoint: status %d, a redirect, which is not followed", ErrAnswer, endpoint, status)
	case int64(len(body)) > most:
		return Answer{}, fmt.Errorf("%w: %s endpoint: expected at most %d bytes, found more", ErrAnswer, endpoint, most)
	}
	return Answer{Status: status, Header: response.Header, Body: body}, nil
}

// silent notes that no answer came, or half of one. A deadline is ours; but who made us
// ask may have gone away first.
func (c *caller) silent(ctx context.Context) {
	if !errors.Is(ctx.Err(), context.Canceled) {
		c.reach.failed()
	}
}

// traced is the request with a span of its own, if it is part of a trace. The
// provider is told, so that it can have a part in it, too.
func (c *caller) traced(endpoint string, request *http.Request) (*http.Request, trace.Span) {
	ctx, span := trace.Client(request.Context(), endpoint)
	if !span.On() {
		return request, span
	}
	span.Name(request.Method + " " + endpoint)
	span.Text("http.request.method", request.Method)
	span.Text("server.address", request.URL.Hostname())
	span.Text("peer.service", c.name)
	span.Inject(request.Header)
	return request.WithContext(ctx), span
}

// retryAfter reads RFC 9110 section 10.2.3, both forms, within bounds.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	var wait time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maximumRetryAfter)
}

// oauthError reads an error response (RFC 6749 section 5.2); nil when the
// answer is none. Who gets an invalid_client of it tries another credential and
// counts a refusal, which may roll a rotation back, so that it has to be sure:
//
//   - `error` decides, where there is one. Most providers say invalid_client,
//     with status 401 or 400, as section 5.2 wants. Keycloak says
//     unauthorized_client with 401 when the credential is wrong. By the section's
//     own words that code is about a client that did authenticate, but then the
//     status is 400, since 401 is for nothing but a client that did not: so it is
//     read as what it is. Other codes with 401 are left as they are: Auth0's
//     access_denied, for one, is also for users.
//   - Without `error`, a 401 is believed when it challenges for a client's
//     credential ([refusesClient]).
//   - Any other is an answer that breaks the protocol, and counts against nobody.
//     With 401 it is errUnexplained: IdentityServer answers so at introspection when
//     the credential is wrong, so another may be tried, too.
func (a Answer) oauthError(endpoint string, sent ...string) error {
	if a.Status < 400 {
		return nil
	}
	var body struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if jwks.DecodeObject(a.Body, &body) != nil {
		body.Error, body.Description = "", ""
	}
	switch {
	case body.Error == "temporarily_unavailable" || body.Error == "server_error":
		return &UnavailableError{Endpoint: endpoint, Status: a.Status, RetryAfter: retryAfter(a.Header, time.Now())}
	case body.Error == "unauthorized_client" && a.Status == http.StatusUnauthorized:
		return newOAuthError(endpoint, a.Status, "invalid_client", "unauthorized_client: "+body.Description, sent...)
	case body.Error != "":
		return newOAuthError(endpoint, a.Status, body.Error, body.Description, sent...)
	case a.Status == http.StatusUnauthorized && refusesClient(a.Header):
		return newOAuthError(endpoint, a.Status, "invalid_client", "status 401 without an error code, and a challenge for Basic")
	case a.Status == http.StatusUnauthorized:
		return fmt.Errorf("%w: %s endpoint", errUnexplained, endpoint)
	default:
		return fmt.Errorf("%w: %s endpoint: status %d without an error code", ErrAnswer, endpoint, a.Status)
	}
}

// errUnexplained is a 401 that may be about our credential, or about anything else.
var errUnexplained = fmt.Errorf("%w: status 401 without an error code", ErrAnswer)
