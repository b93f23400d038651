package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"keyway/internal/jwks"
)

// ProviderOptions describe one issuer. Zero values mean the defaults.
type ProviderOptions struct {
	Name   string // for metrics and logs
	Issuer string // exactly as the provider names itself
	// Setting is what people set the issuer by, such as "OIDC_ISSUER": errors that a
	// wrong issuer explains name it. Default "the issuer".
	Setting   string
	Overrides Overrides
	// AllowHTTP lets the issuer and its endpoints be http beyond loopback.
	AllowHTTP bool
	// HTTP is the client; nil means one of NewHTTPClient.
	HTTP     *http.Client
	Observer Observer
	// RefreshEvery is how often Run looks at the metadata again. Default 1 h.
	RefreshEvery time.Duration
	// Timeout bounds one request. Default 10 s.
	Timeout time.Duration
	// Keys bound the key set; Locate and Client are filled in, and so is Observe
	// if it is nil.
	Keys jwks.RemoteOptions
	// OnMetadata, if set, is told what a fetch of the metadata came to: the first
	// time, and then only when that changes, so that each call is worth a line in
	// a log. The outcomes are nil, ErrUnavailable, ErrIssuerMismatch and
	// ErrMetadata; the error says more. It is called in their order, by whoever
	// fetched, while others wait: it must not block, or call the Provider.
	OnMetadata func(error)
}

// Back-off of fetches of the metadata.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// Provider knows one issuer: its metadata, the last good one kept, and its
// keys. It outlives generations, and is safe for concurrent use.
type Provider struct {
	o      ProviderOptions
	call   *caller
	client *http.Client // follows redirects on the same origin
	keys   *jwks.Remote
	pushes gate
	reach  *reach

	metadata atomic.Pointer[Metadata]
	flight   singleflight.Group

	mu       sync.Mutex
	failures int
	nextTry  time.Time
	lastErr  error
	sought   time.Time // when Run last fetched
	told     string    // the kind of outcome that OnMetadata was last told
	asking   bool      // somebody asks again after a failure, and waits
}

// NewProvider checks the issuer's form. It fetches nothing.
func NewProvider(o ProviderOptions) (*Provider, error) {
	if err := checkIssuer(o.Issuer, o.AllowHTTP); err != nil {
		return nil, err
	}
	if o.Setting == "" {
		o.Setting = "the issuer"
	}
	if o.RefreshEvery <= 0 {
		o.RefreshEvery = time.Hour
	}
	if o.OnMetadata == nil {
		o.OnMetadata = func(error) {}
	}
	if o.HTTP == nil {
		o.HTTP = NewHTTPClient(nil)
	}
	p := &Provider{o: o, call: newCaller(o.Name, o.HTTP, o.Observer, o.Timeout), pushes: gate{endpoint: "par"}, reach: newReach()}
	p.call.reach = p.reach
	client := *o.HTTP
	client.CheckRedirect = jwks.SameOrigin
	p.client = &client
	keys := o.Keys
	keys.Client = o.HTTP
	if keys.Observe == nil {
		keys.Observe = func(status int, took time.Duration, err error) {
			p.call.observer.IdPRequest(o.Name, "jwks", status, took)
			switch {
			case status != 0:
				p.reach.answered(status)
			case err != nil && !errors.Is(err, jwks.ErrRedirect):
				p.reach.failed()
			}
		}
	}
	keys.Locate = func(ctx context.Context) (string, error) {
		m, err := p.Metadata(ctx)
		if err != nil {
			return "", err
		}
		return m.JWKSURI, nil
	}
	p.keys = jwks.NewRemote(keys)
	return p, nil
}

// Issuer is the configured issuer.
func (p *Provider) Issuer() string { return p.o.Issuer }

// Keys are the issuer's public keys.
func (p *Provider) Keys() *jwks.Remote { return p.keys }

// Load fetches the metadata now. At a start, ErrIssuerMismatch and ErrMetadata
// are reasons to refuse it; ErrUnavailable is not: [Provider.Run] goes on
// trying. A failure leaves the last good metadata in use.
func (p *Provider) Load(ctx context.Context) error {
	_, err := p.fetch(ctx)
	return err
}

// Metadata returns what was last fetched well. When there is nothing yet it
// fetches, once for all who ask, and not again before a pause has passed that
// grows with each failure to a minute. After a failure only one waits for the
// next try; all others are told at once what the last one came to, because there
// may be very many, and none of them known. Errors: those of Load.
func (p *Provider) Metadata(ctx context.Context) (*Metadata, error) {
	if m := p.metadata.Load(); m != nil {
		return m, nil
	}
	p.mu.Lock()
	failed, err := p.failures > 0, p.lastErr
	if failed && (p.asking || time.Now().Before(p.nextTry)) {
		p.mu.Unlock()
		return nil, err
	}
	p.asking = failed
	p.mu.Unlock()
	if failed {
		defer func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.asking = false
		}()
	}
	return p.fetch(ctx)
}

// Run keeps the metadata fresh until ctx is done. It also asks for them, at most once
// in a minute, when the provider seems to be lost, so that it is known when it is back.
func (p *Provider) Run(ctx context.Context) {
	due := time.Now().Add(p.pause())
	for {
		timer := time.NewTimer(time.Until(due))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-p.reach.doubts: // brings it forward, and never puts it off
			timer.Stop()
			if sooner := time.Now().Add(p.pause()); sooner.Before(due) {
				due = sooner
			}
			continue
		case <-timer.C:
		}
		p.mu.Lock()
		p.sought = time.Now()
		p.mu.Unlock()
		_, _ = p.fetch(ctx) // told to OnMetadata; the last good one stays
		due = time.Now().Add(p.pause())
	}
}

