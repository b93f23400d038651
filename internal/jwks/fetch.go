package jwks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// fetch gets and parses the set, and says how long it is fresh.
func (r *Remote) fetch(ctx context.Context) (_ keySet, fresh time.Duration, status int, _ error) {
	where, err := r.o.Locate(ctx)
	if err != nil {
		return nil, 0, 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return nil, 0, 0, errors.New("the key set's address is not a URL")
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	client := *r.o.Client
	client.CheckRedirect = SameOrigin
	answer, err := client.Do(request)
	if err != nil {
		return nil, 0, 0, fmt.Errorf("fetching the key set from %s: %w", request.URL.Host, Transport(err))
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, 0, answer.StatusCode, fmt.Errorf("fetching the key set from %s: expected status 200, found %d", request.URL.Host, answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, r.o.MaxBytes+1))
	if err != nil {
		return nil, 0, answer.StatusCode, fmt.Errorf("reading the key set from %s: %w", request.URL.Host, Transport(err))
	}
	if int64(len(body)) > r.o.MaxBytes {
		return nil, 0, answer.StatusCode, fmt.Errorf("the key set from %s: expected at most %d bytes, found more", request.URL.Host, r.o.MaxBytes)
	}
	keys, err := parseKeySet(body)
	if err != nil {
		return nil, 0, answer.StatusCode, fmt.Errorf("the key set from %s: %w", request.URL.Host, err)
	}
	return keys, r.freshness(answer.Header), answer.StatusCode, nil
}

// freshness is max-age less Age (RFC 9111 section 4.2), within our own bounds.
func (r *Remote) freshness(h http.Header) time.Duration {
	age := r.o.DefaultAge
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return r.o.MinAge
		case "max-age":
			if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				age = time.Duration(n) * time.Second
			}
		}
	}
	if n, err := strconv.ParseUint(h.Get("Age"), 10, 31); err == nil {
		age -= time.Duration(n) * time.Second
	}
	return min(max(age, r.o.MinAge), r.o.MaxAge)
}

// maxRedirects is enough for a provider that moved a document.
const maxRedirects = 3

// ErrRedirect says that a peer redirected to where nobody may follow.
var ErrRedirect = errors.New("redirect refused")

// SameOrigin is an http.Client's CheckRedirect: at most three, GET or HEAD
// only, and to the same scheme, host and port. Where keys and metadata come
// from is a matter of trust that a Location header can't widen.
func SameOrigin(request *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case first.Method != http.MethodGet && first.Method != http.MethodHead:
		return http.ErrUseLastResponse
	case len(via) > maxRedirects:
		return fmt.Errorf("%w: more than %d", ErrRedirect, maxRedirects)
	case request.URL.Scheme != first.URL.Scheme || !strings.EqualFold(request.URL.Host, first.URL.Host):
		return fmt.Errorf("%w: it leaves the origin", ErrRedirect)
	}
	return nil
}
