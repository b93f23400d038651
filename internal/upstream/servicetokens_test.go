package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/problem"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

// issuer is an authorization server: it takes a second for each token, numbers
// them, and fails while broken is set.
type issuer struct {
	mu     sync.Mutex
	calls  []string
	life   time.Duration
	broken error
}

func (i *issuer) ClientCredentials(ctx context.Context, audience string, scopes []string) (Token, time.Time, error) {
	i.mu.Lock()
	i.calls = append(i.calls, fmt.Sprintf("%s %q", audience, scopes))
	n, life, err := len(i.calls), i.life, i.broken
	i.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return Token{}, time.Time{}, ctx.Err()
	}
	if err != nil {
		return Token{}, time.Time{}, err
	}
	var expires time.Time
	if life != 0 {
		expires = time.Now().Add(life)
	}
	return Token{Value: secret.NewValue(fmt.Appendf(nil, "token-%d", n))}, expires, nil
}

func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.calls)
}

func (i *issuer) breakWith(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.broken = err
}

// inBubble runs a test against a cache in synthetic time.
func inBubble(t *testing.T, i *issuer, o ServiceTokensOptions, test func(t *testing.T, token func() (string, error), source TokenSource)) {
	synctest.Test(t, func(t *testing.T) {
		cache := NewServiceTokens(o)
		defer cache.Close()
		source := cache.For("client", i)
		policy := NewTokenPolicy(ServiceToken, "api", []string{"read"})
		test(t, func() (string, error) {
			v, err := source.Token(t.Context(), policy)
			return string(v.Value.Reveal()), err
		}, source)
	})
}

func TestServiceTokenIsFetchedOnceForAll(t *testing.T) {
	i := &issuer{life: time.Hour}
	inBubble(t, i, ServiceTokensOptions{}, func(t *testing.T, token func() (string, error), _ TokenSource) {
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if got, err := token(); got != "token-1" || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
		all.Wait()
		if i.count() != 1 {
			t.Errorf("%d fetches", i.count())
		}
	})
}

func TestServiceTokenIsRenewedAhead(t *testing.T) {
	i := &issuer{life: 100 * time.Second}
	inBubble(t, i, ServiceTokensOptions{}, func(t *testing.T, token func() (string, error), _ TokenSource) {
		want := func(s string, fetches int) {
			t.Helper()
			before := time.Now()
			if got, err := token(); got != s || err != nil {
				t.Fatalf("got %q, %v, want %q", got, err, s)
			}
			if s != "token-1" && time.Since(before) > 0 {
				t.Error("waited for it")
			}
			synctest.Wait()
			if i.count() != fetches {
				t.Fatalf("%d fetches, want %d", i.count(), fetches)
			}
		}
		want("token-1", 1)
		time.Sleep(79 * time.Second)
		want("token-1", 1)
		time.Sleep(2 * time.Second)
		want("token-1", 2) // the old one, while the new one is on its way
		want("token-1", 2)
		time.Sleep(2 * time.Second)
		want("token-2", 2)
	})
}

func TestServiceTokenNeverServedAfterItsTime(t *testing.T) {
	i := &issuer{life: 100 * time.Second}
	inBubble(t, i, ServiceTokensOptions{}, func(t *testing.T, token func() (string, error), _ TokenSource) {
		if _, err := token(); err != nil {
			t.Fatal(err)
		}
		i.breakWith(errors.New("down"))
		time.Sleep(85 * time.Second) // since it was issued
		if got, err := token(); got != "token-1" || err != nil {
			t.Errorf("while it lives: %q, %v", got, err)
		}
		time.Sleep(4 * time.Second)
		if got, err := token(); got != "token-1" || err != nil {
			t.Errorf("while it lives, after a failed renewal: %q, %v", got, err)
		}
		time.Sleep(2 * time.Second)
		if got, err := token(); err == nil {
			t.Errorf("ten seconds before its end: %q", got)
		}
		i.breakWith(nil)
		time.Sleep(lastBackoff)
		if got, err := token(); err != nil || got == "token-1" {
			t.Errorf("after recovery: %q, %v", got, err)
		}
	})
}

func TestFailedFetchesBackOff(t *testing.T) {
	threat.Covers(t, 67)
	i := &issuer{life: time.Hour, broken: errors.New("down")}
	inBubble(t, i, ServiceTokensOptions{}, func(t *testing.T, token func() (string, error), _ TokenSource) {
		start := time.Now()
		for time.Since(start) < 10*time.Minute {
			if got, err := token(); err == nil {
				t.Fatalf("got %q", got)
			}
			time.Sleep(50 * time.Millisecond)
		}
		if n := i.count(); n < 15 || n > 35 {
			t.Errorf("%d fetches in ten minutes of failure", n)
		}
	})
}

