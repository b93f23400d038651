package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"keyway/internal/authz"
	"keyway/internal/authz/authzen"
	"keyway/internal/config"
	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/rotation"
	"keyway/internal/secret"
	"keyway/internal/telemetry"
	"keyway/internal/upstream"
)

// Ways to authenticate at the decision point.
const (
	pdpBearer            = "bearer"
	pdpClientCredentials = "client_credentials"
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

	mu      sync.Mutex
	clients map[string]pdpClient    // at the token endpoint, by version
	refused map[string]secret.Value // the token that was refused last, by version
	looked  time.Time               // when newer credentials were last looked for
}

// pdpClient asks for tokens by one version of the secret.
type pdpClient struct {
	value  secret.Value
	source upstream.TokenSource
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
	p.options = authzen.Options{
		Evaluation:  connection.BaseURL.JoinPath(c.PDP.Endpoints.Evaluation).String(),
		Evaluations: connection.BaseURL.JoinPath(c.PDP.Endpoints.Evaluations).String(),
		HTTP:        &http.Client{Transport: tracedTransport{transport, "pdp.evaluation"}},
		Timeout:     connection.Timeout, Attempts: c.PDP.Retry.MaxAttempts, Backoff: c.PDP.Retry.Backoff,
		Failures: c.PDP.CircuitBreaker.Failures, OpenFor: c.PDP.CircuitBreaker.OpenFor,
		Observer: pointObserver{p, a.resources.metrics},
	}
	options := p.options
	if usesPDPSecret(c) {
		options.Credentials = p.credentials
	}
	p.client, err = authzen.New(options)
	return p, err
}

// usesPDPSecret reports whether we authenticate at the decision point.
func usesPDPSecret(c *config.Config) bool {
	return c.PDP.Configured() && !c.PDP.Embedded() && !pdpSecret(c.PDP).IsZero()
}

// pdpSecret is where the decision point's secret is handed in.
func pdpSecret(p config.PDP) config.SecretRef {
	switch p.Connection.Credentials.Method {
	case pdpBearer:
		return p.Connection.Credentials.Token
	case pdpClientCredentials:
		return p.Connection.Credentials.ClientSecret
	}
	return config.SecretRef{}
}

// Evaluate implements authz.PDP.
func (p *remotePoint) Evaluate(ctx context.Context, q authz.Question) (authz.Decision, error) {
	d, err := p.client.Evaluate(ctx, q)
	if errors.Is(err, authzen.ErrRefused) && p.newer(ctx) {
		return p.client.Evaluate(ctx, q)
	}
	return d, err
}

// EvaluateAll implements authz.PDP.
func (p *remotePoint) EvaluateAll(ctx context.Context, qs []authz.Question) ([]authz.Decision, error) {
	all, err := p.client.EvaluateAll(ctx, qs)
	if errors.Is(err, authzen.ErrRefused) && p.newer(ctx) {
		return p.client.EvaluateAll(ctx, qs)
	}
	return all, err
}

// newerEvery is how often newer credentials are looked for at most.
const newerEvery = time.Second

