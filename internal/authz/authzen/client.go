package authzen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"keyway/internal/authz"
	"keyway/internal/jwks"
)

// Credential is one live version of what we authenticate with.
type Credential struct {
	Version string
	// Authorization is the header's value, with which the version is shown; it may ask
	// for a token.
	Authorization func(context.Context) (string, error)
	// Refused is told what Authorization gave when the server did not take it: another
	// may have been had since. nil: nobody wants to know. Calls may be concurrent.
	Refused func(authorization string)
}

// Outcomes of [Observer.ClientAuth].
const (
	Accepted = "accepted"
	Refused  = "refused"
)

// Observer is told what happens at the server. Calls may be concurrent; no argument
// holds a secret or a user.
type Observer interface {
	// PDPRequest: one HTTP request; status 0 means that no answer came.
	PDPRequest(endpoint string, status int, took time.Duration)
	// ClientAuth: the credential of this version was accepted or refused.
	ClientAuth(version, outcome string)
}

// Options of New. Evaluation and HTTP are needed.
type Options struct {
	// Evaluation and Evaluations are the endpoints' whole URLs. Without the second,
	// questions are asked one by one.
	Evaluation, Evaluations string
	// HTTP makes the requests; it is not asked to follow redirects.
	HTTP *http.Client
	// ProbeHTTP asks Probe, for Failures, without which it is not needed. It must share
	// no connections with HTTP, all of which may be held by questions at which the server
	// hangs while it answers any other; see ProbeTransport.
	ProbeHTTP *http.Client
	// Credentials gives the live versions, the active one first, for each request;
	// nil, or none: nothing is shown.
	Credentials func() []Credential
	// Timeout bounds one answer; 2 s if 0.
	Timeout time.Duration
	// Attempts is how often one question is asked at most; 1 if 0. Backoff is the pause
	// before the second, and doubles.
	Attempts int
	Backoff  time.Duration
	// Failures in a row after which the server is left alone for OpenFor; 0: never. They
	// are counted for each account by itself, which is left without answers then, and for
	// all together: then all are, if Probe has no answer either. A status 500 is no
	// failure: that may be of one question.
	Failures int
	OpenFor  time.Duration
	Observer Observer
}

// Client is an authz.PDP over HTTP. Safe for concurrent use.
type Client struct {
	o       Options
	http    http.Client
	breaker *breaker // nil: it is never left alone
}

var _ authz.PDP = (*Client)(nil)

// ErrUnavailable is that no answer came, or that the server was not asked because
// none came lately.
var ErrUnavailable = errors.New("the decision point can't be reached")

// ErrRefused is that the server does not take our credentials.
var ErrRefused = errors.New("the decision point refuses our credentials")

// errFailedAtIt is that the server is there, and failed at what it was asked.
var errFailedAtIt = fmt.Errorf("%w: status 500", ErrUnavailable)

// errNoConnection is that the server never got the question: it is away, or others'
// questions have all connections.
var errNoConnection = fmt.Errorf("%w: no connection to it could be had", ErrUnavailable)

// maxTried bounds how many live credentials one question is asked with.
const maxTried = 3

// New builds a client. It asks nobody.
func New(o Options) (*Client, error) {
	if o.Evaluation == "" || o.HTTP == nil {
		return nil, errors.New("authzen: expected an endpoint and an HTTP client, found one or none")
	}
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Second
	}
	o.Attempts = max(o.Attempts, 1)
	if o.Observer == nil {
		o.Observer = noObserver{}
	}
	c := &Client{o: o, http: withoutRedirects(o.HTTP)}
	if o.Failures > 0 {
		if o.ProbeHTTP == nil {
			return nil, errors.New("authzen: expected an HTTP client for what is asked before the server is left alone, found none")
		}
		c.breaker = newBreaker(o.Failures, o.OpenFor, c.answers)
	}
	return c, nil
}

func withoutRedirects(c *http.Client) http.Client {
	own := *c
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return own
}

type noObserver struct{}

func (noObserver) PDPRequest(string, int, time.Duration) {}
func (noObserver) ClientAuth(string, string)             {}

// Evaluate implements authz.PDP.
func (c *Client) Evaluate(ctx context.Context, q authz.Question) (authz.Decision, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return authz.Decision{}, fmt.Errorf("authzen: %w", err)
	}
	answer, err := c.ask(ctx, accountIn(&q), "evaluation", c.o.Evaluation, body)
	if err != nil {
		return authz.Decision{}, err
	}
	return authz.ParseDecision(answer)
}

// batch is an access evaluations request (section 7.1) without defaults: each
// question says all.
type batch struct {
	Evaluations []authz.Question `json:"evaluations"`
	Options     struct {
		Semantic string `json:"evaluations_semantic"`
	} `json:"options"`
}