func TestOddAnswersOfTheIssuer(t *testing.T) {
	for name, c := range map[string]struct {
		life time.Duration
		ok   bool
	}{
		"has expired":  {-time.Hour, false},
		"expires soon": {time.Millisecond, false},
		"does not say": {0, true},
		"for ever":     {1 << 62, true},
	} {
		i := &issuer{life: c.life}
		inBubble(t, i, ServiceTokensOptions{}, func(t *testing.T, token func() (string, error), _ TokenSource) {
			if got, err := token(); (err == nil) != c.ok {
				t.Errorf("%s: %q, %v", name, got, err)
			}
			if c.ok {
				time.Sleep(2 * maxLifetime)
				if got, _ := token(); got == "token-1" {
					t.Errorf("%s: served after two days", name)
				}
			}
		})
	}
}

// defect is an authorization server whose answers a parser of ours stumbles over.
type defect struct{ calls int }

func (d *defect) ClientCredentials(context.Context, string, []string) (Token, time.Time, error) {
	if d.calls++; d.calls == 1 {
		panic("what it said")
	}
	return Token{Value: secret.NewValue([]byte("token"))}, time.Now().Add(time.Hour), nil
}

func TestADefectIsAFailedFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := NewServiceTokens(ServiceTokensOptions{})
		defer cache.Close()
		source, policy := cache.For("client", &defect{}), NewTokenPolicy(ServiceToken, "api", nil)
		if token, err := source.Token(t.Context(), policy); err == nil || strings.Contains(err.Error(), "what it said") {
			t.Errorf("the first: %v, %v", token.Value.IsZero(), err)
		}
		time.Sleep(firstBackoff)
		if _, err := source.Token(t.Context(), policy); err != nil {
			t.Errorf("after that: %v", err)
		}
	})
}

func TestRejectedTokenIsFetchedAnewOnce(t *testing.T) {
	i := &issuer{life: time.Hour}
	inBubble(t, i, ServiceTokensOptions{}, func(t *testing.T, token func() (string, error), source TokenSource) {
		policy := NewTokenPolicy(ServiceToken, "api", []string{"read"})
		time.Sleep(rejectInterval)
		for range 50 { // an upstream that refuses everything
			got, err := token()
			if err != nil {
				t.Fatal(err)
			}
			source.Reject(policy, secret.NewValue([]byte(got)))
		}
		if i.count() != 2 {
			t.Errorf("%d fetches, want 2", i.count())
		}
		time.Sleep(rejectInterval)
		source.Reject(policy, secret.NewValue([]byte("another")))
		if got, _ := token(); got != "token-2" {
			t.Errorf("a token that was not in use was dropped: %q", got)
		}
	})
}