// newer looks whether somebody has handed in another credential a moment ago, since
// all that we have are refused.
func (p *remotePoint) newer(ctx context.Context) bool {
	before := p.ring()
	if before.IsZero() {
		return false
	}
	done := p.a.lookAgain.DoChan(namePDPSecret, func() (any, error) {
		p.mu.Lock()
		soon := time.Since(p.looked) < newerEvery
		p.mu.Unlock()
		if soon {
			return nil, nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), newerWithin)
		defer cancel()
		_ = p.a.watcher.Reread(ctx)
		_, err := p.a.follower.look(ctx)
		p.mu.Lock()
		p.looked = time.Now()
		p.mu.Unlock()
		return nil, err
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

// credentials are the live versions. A token may have been revoked, whatever the
// secret is: the active version is tried once more then, with a new token.
func (p *remotePoint) credentials() []authzen.Credential {
	ring := p.ring()
	if ring.IsZero() {
		return nil
	}
	var all []authzen.Credential
	for v := range ring.Live() {
		all = append(all, p.credential(v))
	}
	if p.c.Connection.Credentials.Method == pdpClientCredentials {
		again := all[0]
		first := again.Authorization
		again.Authorization = func(ctx context.Context) (string, error) {
			text, err := first(ctx)
			if err == nil && p.isRefused(again.Version, text) {
				return "", errors.New("no other token can be had yet")
			}
			return text, err
		}
		all = append(all, again)
	}
	return all
}

func (p *remotePoint) credential(v keyring.Version) authzen.Credential {
	if p.c.Connection.Credentials.Method == pdpBearer {
		return authzen.Credential{Version: v.ID, Authorization: func(context.Context) (string, error) {
			return "Bearer " + string(v.Value.Reveal()), nil
		}}
	}
	return authzen.Credential{Version: v.ID, Authorization: func(ctx context.Context) (string, error) {
		source, err := p.tokens(v)
		if err != nil {
			return "", err
		}
		token, err := source.Token(ctx, p.policy())
		if err != nil {
			return "", err
		}
		return "Bearer " + string(token.Value.Reveal()), nil
	}}
}

func (p *remotePoint) policy() *upstream.TokenPolicy {
	return upstream.NewTokenPolicy(upstream.ServiceToken, "", p.c.Connection.Credentials.Scopes)
}

// tokens are those by one version of the secret. Versions that are over are dropped.
func (p *remotePoint) tokens(v keyring.Version) (upstream.TokenSource, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.clients[v.ID]; ok && known.value.Equal(v.Value) {
		return known.source, nil
	}
	fetch, err := p.asker(v, observer{p.a.resources.metrics, func(version string) { p.a.refused(namePDPSecret, version, "") }})
	if err != nil {
		return nil, err
	}
	source := p.a.resources.tokens.For(fmt.Sprintf("pdp %s %s %s", p.c.Connection.Credentials.TokenURL, p.c.Connection.Credentials.ClientID, v.ID), fetch)
	if len(p.clients) >= 16 {
		clear(p.clients)
		clear(p.refused)
	}
	p.clients[v.ID] = pdpClient{v.Value, source}
	return source, nil
}

// asker asks for tokens by one version alone.
func (p *remotePoint) asker(v keyring.Version, o oidc.Observer) (pdpTokens, error) {
	v.State, v.Withdrawn, v.Compromised, v.Exposed, v.TakesOver = keyring.Active, false, false, false, false
	alone, err := keyring.New(namePDPSecret, v)
	if err != nil {
		return pdpTokens{}, err
	}
	client, err := oidc.NewClient(oidc.ClientOptions{Name: pdpName, ClientID: p.c.Connection.Credentials.ClientID, Secret: alone, Observer: o})
	return pdpTokens{p, client}, err
}

// pdpTokens fetches tokens for the decision point.
type pdpTokens struct {
	p      *remotePoint
	client *oidc.Client
}

var _ upstream.ClientCredentials = pdpTokens{}

// ClientCredentials implements upstream.ClientCredentials.
func (t pdpTokens) ClientCredentials(ctx context.Context, _ string, scopes []string) (upstream.Token, time.Time, error) {
	metadata, err := t.p.metadata(ctx)
	if err != nil {
		return upstream.Token{}, time.Time{}, err
	}
	tokens, err := t.client.ClientCredentials(ctx, metadata, scopes)
	return upstream.Token{Value: tokens.AccessToken}, tokens.Expiry, err
}

// metadata is that of where tokens are asked for: the endpoint that is configured, or
// the sign-in provider.
func (p *remotePoint) metadata(ctx context.Context) (*oidc.Metadata, error) {
	if at := p.c.Connection.Credentials.TokenURL; at != "" {
		return &oidc.Metadata{TokenEndpoint: at}, nil
	}
	if p.a.resources.provider == nil {
		return nil, errors.New("there is no sign-in provider to ask for a token, and no connection.credentials.token_url")
	}
	return p.a.resources.provider.Metadata(ctx)
}

func (p *remotePoint) isRefused(version, authorization string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, ok := p.refused[version]
	return ok && "Bearer "+string(last.Reveal()) == authorization
}

// tokenRefused drops a token that the decision point does not take. It says nothing
// of the secret, by which another authorization server gave it.
func (p *remotePoint) tokenRefused(version string) {
	p.mu.Lock()
	known, ok := p.clients[version]
	p.mu.Unlock()
	if !ok {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // what is in memory, and nothing else
	token, err := known.source.Token(ctx, p.policy())
	if err != nil {
		return
	}
	p.mu.Lock()
	p.refused[version] = token.Value
	p.mu.Unlock()
	known.source.Reject(p.policy(), token.Value)
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
		if outcome == authzen.Refused {
			o.p.tokenRefused(version)
		}
		return // at the token endpoint it was counted
	}
	o.metrics.ClientAuth(pdpName, version, outcome)
	if outcome == authzen.Refused {
		o.p.a.refused(namePDPSecret, version, "")
	}
}

// provingQuestion is harmless: it is about nobody, and nothing is done by its answer.
var provingQuestion = authz.Question{
	Subject:  authz.Entity{Type: "service", ID: "keyway"},
	Action:   authz.Action{Name: "verify"},
	Resource: authz.Entity{Type: "keyway", ID: "verify"},
}

// proveWithin bounds one proof.
const proveWithin = 10 * time.Second

// prove asks by one version alone. An answer, whichever, says that it is taken; a
// refusal, that it is not; anything else says neither.
func (p *remotePoint) prove(ctx context.Context, version string) (rotation.Verdict, error) {
	v, ok := p.ring().Find(version)
	if !ok || !v.State.Live() {
		return rotation.Unknown, fmt.Errorf("%w: %s", oidc.ErrNoCredential, version)
	}
	ctx, cancel := context.WithTimeout(ctx, proveWithin)
	defer cancel()
	options := p.options
	// One try, whatever others have met, and of the server alone.
	options.Attempts, options.Failures, options.Observer = 1, 0, provingObserver{p}
	credential := p.credential(v)
	if p.c.Connection.Credentials.Method == pdpClientCredentials {
		fetch, err := p.asker(v, observer{p.a.resources.metrics, nil})
		if err != nil {
			return rotation.Unknown, err
		}
		token, _, err := fetch.ClientCredentials(ctx, "", p.c.Connection.Credentials.Scopes)
		switch {
		case oidc.IsClientRefused(err):
			return rotation.Refused, nil
		case err != nil:
			return rotation.Unknown, err
		}
		credential.Authorization = func(context.Context) (string, error) { return "Bearer " + string(token.Value.Reveal()), nil }
	}
	options.Credentials = func() []authzen.Credential { return []authzen.Credential{credential} }
	client, err := authzen.New(options)
	if err != nil {
		return rotation.Unknown, err
	}
	_, err = client.Evaluate(ctx, provingQuestion)
	switch {
	case err == nil:
		return rotation.Accepted, nil
	case errors.Is(err, authzen.ErrRefused) && p.c.Connection.Credentials.Method == pdpBearer:
		return rotation.Refused, nil
	}
	return rotation.Unknown, err
}

// provingObserver counts the requests of proofs, and no refusals: those of a version
// that is not in use are what a proof is for.
type provingObserver struct{ p *remotePoint }

// PDPRequest implements authzen.Observer.
func (o provingObserver) PDPRequest(endpoint string, status int, _ time.Duration) {
	o.p.a.resources.metrics.PDPRequest(endpoint, status)
}

// ClientAuth implements authzen.Observer.
func (o provingObserver) ClientAuth(version, outcome string) {
	o.p.a.resources.metrics.ClientAuth(pdpName, version, outcome)
}
