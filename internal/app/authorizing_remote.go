package app

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"keyway/internal/authz"
	"keyway/internal/authz/authzen"
	"keyway/internal/config"
	"keyway/internal/keyring"
	"keyway/internal/secret"
	"keyway/internal/telemetry"
)

// pdpName is what the decision point is called in bff_client_auth_total.
const pdpName = "pdp"

// remotePoint is a decision point at an address: an authz.PDP that shows what the
// ring of its secret says now, and looks for a newer one when all are refused.
type remotePoint struct {
	a         *app
	c         config.PDP
	host      string
	transport *http.Transport
	options   authzen.Options // without credentials
	client    *authzen.Client
	direct    *authzen.Client // asks though it is left alone, so that why is seen
	away      awayLog

	mu      sync.Mutex
	clients map[string]pdpClient    // at the token endpoint, by version
	refused map[string]secret.Value // the token that was refused last, by version
	looked  time.Time               // when newer credentials were last looked for
}

var _ authz.PDP = (*remotePoint)(nil)

func newRemotePoint(a *app, c *config.Config) (*remotePoint, error) {
	connection := c.PDP.Connection
	transport, err := authzen.NewTransport(connection.CAFile)
	if err != nil {
		return nil, err
	}
	p := &remotePoint{
		a: a, c: c.PDP, host: connection.BaseURL.Host, transport: transport,
		clients: map[string]pdpClient{}, refused: map[string]secret.Value{},
	}
	p.options = pointOptions(c.PDP, transport)
	p.options.Observer = pointObserver{p, a.resources.metrics}
	options := p.options
	if usesPDPSecret(c) {
		options.Credentials = p.credentials
	}
	if p.client, err = authzen.New(options); err != nil {
		return nil, err
	}
	options.Attempts, options.Failures = 1, 0
	p.direct, err = authzen.New(options)
	return p, err
}

// pointOptions are how a decision point is asked, whoever asks, without credentials.
func pointOptions(c config.PDP, transport *http.Transport) authzen.Options {
	by := func(t *http.Transport) *http.Client {
		return &http.Client{Transport: tracedTransport{t, "pdp.evaluation"}}
	}
	return authzen.Options{
		Evaluation:  c.Connection.BaseURL.JoinPath(c.Endpoints.Evaluation).String(),
		Evaluations: c.Connection.BaseURL.JoinPath(c.Endpoints.Evaluations).String(),
		HTTP:        by(transport), ProbeHTTP: by(authzen.ProbeTransport(transport)),
		Timeout: c.Connection.Timeout, Attempts: c.Retry.MaxAttempts, Backoff: c.Retry.Backoff,
		Failures: c.CircuitBreaker.Failures, OpenFor: c.CircuitBreaker.OpenFor,
	}
}

// Evaluate implements authz.PDP.
func (p *remotePoint) Evaluate(ctx context.Context, q authz.Question) (authz.Decision, error) {
	var d authz.Decision
	err := p.withNewer(ctx, func() (err error) { d, err = p.client.Evaluate(ctx, q); return err })
	p.away.tell(p.a.log, p.host, err)
	return d, err
}

// EvaluateAll implements authz.PDP.
func (p *remotePoint) EvaluateAll(ctx context.Context, qs []authz.Question) ([]authz.Decision, error) {
	var all []authz.Decision
	err := p.withNewer(ctx, func() (err error) { all, err = p.client.EvaluateAll(ctx, qs); return err })
	p.away.tell(p.a.log, p.host, err)
	return all, err
}

// newerEvery is how often newer credentials are looked for at most.
const newerEvery = time.Second

// withNewer asks, and once more with newer credentials if all were refused.
func (p *remotePoint) withNewer(ctx context.Context, ask func() error) error {
	before := p.ring() // while they are refused, another request may find newer ones
	err := ask()
	if errors.Is(err, authzen.ErrRefused) && p.newer(ctx, before) {
		err = ask()
	}
	return err
}

// newer looks whether somebody has handed in another credential a moment ago, since
// all that there were before are refused.
func (p *remotePoint) newer(ctx context.Context, before keyring.Ring) bool {
	if before.IsZero() {
		return false
	}
	if !keyring.Same(before, p.ring()) {
		return true
	}
	done := p.a.lookAgain.DoChan(namePDPSecret, func() (any, error) {
		p.mu.Lock()
		soon := time.Since(p.looked) < newerEvery
		p.mu.Unlock()
		if soon {
			return nil, nil
		}
		p.a.lookForNewer()
		p.mu.Lock()
		p.looked = time.Now()
		p.mu.Unlock()
		return nil, nil
	})
	select {
	case <-done:
	case <-ctx.Done():
		return false
	}
	return !keyring.Same(before, p.ring())
}

// ring is zero before there is a generation.
func (p *remotePoint) ring() keyring.Ring {
	if s := p.a.current.Load(); s != nil {
		return s.rings[namePDPSecret]
	}
	return keyring.Ring{}
}

// pointObserver turns what happens at the decision point into metrics, and into what
// the guard of a rotation counts.
type pointObserver struct {
	p       *remotePoint
	metrics *telemetry.Metrics
}

// PDPRequest implements authzen.Observer.
func (o pointObserver) PDPRequest(endpoint string, status int, _ time.Duration) {
	o.metrics.PDPRequest(endpoint, status)
}

// ClientAuth implements authzen.Observer.
func (o pointObserver) ClientAuth(version, outcome string) {
	if o.p.c.Connection.Credentials.Method != pdpBearer {
		return // at the token endpoint it was counted
	}
	o.metrics.ClientAuth(pdpName, version, outcome)
	if outcome == authzen.Refused {
		o.p.a.refused(namePDPSecret, version, "")
	}
}
