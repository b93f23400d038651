package idp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Bounds of telling clients that somebody has signed out.
const (
	maxTelling           = 16              // requests at once; who comes later waits
	tellWithin           = 5 * time.Second // one request
	tellTries            = 2
	logoutTokenLife      = 2 * time.Minute // OpenID Connect Back-Channel Logout 1.0, 4
	maxLogoutAnswer      = 64 << 10
	backchannelEvent     = "http://schemas.openid.net/event/backchannel-logout"
	logoutTokenType      = "logout+jwt"
	demoACR              = "urn:keyway:demo:password"
	passwordAMR          = "pwd" // RFC 8176, 2
	maxClientsOfASession = 64
)

// teller sends logout tokens in the background.
type teller struct {
	places chan struct{}
	under  sync.WaitGroup
	closed chan struct{}
	once   sync.Once
}

func newTeller() *teller {
	return &teller{places: make(chan struct{}, maxTelling), closed: make(chan struct{})}
}

// begin does something until it is done, or the teller is closed.
func (t *teller) begin(do func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	t.under.Go(func() {
		defer cancel()
		do(ctx)
	})
	t.under.Go(func() {
		select {
		case <-t.closed:
			cancel()
		case <-ctx.Done():
		}
	})
}

func (t *teller) close() {
	t.once.Do(func() { close(t.closed) })
	t.under.Wait()
}

// joins notes that a client has got a code for a session, so that it is told
// when the session ends. Called with the lock held.
func (s *session) joins(client string) {
	if s.clients == nil {
		s.clients = map[string]bool{}
	}
	if len(s.clients) < maxClientsOfASession {
		s.clients[client] = true
	}
}

// tell sends every client of a session that has ended a logout token (OpenID
// Connect Back-Channel Logout 1.0, 2.5), beside the request that ended it: the
// person who signs out does not wait for relying parties.
func (p *Provider) tell(c *call, s *session) {
	p.mu.Lock()
	var told []*registered
	for id := range s.clients {
		if client := p.clients[id]; client != nil && client.BackchannelLogoutURI != "" {
			told = append(told, client)
		}
	}
	p.mu.Unlock()
	hooks, now := c.hooks, c.now
	for _, client := range told {
		p.teller.begin(func(ctx context.Context) {
			status, err := p.tellOne(ctx, client, s, hooks, now)
			if h := hooks.LogoutAnswered; h != nil {
				h(client.ID, status, err)
			}
		})
	}
}

func (p *Provider) tellOne(ctx context.Context, client *registered, s *session, hooks *Hooks, now time.Time) (status int, err error) {
	select {
	case p.teller.places <- struct{}{}:
		defer func() { <-p.teller.places }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	token, err := p.logoutToken(client.ID, s, hooks, now)
	if err != nil {
		return 0, err
	}
	// Once more if nobody answered, or could not now; the same token, which whoever
	// has acted on it knows again by its jti.
	for range tellTries {
		if status, err = p.post(ctx, client.BackchannelLogoutURI, url.Values{"logout_token": {token}}); err == nil && status < 500 {
			break
		}
	}
	return status, err
}

// logoutToken is that of section 2.4.
func (p *Provider) logoutToken(client string, s *session, hooks *Hooks, now time.Time) (string, error) {
	t := &JWT{ClientID: client, Header: map[string]any{"typ": logoutTokenType}, Claims: map[string]any{
		"iss": p.o.Issuer, "aud": client, "sub": s.user.Subject, "sid": s.sid, "jti": random(),
		"iat": now.Unix(), "exp": now.Add(logoutTokenLife).Unix(),
		"events": map[string]any{backchannelEvent: map[string]any{}},
	}}
	if h := hooks.LogoutToken; h != nil {
		h(t)
	}
	token, err := p.Sign(t.Header, t.Claims)
	if err != nil {
		return "", err
	}
	if h := hooks.SerializedLogoutToken; h != nil {
		token = h(token)
	}
	return token, nil
}

func (p *Provider) post(ctx context.Context, to string, form url.Values) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, errors.New("idp: backchannel_logout_uri is no URL")
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := p.o.HTTPClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxLogoutAnswer)) // so that the connection can be used again
	return answer.StatusCode, nil
}