// EvaluateAll implements authz.PDP. More than authz.MaxBatch are asked in several
// requests. The questions are of one account.
func (c *Client) EvaluateAll(ctx context.Context, qs []authz.Question) ([]authz.Decision, error) {
	all := make([]authz.Decision, 0, len(qs))
	if c.o.Evaluations == "" {
		for _, q := range qs {
			d, err := c.Evaluate(ctx, q)
			if err != nil {
				return nil, err
			}
			all = append(all, d)
		}
		return all, nil
	}
	for len(qs) > 0 {
		n := min(len(qs), authz.MaxBatch)
		request := batch{Evaluations: qs[:n]}
		request.Options.Semantic = "execute_all"
		body, err := json.Marshal(request)
		if err != nil {
			return nil, fmt.Errorf("authzen: %w", err)
		}
		answer, err := c.ask(ctx, accountIn(&qs[0]), "evaluations", c.o.Evaluations, body)
		if err != nil {
			return nil, err
		}
		some, err := authz.ParseDecisions(answer, n)
		if err != nil {
			return nil, err
		}
		all, qs = append(all, some...), qs[n:]
	}
	return all, nil
}

// ask asks for an account until an answer comes, within the bounds.
func (c *Client) ask(ctx context.Context, account, endpoint, address string, body []byte) ([]byte, error) {
	try := func() ([]byte, error) { return c.try(ctx, endpoint, address, body) }
	guarded := try
	if c.breaker != nil {
		guarded = func() ([]byte, error) { return c.breaker.guard(account, try) }
	}
	pause := c.o.Backoff
	for attempt := 1; ; attempt++ {
		answer, err := guarded()
		if !errors.Is(err, ErrUnavailable) || attempt == c.o.Attempts || isOpen(err) {
			return answer, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
		pause *= 2
	}
}

// try asks once, with each live credential until one is taken.
func (c *Client) try(ctx context.Context, endpoint, address string, body []byte) ([]byte, error) {
	var credentials []Credential
	if c.o.Credentials != nil {
		credentials = c.o.Credentials()
	}
	if len(credentials) == 0 {
		answer, status, err := c.send(ctx, endpoint, address, body, "")
		if err == nil && status == http.StatusUnauthorized {
			return nil, fmt.Errorf("%w: none is configured", ErrRefused)
		}
		return answer, err
	}
	refused := ErrRefused
	for i, credential := range credentials[:min(len(credentials), maxTried)] {
		authorization, err := credential.Authorization(ctx)
		if err != nil {
			if i == 0 {
				refused = &noTokenError{err}
			}
			continue
		}
		answer, status, err := c.send(ctx, endpoint, address, body, authorization)
		if err != nil {
			return nil, err
		}
		if status == http.StatusUnauthorized {
			c.o.Observer.ClientAuth(credential.Version, Refused)
			if credential.Refused != nil {
				credential.Refused(authorization)
			}
			continue
		}
		c.o.Observer.ClientAuth(credential.Version, Accepted)
		return answer, nil
	}
	return nil, refused
}

// noTokenError is that the decision point could not be asked, since no token to show
// it could be had. It was not tried: it need not be away. It is an ErrUnavailable.
type noTokenError struct{ cause error }

func (e *noTokenError) Error() string {
	return "no token for the decision point could be had: " + e.cause.Error()
}

func (e *noTokenError) Unwrap() []error { return []error{ErrUnavailable, e.cause} }

// send makes one request. What no answer and a server's failure have in common is that
// nothing was decided.
func (c *Client) send(ctx context.Context, endpoint, address string, body []byte, authorization string) (answer []byte, status int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.o.Timeout, errTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, 0, fmt.Errorf("%w: its address is no URL", ErrUnavailable)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	var unconnected atomic.Bool
	began := time.Now()
	response, err := c.http.Do(request.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { unconnected.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { unconnected.Store(false) },
	})))
	if err != nil {
		c.o.Observer.PDPRequest(endpoint, 0, time.Since(began))
		if cause := context.Cause(ctx); errors.Is(cause, context.Canceled) {
			return nil, 0, cause
		}
		if unconnected.Load() {
			return nil, 0, fmt.Errorf("%w: %w", errNoConnection, jwks.Transport(err))
		}
		return nil, 0, fmt.Errorf("%w: %w", ErrUnavailable, jwks.Transport(err))
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(response.Body, authz.MaxAnswer+1))
	status = response.StatusCode
	c.o.Observer.PDPRequest(endpoint, status, time.Since(began))
	switch {
	case err != nil:
		return nil, status, fmt.Errorf("%w: reading the answer: %w", ErrUnavailable, jwks.Transport(err))
	case status == http.StatusInternalServerError:
		return nil, status, errFailedAtIt
	case status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout:
		return nil, status, fmt.Errorf("%w: status %d", ErrUnavailable, status)
	case status == http.StatusUnauthorized:
		return nil, status, nil
	case status != http.StatusOK:
		return nil, status, fmt.Errorf("%w: expected status 200, found %d", authz.ErrAnswer, status)
	case len(answer) > authz.MaxAnswer:
		return nil, status, fmt.Errorf("%w: more than %d bytes", authz.ErrAnswer, authz.MaxAnswer)
	case !isJSON(response.Header.Get("Content-Type")):
		return nil, status, fmt.Errorf("%w: expected application/json", authz.ErrAnswer)
	}
	return answer, status, nil
}

var errTimeout = errors.New("it took too long")

func isJSON(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(kind), "application/json")
}