func TestWaitersLeaveWithTheirContext(t *testing.T) {
	i := &issuer{life: time.Hour}
	inBubble(t, i, ServiceTokensOptions{}, func(t *testing.T, token func() (string, error), source TokenSource) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		policy := NewTokenPolicy(ServiceToken, "api", []string{"read"})
		if _, err := source.Token(ctx, policy); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if got, err := token(); got != "token-1" || err != nil { // the fetch went on
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestTheCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := NewServiceTokens(ServiceTokensOptions{MaxTokens: 3})
		i := &issuer{life: time.Hour}
		source := cache.For("client", i)
		for n := range 10 {
			if _, err := source.Token(t.Context(), NewTokenPolicy(ServiceToken, fmt.Sprint(n), nil)); err != nil {
				t.Fatal(err)
			}
		}
		if len(cache.entries) != 3 {
			t.Errorf("%d entries", len(cache.entries))
		}
		if _, err := source.Token(t.Context(), NewTokenPolicy(ServiceToken, "9", nil)); err != nil || i.count() != 10 {
			t.Errorf("the newest was dropped: %d fetches, %v", i.count(), err)
		}
		go cache.Close()
		synctest.Wait()
		if _, err := source.Token(t.Context(), NewTokenPolicy(ServiceToken, "new", nil)); !errors.Is(err, ErrTokensClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestTokensOfDifferentKeysAreDifferent(t *testing.T) {
	threat.Covers(t, 46)
	synctest.Test(t, func(t *testing.T) {
		cache := NewServiceTokens(ServiceTokensOptions{})
		defer cache.Close()
		i := &issuer{life: time.Hour}
		got := map[string]string{}
		for _, c := range []struct {
			client, audience string
			scopes           []string
		}{
			{"c", "a", []string{"b", "c"}}, {"c", "a", []string{"b c"}}, {"c", "a b", []string{"c"}}, {"c", "a", []string{"1:b", "c"}},
			{"c", "a1:b", []string{"c"}}, {"c", "a", []string{"b"}}, {"c", "", []string{"a", "b"}}, {"c1:a", "", []string{"b"}}, {"c", "a", nil},
			{"d", "a", []string{"b", "c"}},
		} {
			token, err := cache.For(c.client, i).Token(t.Context(), NewTokenPolicy(ServiceToken, c.audience, c.scopes))
			if err != nil {
				t.Fatal(err)
			}
			if other, twice := got[string(token.Value.Reveal())]; twice {
				t.Errorf("%q got the token of %s", c, other)
			}
			got[string(token.Value.Reveal())] = fmt.Sprint(c)
		}
		before := i.count()
		if _, err := cache.For("c", i).Token(t.Context(), NewTokenPolicy(ServiceToken, "a", []string{"c", "b", "c"})); err != nil || i.count() != before {
			t.Errorf("the order of scopes made a difference: %v", err)
		}
	})
}

// fixedSource serves one token, or fails.
type fixedSource struct {
	token    string
	err      error
	rejected chan string
}

func (s fixedSource) Token(context.Context, *TokenPolicy) (Token, error) {
	return Token{Value: secret.NewValue([]byte(s.token))}, s.err
}

func (s fixedSource) Reject(_ *TokenPolicy, v secret.Value) { s.rejected <- string(v.Reveal()) }

func TestTokenPoliciesFailClosed(t *testing.T) {
	base, requests := recorder(t)
	service := NewTokenPolicy(ServiceToken, "api", nil)
	for name, c := range map[string]struct {
		source TokenSource
		req    Request
	}{
		"no access token":       {nil, Request{Token: NewTokenPolicy(Passthrough, "", nil)}},
		"token with a line end": {nil, Request{Token: NewTokenPolicy(Passthrough, "", nil), AccessToken: secret.NewValue([]byte("a\r\nX-User-Id: eve"))}},
		"token with a space":    {nil, Request{Token: NewTokenPolicy(Passthrough, "", nil), AccessToken: secret.NewValue([]byte("a b"))}},
		"no source":             {nil, Request{Token: service}},
		"source fails":          {fixedSource{err: errors.New("down")}, Request{Token: service}},
		"source is empty":       {fixedSource{}, Request{Token: service}},
		"unknown mode":          {nil, Request{Token: NewTokenPolicy(99, "", nil)}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := New(Options{Services: []Service{{Name: "api", BaseURL: base}}, Tokens: c.source})
			if err != nil {
				t.Fatal(err)
			}
			c.req.Service, c.req.Path = "api", "/"
			w := httptest.NewRecorder()
			if err := p.Forward(w, httptest.NewRequest("GET", "/", nil), c.req); problem.CodeOf(err) != problem.UpstreamAuthFailed {
				t.Errorf("got %v", err)
			} else if strings.Contains(err.Error(), "eve") {
				t.Errorf("the error holds the token: %v", err)
			}
			if len(requests) > 0 {
				t.Errorf("the upstream saw %q", (<-requests).fields)
			}
		})
	}
}

func TestServiceTokenThatTheUpstreamRefuses(t *testing.T) {
	got := make(chan string, 1)
	base := listen(t, func(c net.Conn) {
		s, _ := readSeen(bufio.NewReader(c))
		got <- strings.Join(s.field("Authorization"), "+")
		_, _ = io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
	})
	source := fixedSource{token: "t-1", rejected: make(chan string, 1)}
	p, err := New(Options{Services: []Service{{Name: "api", BaseURL: base}}, Tokens: source})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	f := frontOf(t, p, func(_ *http.Request, req *Request) { req.Token = NewTokenPolicy(ServiceToken, "api", nil) })
	res, _ := f.send(t, "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer eve\r\n\r\n")
	if sent := receive(t, got, "the request"); res.StatusCode != 502 || sent != "Bearer t-1" {
		t.Errorf("answered %s, the upstream got %q", res.Status, sent)
	}
	if got := receive(t, source.rejected, "the token to be rejected"); got != "t-1" {
		t.Errorf("rejected %q", got)
	}
}
