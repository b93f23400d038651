package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"keyway/internal/secret"
)

// ClientCredentials fetches a token by the client credentials grant (RFC 6749
// section 4.4). A zero expires means that the server did not say.
type ClientCredentials interface {
	ClientCredentials(ctx context.Context, audience string, scopes []string) (token Token, expires time.Time, err error)
}

// Bounds of the cache of service tokens.
const (
	DefaultMaxTokens    = 1024
	DefaultFetchTimeout = 10 * time.Second

	unknownLifetime = time.Minute // when the server does not say
	shortestLife    = time.Second
	maxLifetime     = 24 * time.Hour   // however long the server says
	expiryMargin    = 10 * time.Second // on the way, and for clocks that differ
	firstBackoff    = 500 * time.Millisecond
	lastBackoff     = 30 * time.Second
	rejectInterval  = 10 * time.Second // at least, between two tokens dropped on an upstream's word
)

// ServiceTokensOptions configure the cache. The zero value is good.
type ServiceTokensOptions struct {
	MaxTokens    int           // how many are kept; zero means DefaultMaxTokens
	FetchTimeout time.Duration // of one fetch; zero means DefaultFetchTimeout
}

// ServiceTokens keeps service tokens for the life of the process, across
// generations of configuration. It is safe for concurrent use.
//
// A token is fetched when it is first needed, once for all who wait. When four
// fifths of its life are over, the next use has it renewed in the background and
// goes on with the old one. A failed fetch is not tried again before a delay that
// doubles from half a second to half a minute; a token that still lives is served
// meanwhile, and without one the failure is returned at once.
type ServiceTokens struct {
	max     int
	timeout time.Duration
	fetches sync.WaitGroup

	mu      sync.Mutex
	entries map[string]*tokenEntry
	running map[chan struct{}]context.CancelFunc // fetches belong to no request
	closed  bool
}

// tokenEntry is guarded by ServiceTokens.mu.
type tokenEntry struct {
	token    Token
	expires  time.Time // when it is no longer served
	renew    time.Time // when a use starts a renewal
	used     time.Time
	fetching chan struct{} // closed when the fetch under way is over; nil when none is
	err      error         // of the last fetch
	failures int
	retry    time.Time // not before
	rejected time.Time // when a token was last dropped on an upstream's word
}

// ErrTokensClosed is returned after Close.
var ErrTokensClosed = errors.New("the service token cache is closed")

var errDefect = errors.New("upstream: a defect while asking for a service token; please report it")

// NewServiceTokens makes an empty cache.
func NewServiceTokens(o ServiceTokensOptions) *ServiceTokens {
	maxTokens := o.MaxTokens
	if maxTokens <= 0 {
		maxTokens = DefaultMaxTokens
	}
	return &ServiceTokens{
		max: maxTokens, timeout: orDefault(o.FetchTimeout, DefaultFetchTimeout),
		entries: make(map[string]*tokenEntry), running: make(map[chan struct{}]context.CancelFunc),
	}
}

// Close stops fetches under way and waits for them.
func (s *ServiceTokens) Close() {
	s.mu.Lock()
	s.closed = true
	for _, cancel := range s.running {
		cancel()
	}
	s.mu.Unlock()
	s.fetches.Wait()
}

// For is the cache as one generation sees it: fetching with cc. client names the
// client and its authorization server, so that tokens of different ones are never
// taken for each other; credentials may change behind it.
func (s *ServiceTokens) For(client string, cc ClientCredentials) TokenSource {
	return &clientTokens{cache: s, prefix: joinKey(client), cc: cc}
}

type clientTokens struct {
	cache  *ServiceTokens
	prefix string
	cc     ClientCredentials
}

