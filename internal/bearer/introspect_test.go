package bearer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

func asking(p *asked) Entry {
	return Entry{Name: "main", Issuer: issuer, Provider: "main", Audience: []string{ours}, Introspect: p.introspect,
		Permissions: []Claim{{Source: "scope", SpaceDelimited: true}}}
}

func always(body string, err error) func(string) (string, error) {
	return func(string) (string, error) { return body, err }
}

// Only active: true, for us, lets anybody in. What is no answer is no answer.
func TestAnswers(t *testing.T) {
	away := &oidc.UnavailableError{Endpoint: "introspection", Status: 500}
	future := time.Now().Add(time.Hour).Unix()
	for name, c := range map[string]struct {
		body      string
		err       error
		code      problem.Code // "": let in
		challenge string
	}{
		"active":                {active("machine", nil), nil, "", ""},
		"without iss and exp":   {active("machine", map[string]any{"iss": nil}), nil, "", ""},
		"token_type of another": {active("machine", map[string]any{"token_type": "DPoP"}), nil, problem.InvalidToken, invalidToken},
		"inactive":              {`{"active":false}`, nil, problem.InvalidToken, invalidToken},
		"for another audience":  {active("machine", map[string]any{"aud": "https://other.example.com"}), nil, problem.InvalidToken, invalidToken},
		"for nobody":            {active("machine", map[string]any{"aud": nil}), nil, problem.InvalidToken, invalidToken},
		"of another issuer":     {active("machine", map[string]any{"iss": "https://evil.example.com"}), nil, problem.InvalidToken, invalidToken},
		"expired":               {active("machine", map[string]any{"exp": 1}), nil, problem.InvalidToken, invalidToken},
		"not yet":               {active("machine", map[string]any{"nbf": future}), nil, problem.InvalidToken, invalidToken},
		"without sub":           {active("", nil), nil, problem.InvalidToken, invalidToken},
		"a refresh token":       {active("machine", map[string]any{"token_use": "refresh_token"}), nil, problem.InvalidToken, invalidToken},
		"bound":                 {active("machine", map[string]any{"cnf": map[string]any{"x5t#S256": "x"}}), nil, problem.InvalidToken, invalidToken},
		`active "true"`:         {active("machine", map[string]any{"active": "true"}), nil, problem.IdPFailed, ""},
		"active 1":              {active("machine", map[string]any{"active": 1}), nil, problem.IdPFailed, ""},
		"active absent":         {active("machine", map[string]any{"active": nil}), nil, problem.IdPFailed, ""},
		"active null":           {`{"active":null,"sub":"a","aud":"` + ours + `"}`, nil, problem.IdPFailed, ""},
		"active twice":          {`{"active":false,"active":true,"sub":"a","aud":"` + ours + `"}`, nil, problem.IdPFailed, ""},
		"Active":                {`{"Active":true,"sub":"a","aud":"` + ours + `"}`, nil, problem.IdPFailed, ""},
		"no JSON":               {"<html>", nil, problem.IdPFailed, ""},
		"empty":                 {"", nil, problem.IdPFailed, ""},
		"a list":                {`[{"active":true}]`, nil, problem.IdPFailed, ""},
		"500":                   {"", away, problem.IdPUnavailable, ""},
		"401":                   {"", &oidc.OAuthError{Endpoint: "introspection", Status: 401, Code: "invalid_client"}, problem.IdPUnavailable, ""},
		"nonsense":              {"", oidc.ErrAnswer, problem.IdPFailed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 45)
			p := newAsked(always(c.body, c.err))
			a := authenticator(t, Options{Entries: []Entry{asking(p)}})
			for range 2 {
				_, err := present(t, a, "opaque")
				if c.code == "" {
					if err != nil {
						t.Error(err)
					}
					continue
				}
				want(t, err, c.code, c.challenge)
			}
			// A failure is no answer to remember.
			remembered := c.code == "" || c.code == problem.InvalidToken
			if n := p.times("opaque"); (n == 1) != remembered {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// A defect is no answer, ends nobody else's requests, and says nothing of what it met.
func TestADefectWhileAskingEndsNothing(t *testing.T) {
	threat.Covers(t, 45)
	p := newAsked(func(string) (string, error) { panic("with a secret in it") })
	a := authenticator(t, Options{Entries: []Entry{asking(p)}})
	for range maxAsking + 1 { // and holds no place
		_, err := present(t, a, "opaque")
		want(t, err, problem.Internal, "")
		if strings.Contains(err.Error(), "with a secret") {
			t.Fatal(err)
		}
	}
	p.say(always(active("machine", nil), nil))
	if _, err := present(t, a, "opaque"); err != nil {
		t.Error(err)
	}
}

// The scope and audience of a cached answer are looked at again by each route,
// and the provider's silence about a token is not remembered when it is back.
func TestCachedAnswerIsCheckedAgain(t *testing.T) {
	threat.Covers(t, 45, 46)
	p := newAsked(always(active("machine", map[string]any{"scope": "notes:read"}), nil))
	cache, other := newCache(t), asking(p)
	other.Audience = []string{"https://other.example.com"}
	here := authenticator(t, Options{Cache: cache, Entries: []Entry{asking(p)}})
	elsewhere := authenticator(t, Options{Cache: cache, Entries: []Entry{other}})
	who, err := present(t, here, "opaque")
	if err != nil || len(who.Permissions) != 1 {
		t.Fatal(who, err)
	}
	_, err = present(t, elsewhere, "opaque")
	want(t, err, problem.InvalidToken, invalidToken)
}

// One token at two providers is two questions and two answers, whatever their
// names look like when they are put together.
func TestEntriesAreApart(t *testing.T) {
	threat.Covers(t, 46)
	cache := newCache(t)
	var all []*Authenticator
	for i, name := range []string{"a", "a 1", "a\x00", "b"} {
		p := newAsked(always(active(fmt.Sprint(i), nil), nil))
		e := asking(p)
		e.Name, e.Provider = name, fmt.Sprint("p", i)
		all = append(all, authenticator(t, Options{Cache: cache, Entries: []Entry{e}}))
	}
	// The entry's name stayed, and it means another issuer now.
	e := asking(newAsked(always(active("4", map[string]any{"iss": "https://new.example.com"}), nil)))
	e.Name, e.Issuer, e.Provider = "a", "https://new.example.com", "p4"
	all = append(all, authenticator(t, Options{Cache: cache, Entries: []Entry{e}}))
	for range 2 {
		for i, a := range all {
			who, err := present(t, a, "opaque")
			if want := fmt.Sprintf("auth:account:p%d:%d", i, i); err != nil || who.Account() != want {
				t.Errorf("%s: %v, want %s", who.Account(), err, want)
			}
		}
	}
}

// An opaque token is of whoever knows it; while one can't be asked, nobody can
// say that it is bad.
func TestSeveralProviders(t *testing.T) {
	first, second := newAsked(inactive), newAsked(always(active("machine", nil), nil))
	b := asking(second)
	b.Name, b.Provider = "second", "second"
	a := authenticator(t, Options{Entries: []Entry{asking(first), b}})
	if who, err := present(t, a, "opaque"); err != nil || who.Provider != "second" {
		t.Errorf("%+v %v", who, err)
	}
	first.say(always("", &oidc.UnavailableError{Endpoint: "introspection"}))
	if _, err := present(t, a, "other"); err != nil {
		t.Errorf("the first is away, the second knows it: %v", err)
	}
	second.say(inactive)
	_, err := present(t, a, "third")
	want(t, err, problem.IdPUnavailable, "")
}

// An answer is good for a minute and until the token expires, and one that it is
// not active for ten seconds. A provider that is away meanwhile makes no answer
// older than that, and none inactive.
func TestAgeOfAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		exp   time.Duration // from now; 0: not said
		good  time.Duration
		later problem.Code
	}{
		"no exp":        {0, time.Minute, problem.IdPUnavailable},
		"exp after TTL": {time.Hour, time.Minute, problem.IdPUnavailable},
		"exp in TTL":    {20 * time.Second, 20 * time.Second, problem.IdPUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 47)
			synctest.Test(t, func(t *testing.T) {
				more := map[string]any{}
				if c.exp > 0 {
					more["exp"] = time.Now().Add(c.exp).Unix()
				}
				p := newAsked(always(active("machine", more), nil))
				a := authenticator(t, Options{Entries: []Entry{asking(p)}})
				if _, err := present(t, a, "opaque"); err != nil {
					t.Fatal(err)
				}
				p.say(always("", &oidc.OAuthError{Status: 401, Code: "invalid_client"}))
				time.Sleep(c.good - time.Second)
				if _, err := present(t, a, "opaque"); err != nil {
					t.Errorf("just before the end: %v", err)
				}
				time.Sleep(time.Second)
				_, err := present(t, a, "opaque")
				want(t, err, c.later, "")
				p.say(inactive) // revoked
				_, err = present(t, a, "opaque")
				want(t, err, problem.InvalidToken, invalidToken)
				p.say(always(active("machine", nil), nil))
				time.Sleep(refusedFor)
				if _, err := present(t, a, "opaque"); err != nil {
					t.Errorf("active now: %v", err)
				}
			})
		})
	}
}

