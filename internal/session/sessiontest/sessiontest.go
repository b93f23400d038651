package sessiontest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/seal"
	"keyway/internal/secret"
	"keyway/internal/session"
)

// Ring is a ring whose active version is the first id, and the others retiring.
// The value of a version is made from its name and id, so that two rings with
// the same ids are the same.
func Ring(t testing.TB, name string, ids ...string) keyring.Ring {
	t.Helper()
	var vs []keyring.Version
	for i, id := range ids {
		state := keyring.Retiring
		if i == 0 {
			state = keyring.Active
		}
		vs = append(vs, keyring.Version{
			ID: id, State: state,
			Value: secret.NewValue(fmt.Appendf(nil, "only for tests, 32 bytes or more: %s %s", name, id)),
		})
	}
	r, err := keyring.New(name, vs...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Options is what a manager with these rings needs, with an hour's absolute
// lifetime and no idle timeout. Change what the test is about.
func Options(t testing.TB, shared *session.Shared, salt, key keyring.Ring) session.Options {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	hasher, err := seal.NewHasher(salt, session.PurposeSalt)
	must(err)
	sealer, err := seal.NewSealer(key, session.PurposeRecord)
	must(err)
	ua, err := seal.NewHasher(Ring(t, "ua-hash-salt", "u1"), session.PurposeUA)
	must(err)
	return session.Options{
		Shared: shared, Salt: hasher, Sealer: sealer, UA: ua,
		Cookie:   session.CookieOptions{Secure: true},
		Absolute: time.Hour, RefreshAhead: time.Minute,
	}
}

// Manager is a manager of its own, as of one replica, on a store. change may be nil.
func Manager(t testing.TB, store session.Store, change func(*session.Options)) *session.Manager {
	t.Helper()
	shared := session.NewShared(store, session.SharedOptions{})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := shared.Close(ctx); err != nil {
			t.Errorf("Shared.Close: %v", err)
		}
	})
	return ManagerOn(t, shared, change)
}

// ManagerOn is a manager of another generation on what the process shares.
func ManagerOn(t testing.TB, shared *session.Shared, change func(*session.Options)) *session.Manager {
	t.Helper()
	o := Options(t, shared, Ring(t, "token-hash-salt", "s1"), Ring(t, "session-key", "k1"))
	if change != nil {
		change(&o)
	}
	m, err := session.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Home is where the user of these tests comes from.
var Home = session.Client{Addr: netip.MustParseAddr("192.0.2.7"), UserAgent: "Mozilla/5.0 (test)"}

// Header is the values of the Cookie header that a browser with c sends.
func Header(c *http.Cookie) []string {
	return []string{"theme=dark; " + c.Name + "=" + c.Value + "; x=y"}
}

// SignIn creates a session.
func SignIn(t testing.TB, m *session.Manager, rec session.Record) (header []string, s *session.Session) {
	t.Helper()
	c, s, err := m.Create(t.Context(), rec, Home)
	if err != nil {
		t.Fatal(err)
	}
	return Header(c), s
}

// IdP issues access tokens, and refresh tokens that work once: a second use ends
// the grant, as RFC 9700 section 4.14.2 wants it.
type IdP struct {
	Life  time.Duration // of access tokens
	Delay time.Duration // of each answer

	mu      sync.Mutex
	n       int
	current map[string]string // subject -> the refresh token that works
	calls   int
	reused  int
	down    bool
	crash   bool
}

// NewIdP makes one.
func NewIdP(life, delay time.Duration) *IdP {
	return &IdP{Life: life, Delay: delay, current: map[string]string{}}
}

// Grant is what a sign-in of sub yields.
func (p *IdP) Grant(sub string) session.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.issue(session.Record{Provider: "demo", Issuer: "https://idp.example", Subject: sub, AuthTime: time.Now()})
}

func (p *IdP) issue(rec session.Record) session.Record {
	p.n++
	rec.AccessToken = secret.NewValue(fmt.Appendf(nil, "access-%d", p.n))
	rec.RefreshToken = secret.NewValue(fmt.Appendf(nil, "refresh-%d", p.n))
	rec.GrantedAt = time.Now()
	rec.AccessExpiry = rec.GrantedAt.Add(p.Life)
	rec.TokenType = "Bearer"
	p.current[rec.Subject] = string(rec.RefreshToken.Reveal())
	return rec
}

var (
	errDown  = errors.New("connection refused")
	errReset = errors.New("connection reset")
)

// Refresh is a session.RefreshFunc.
func (p *IdP) Refresh(ctx context.Context, rec session.Record) (session.Record, error) {
	p.mu.Lock()
	p.calls++
	p.mu.Unlock()
	if p.Delay > 0 {
		select {
		case <-time.After(p.Delay):
		case <-ctx.Done():
			return session.Record{}, ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return session.Record{}, errDown
	}
	if p.current[rec.Subject] != string(rec.RefreshToken.Reveal()) {
		p.reused++
		delete(p.current, rec.Subject)
		return session.Record{}, fmt.Errorf("invalid_grant: %w", session.ErrGrantGone)
	}
	rec = p.issue(rec)
	if p.crash { // the new tokens are issued, and reach nobody
		p.crash = false
		return session.Record{}, errReset
	}
	return rec, nil
}

// Down makes the IdP fail, or work again.
func (p *IdP) Down(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// LoseNextAnswer has the next refresh done, and its answer lost.
func (p *IdP) LoseNextAnswer() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.crash = true
}

// Revoke ends the grant of sub.
func (p *IdP) Revoke(sub string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.current, sub)
}

// Calls is how often Refresh was called, and how often with a token used before.
func (p *IdP) Calls() (calls, reused int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls, p.reused
}