// Token implements TokenSource.
func (c *clientTokens) Token(ctx context.Context, policy *TokenPolicy) (Token, error) {
	s := c.cache
	for {
		now := time.Now()
		s.mu.Lock()
		e := s.entry(c.prefix+policy.key, now)
		alive := now.Before(e.expires)
		if alive && now.Before(e.renew) {
			token := e.token
			s.mu.Unlock()
			return token, nil
		}
		if e.fetching == nil && !now.Before(e.retry) {
			if s.closed {
				s.mu.Unlock()
				return Token{}, ErrTokensClosed
			}
			s.fetch(e, c.cc, policy)
		}
		token, wait, err := e.token, e.fetching, e.err
		s.mu.Unlock()
		switch {
		case alive:
			return token, nil
		case wait == nil:
			return Token{}, fmt.Errorf("not tried again yet after: %w", err)
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return Token{}, context.Cause(ctx)
		}
		s.mu.Lock()
		token, alive, err = e.token, time.Now().Before(e.expires), e.err
		s.mu.Unlock()
		if alive {
			return token, nil
		}
		if err != nil {
			return Token{}, err
		}
		// Rejected in between; go round.
	}
}

// Reject implements TokenSource.
func (c *clientTokens) Reject(policy *TokenPolicy, token secret.Value) {
	s := c.cache
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[c.prefix+policy.key]
	// Only the token in use, and not at every call: an upstream that refuses all
	// tokens must not become a load on the authorization server.
	if !ok || !e.token.Value.Equal(token) || now.Sub(e.rejected) < rejectInterval {
		return
	}
	e.rejected = now
	e.token, e.expires, e.renew = Token{}, time.Time{}, time.Time{}
}

// entry finds or makes one; s.mu is held.
func (s *ServiceTokens) entry(key string, now time.Time) *tokenEntry {
	e, ok := s.entries[key]
	if !ok {
		if len(s.entries) >= s.max {
			s.evict()
		}
		e = &tokenEntry{}
		s.entries[key] = e
	}
	e.used = now
	return e
}

// evict drops the entry that was not used for longest; s.mu is held. A scan will
// do: keys come from the configuration, so that this hardly ever runs.
func (s *ServiceTokens) evict() {
	var oldest string
	var used time.Time
	for key, e := range s.entries {
		if oldest == "" || e.used.Before(used) {
			oldest, used = key, e.used
		}
	}
	delete(s.entries, oldest)
}

// fetch starts a fetch for e; s.mu is held.
func (s *ServiceTokens) fetch(e *tokenEntry, cc ClientCredentials, policy *TokenPolicy) {
	done := make(chan struct{})
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	e.fetching, s.running[done] = done, cancel
	s.fetches.Go(func() {
		defer cancel()
		token, expires, err := ask(ctx, cc, policy)
		now := time.Now()
		life := unknownLifetime
		if !expires.IsZero() {
			life = min(expires.Sub(now), maxLifetime)
		}
		switch {
		case err != nil:
		case token.Value.IsZero():
			err = errors.New("expected a token, found an empty one")
		case life < shortestLife:
			err = errors.New("expected a token that lives for a second at least, found one that expires before")
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		defer close(done)
		delete(s.running, done)
		e.fetching, e.err = nil, err
		if err != nil {
			e.retry = now.Add(backoff(e.failures))
			e.failures++
			return
		}
		e.token, e.failures, e.retry = token, 0, time.Time{}
		e.expires = now.Add(life - min(expiryMargin, life/10))
		e.renew = now.Add(life * 4 / 5)
		if e.renew.After(e.expires) {
			e.renew = e.expires
		}
	})
}

// ask asks cc. What its server sends must not end us, whatever a parser makes of it.
func ask(ctx context.Context, cc ClientCredentials, policy *TokenPolicy) (token Token, expires time.Time, err error) {
	defer func() {
		if recover() != nil { // not the panic's own text: it may have anything
			token, expires, err = Token{}, time.Time{}, errDefect
		}
	}()
	return cc.ClientCredentials(ctx, policy.audience, policy.scopes)
}

// backoff is the delay after the failures-th failure in a row, with a random
// quarter taken off so that replicas do not call in step.
func backoff(failures int) time.Duration {
	d := lastBackoff
	if failures < 6 {
		d = min(firstBackoff<<failures, lastBackoff)
	}
	return d - rand.N(d/4)
}