// The salt turns: nothing is asked again, nothing is mixed up, and what was found
// under a version that is gone is not found any more.
func TestSaltTurns(t *testing.T) {
	threat.Covers(t, 46, 47)
	p := newAsked(func(token string) (string, error) { return active(token, nil), nil })
	cache := newCache(t)
	with := func(states ...string) *Authenticator {
		return authenticator(t, Options{Cache: cache, Salt: hasher(t, states...), Entries: []Entry{asking(p)}})
	}
	generations := []struct {
		a     *Authenticator
		times int // that each token has been asked about by then
	}{
		{with("v1=active"), 1},
		{with("v2=active", "v1=retiring"), 1},
		{with("v1=active", "v2=pending"), 1}, // a replica that lags, and one that rolled back
		{with("v2=active", "v1=retired"), 1}, // found under v2, where the second put it
		{with("v3=active", "v2=retired"), 2}, // compromised: no overlap
		{with("v4=active", "v3=retiring"), 2},
	}
	for i, g := range generations {
		for n := range 20 {
			token := fmt.Sprintf("token-%d", n)
			if who, err := present(t, g.a, token); err != nil || who.Subject != token {
				t.Errorf("generation %d: %s is said to be %q: %v", i, token, who.Subject, err)
			}
			if asked := p.times(token); asked != g.times {
				t.Errorf("generation %d: %s was asked about %d times, want %d", i, token, asked, g.times)
			}
		}
	}
}