// pause is how long Run waits: until the next try after a failure, else until
// the metadata is due, spread so that replicas don't ask in step.
func (p *Provider) pause() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failures > 0 {
		return max(time.Until(p.nextTry), 0)
	}
	if p.metadata.Load() == nil {
		return 0
	}
	if p.reach.lost() {
		return max(time.Until(p.sought.Add(lastPause)), firstPause)
	}
	return p.o.RefreshEvery*9/10 + rand.N(p.o.RefreshEvery/5)
}

// fetch shares one fetch among all who ask. It belongs to none of them, so that
// one who goes away does not fail the others.
func (p *Provider) fetch(ctx context.Context) (*Metadata, error) {
	results := p.flight.DoChan("metadata", func() (any, error) {
		fetchCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.call.timeout)
		defer cancel()
		m, err := p.contained(fetchCtx)
		p.note(m, err)
		return m, err
	})
	select {
	case r := <-results:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*Metadata), nil
	case <-ctx.Done():
		return nil, &UnavailableError{Endpoint: "discovery", Cause: context.Cause(ctx)}
	}
}

// note keeps the outcome of a fetch. Fetches don't overlap, so that OnMetadata is
// told of outcomes in their order.
func (p *Provider) note(m *Metadata, err error) {
	p.mu.Lock()
	p.lastErr = err
	if err != nil {
		p.failures++
		p.nextTry = time.Now().Add(min(firstPause<<min(p.failures-1, 10), lastPause))
	} else {
		p.failures = 0
		p.metadata.Store(m)
	}
	kind := outcomeKind(err)
	changed := kind != p.told
	p.told = kind
	p.mu.Unlock()
	if changed {
		p.o.OnMetadata(err)
	}
}

// outcomeKind sorts what a fetch came to. The errors themselves differ from one
// try to the next ("refused", "timed out") while nothing changes for anybody.
func outcomeKind(err error) string {
	for _, kind := range []error{ErrUnavailable, ErrIssuerMismatch, ErrMetadata} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	if err != nil {
		return "another error"
	}
	return "good"
}

// contained is get. What others send must not end us, whatever a parser makes of it:
// nobody recovers on the goroutine that fetches.
func (p *Provider) contained(ctx context.Context) (m *Metadata, err error) {
	defer func() {
		if recover() != nil { // not the panic's own text: it may have anything
			m, err = nil, &UnavailableError{Endpoint: "discovery", Cause: errDefect}
		}
	}()
	return p.get(ctx)
}

var errDefect = errors.New("a defect while reading the metadata; please report it")

// get fetches the document (Discovery 1.0 section 4).
func (p *Provider) get(ctx context.Context) (*Metadata, error) {
	where := strings.TrimSuffix(p.o.Issuer, "/") + "/.well-known/openid-configuration"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %q is no URL", ErrMetadata, where)
	}
	request.Header.Set("Accept", "application/json")
	start := time.Now()
	response, err := p.client.Do(request)
	if err != nil {
		p.call.observer.IdPRequest(p.o.Name, "discovery", 0, time.Since(start))
		if errors.Is(err, jwks.ErrRedirect) {
			return nil, fmt.Errorf("%w: %w", ErrMetadata, jwks.Transport(err))
		}
		p.reach.failed()
		return nil, &UnavailableError{Endpoint: "discovery", Cause: jwks.Transport(err)}
	}
	defer response.Body.Close()
	p.call.observer.IdPRequest(p.o.Name, "discovery", response.StatusCode, time.Since(start))
	body, err := io.ReadAll(io.LimitReader(response.Body, maxMetadata+1))
	if err == nil && (response.StatusCode == http.StatusOK || response.StatusCode >= 500) { // any other may be a proxy's in front of it
		p.reach.answered(response.StatusCode)
	}
	switch {
	case err != nil:
		p.reach.failed()
		return nil, &UnavailableError{Endpoint: "discovery", Status: response.StatusCode, Cause: jwks.Transport(err)}
	case absent(response.StatusCode):
		return nil, &UnavailableError{Endpoint: "discovery", Status: response.StatusCode, Cause: fmt.Errorf("%w at %s: is %s exactly its issuer?", ErrNoMetadata, where, p.o.Setting)}
	case response.StatusCode != http.StatusOK:
		return nil, &UnavailableError{Endpoint: "discovery", Status: response.StatusCode,
			RetryAfter: retryAfter(response.Header, time.Now()), Cause: fmt.Errorf("expected status 200 at %s", where)}
	case len(body) > maxMetadata:
		return nil, fmt.Errorf("%w: expected at most %d bytes, found more", ErrMetadata, maxMetadata)
	}
	if !json.Valid(body) {
		// A maintenance page, or a document cut short: it will pass.
		return nil, &UnavailableError{Endpoint: "discovery", Status: response.StatusCode,
			Cause: fmt.Errorf("expected a JSON document at %s, found something else", where)}
	}
	return parseMetadata(body, p.o.Issuer, p.o.AllowHTTP, p.o.Overrides, p.o.Setting)
}

// absent are the statuses of somebody who is there and knows of no metadata at this
// address; 408 and 429 say that it is busy.
func absent(status int) bool {
	return status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests
}
