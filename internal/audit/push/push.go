package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"keyway/internal/audit"
	"keyway/internal/jwks"
	"keyway/internal/secret"
)

const (
	// TokenType is the typ of a token (RFC 8417 section 2.3).
	TokenType = "secevent+jwt"
	// EventPrefix begins the URI of each type of event.
	EventPrefix = "https://keyway.dev/secevent/"

	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 16 << 10
	// maxPassed is how many tokens in a row a receiver may refuse each for itself. One
	// that refuses more does not refuse one token, but all.
	maxPassed = 3
)

// Options of a Sink. URL, Issuer, Audience and Sign are needed.
type Options struct {
	// URL is the receiver's endpoint: https, or http on loopback.
	URL      *url.URL
	Issuer   string // iss
	Audience string // aud
	// Token gives the bearer token that the receiver asks for; it is called for each
	// request. Nil: none is sent.
	Token func() (secret.Value, error)
	// Sign makes a compact JWS of claims, with that typ, by the signing key in use,
	// whose public part is in the gateway's key set.
	Sign    func(claims any, typ string) (string, error)
	Timeout time.Duration // of each request; 10 s if 0
	Client  *http.Client  // nil: one of its own
}

// Sink is an audit.Sink. It is used by one goroutine at a time.
type Sink struct {
	o      Options
	client *http.Client
	passed int // refused in a row
}

var _ audit.Sink = (*Sink)(nil)

// New builds a Sink.
func New(o Options) (*Sink, error) {
	switch {
	case o.URL == nil || o.Sign == nil || o.Issuer == "" || o.Audience == "":
		return nil, errors.New("audit push: expected the receiver's URL, an issuer, an audience and a signer")
	case o.URL.Scheme != "https" && !(o.URL.Scheme == "http" && loopback(o.URL.Hostname())): // RFC 8935 section 5.3
		return nil, errors.New("audit push: expected an https URL")
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	s := &Sink{o: o, client: o.Client}
	if s.client == nil {
		s.client = &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
		}}
	}
	client := *s.client
	// The token is for this address.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s.client = &client
	return s, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Name implements audit.Sink.
func (*Sink) Name() string { return "push" }

// claims are a security event token's (RFC 8417 section 2.2).
type claims struct {
	Issuer   string                     `json:"iss"`
	Audience string                     `json:"aud"`
	IssuedAt int64                      `json:"iat"`
	ID       string                     `json:"jti"` // the event's: the same token comes twice under the same
	Time     int64                      `json:"toe,omitempty"`
	Of       string                     `json:"txn,omitempty"` // the rotation
	Events   map[string]json.RawMessage `json:"events"`
}

// Deliver implements audit.Sink.
func (s *Sink) Deliver(ctx context.Context, entries []audit.Entry) (done int, err error) {
	for _, e := range entries {
		err := s.deliver(ctx, e)
		if _, passed := errors.AsType[*audit.PassedOverError](err); passed {
			if s.passed++; s.passed > maxPassed {
				return done, fmt.Errorf("it refuses every token, each for itself: %w", errors.Unwrap(err))
			}
			return done, err
		}
		if err != nil {
			return done, err
		}
		s.passed = 0
		done++
	}
	return done, nil
}

func (s *Sink) deliver(ctx context.Context, e audit.Entry) error {
	token, err := s.token(e)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.o.URL.String(), strings.NewReader(token))
	if err != nil {
		return errors.New("audit push: the receiver's URL can't be used")
	}
	// RFC 8935 section 2.1.
	r.Header.Set("Content-Type", "application/"+TokenType)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "keyway")
	if s.o.Token != nil {
		bearer, err := s.o.Token()
		if err != nil {
			return fmt.Errorf("audit push: the bearer token for the receiver: %w", err)
		}
		r.Header.Set("Authorization", "Bearer "+string(bearer.Reveal()))
	}
	answer, err := s.client.Do(r)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok { // which repeats the URL
			err = e.Err
		}
		return fmt.Errorf("audit push: no answer from %s: %w", s.o.URL.Host, err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer)) // what there is of it
	return s.verdict(answer, body)
}

// token is the entry as a security event token. What the event says is the entry as
// it is in the chain, so that a receiver can check the chain.
func (s *Sink) token(e audit.Entry) (string, error) {
	kind := e.Type
	if kind == "" {
		kind = "unreadable"
	}
	line := json.RawMessage(e.Line)
	if !json.Valid(line) {
		line, _ = json.Marshal(map[string]string{"unreadable": string(e.Line)}) // a string is always good
	}
	c := claims{
		Issuer: s.o.Issuer, Audience: s.o.Audience, IssuedAt: time.Now().Unix(), ID: e.ID, Of: e.Rotation,
		Events: map[string]json.RawMessage{EventPrefix + url.PathEscape(kind): line},
	}
	if c.ID == "" {
		c.ID = "entry/" + strconv.FormatUint(e.Seq, 10) + "/" + e.Hash()
	}
	if !e.At.IsZero() {
		c.Time = e.At.Unix()
	}
	token, err := s.o.Sign(c, TokenType)
	if err != nil {
		return "", fmt.Errorf("audit push: signing: %w", err)
	}
	return token, nil
}

// verdict is what an answer means (RFC 8935 sections 2.2 to 2.4).
func (s *Sink) verdict(answer *http.Response, body []byte) error {
	if answer.StatusCode == http.StatusAccepted {
		return nil
	}
	err := fmt.Errorf("audit push: %s answers %d, expected 202", s.o.URL.Host, answer.StatusCode)
	if answer.StatusCode == http.StatusBadRequest {
		var said struct {
			Err         string `json:"err"`
			Description string `json:"description"`
		}
		if jwks.DecodeObject(body, &said) == nil && said.Err != "" {
			err = fmt.Errorf("audit push: %s refuses a token: %s: %s", s.o.URL.Host, printable(said.Err, 60), printable(said.Description, 200))
			// Of all codes this one alone is of the token itself. The others are of who we are,
			// and are the same for the next one.
			if said.Err == "invalid_request" {
				return &audit.PassedOverError{Err: err}
			}
		}
	}
	if after := retryAfter(answer.Header.Get("Retry-After"), time.Now()); after > 0 {
		return &audit.LaterError{After: after, Err: err}
	}
	return err
}

// retryAfter reads seconds or a date (RFC 9110 section 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return at.Sub(now)
	}
	return 0
}

// printable keeps what a receiver says from filling or steering a log.
func printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}