// However many wait, one token is one question; and who goes away ends only its
// own wait.
func TestOneQuestionForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := newAsked(func(string) (string, error) { <-release; return active("machine", nil), nil })
		a := authenticator(t, Options{Entries: []Entry{asking(p)}})
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() { _, _, err := a.Authenticate(ctx, []string{"Bearer opaque"}, Need{}); gone <- err }()
		synctest.Wait()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, err := present(t, a, "opaque"); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		leave()
		want(t, <-gone, problem.IdPUnavailable, "")
		close(release)
		wg.Wait()
		if n := p.times("opaque"); n != 1 {
			t.Errorf("%d questions", n)
		}
	})
}

// A provider that hangs costs so many questions at a time, and all others are
// told at once; none waits for ever.
func TestProviderThatHangs(t *testing.T) {
	threat.Covers(t, 45)
	synctest.Test(t, func(t *testing.T) {
		var asking atomic.Int64
		e := Entry{Name: "main", Issuer: issuer, Provider: "main", Audience: []string{ours},
			Introspect: func(ctx context.Context, _ secret.Value) ([]byte, error) {
				asking.Add(1)
				<-ctx.Done()
				return nil, &oidc.UnavailableError{Endpoint: "introspection", Cause: ctx.Err()}
			}}
		a := authenticator(t, Options{Entries: []Entry{e}})
		var wg sync.WaitGroup
		var overloaded, away atomic.Int64
		started := time.Now()
		for n := range 500 {
			wg.Go(func() {
				switch _, err := present(t, a, fmt.Sprintf("token-%d", n)); problem.CodeOf(err) {
				case problem.Overloaded:
					overloaded.Add(1)
				case problem.IdPUnavailable:
					away.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if asking.Load() != maxAsking || away.Load() != maxAsking || overloaded.Load() != 500-maxAsking {
			t.Errorf("%d questions, %d waited, %d were told at once", asking.Load(), away.Load(), overloaded.Load())
		}
		if took := time.Since(started); took > askFor {
			t.Errorf("it took %s", took)
		}
	})
}

// Junk drives nothing out that is good, and is bounded itself.
func TestJunkIsApart(t *testing.T) {
	threat.Covers(t, 43)
	p := newAsked(func(token string) (string, error) {
		if strings.HasPrefix(token, "junk") {
			return inactive(token)
		}
		return active("machine", nil), nil
	})
	cache := newCache(t)
	a := authenticator(t, Options{Cache: cache, Entries: []Entry{asking(p)}})
	if _, err := present(t, a, "good"); err != nil {
		t.Fatal(err)
	}
	for n := range 3 * maxRefused {
		_, _ = present(t, a, fmt.Sprintf("junk-%d", n))
	}
	cache.bad.CleanUp()
	if n := cache.bad.EstimatedSize(); n > maxRefused {
		t.Errorf("%d refused tokens are kept", n)
	}
	if _, err := present(t, a, "good"); err != nil || p.times("good") != 1 {
		t.Errorf("asked %d times: %v", p.times("good"), err)
	}
}

// Operators see what comes in, by kind.
func TestObserved(t *testing.T) {
	var got []string
	p := newAsked(always("", errors.New("away")))
	a := authenticator(t, Options{Entries: []Entry{asking(p)}, Observe: func(kind, outcome string) { got = append(got, kind+" "+outcome) }})
	_, _ = present(t, a, "x")
	p.say(inactive)
	_, _ = present(t, a, "x")
	p.say(always(active("machine", nil), nil))
	_, _ = present(t, a, "y")
	_, _ = present(t, a, "eyJhbGciOiJub25lIn0.e30.")
	if s := strings.Join(got, ", "); s != "opaque unavailable, opaque refused, opaque accepted, jwt refused" {
		t.Error(s)
	}
}
