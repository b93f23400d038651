package oidc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/oidc"
	"keyway/internal/secret"
)

// slowProvider takes its time.
type slowProvider struct {
	takes            time.Duration
	fails, panics    bool
	asked, now, most atomic.Int64
}

func (s *slowProvider) Revoke(ctx context.Context, token secret.Value, _ string) error {
	s.asked.Add(1)
	n := s.now.Add(1)
	defer s.now.Add(-1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.panics {
		panic(string(token.Reveal()))
	}
	if s.fails {
		return errors.New("no")
	}
	return nil
}

func refreshTokens(n int) []secret.Value {
	all := make([]secret.Value, n)
	for i := range all {
		all[i] = secret.NewValue(fmt.Appendf(nil, "token %d", i))
	}
	return all
}

// However many sessions somebody had, the provider is asked a few at a time, and one
// that is away is soon left alone.
func TestRevocationsAreBounded(t *testing.T) {
	const all = 1000
	for name, tc := range map[string]struct {
		provider *slowProvider
		most     int64 // asked
		left     int
		within   time.Duration
	}{
		"well":    {&slowProvider{takes: 10 * time.Millisecond}, all, 0, 3 * time.Second},
		"refuses": {&slowProvider{fails: true}, 2 * oidc.RevokersEach, all, time.Second},
		"hangs":   {&slowProvider{takes: time.Hour}, 2 * oidc.RevokersEach, all, oidc.RevokeAllWithin},
		"panics":  {&slowProvider{panics: true}, 2 * oidc.RevokersEach, all, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				r := oidc.NewRevoker(slog.New(slog.NewTextHandler(&log, nil)))
				left, began := 0, time.Now()
				ctx, cancel := context.WithCancel(t.Context())
				cancel()                                             // the request is over
				tokens := append(refreshTokens(all), secret.Value{}) // one session had none
				r.Begin(ctx, tc.provider, tokens, func(n int, err error) {
					if left = n; err == nil {
						t.Error("no reason is told")
					}
				})
				r.Wait(time.Hour)
				if p := tc.provider; left != tc.left || p.asked.Load() > tc.most || p.most.Load() > oidc.RevokersEach || time.Since(began) > tc.within {
					t.Errorf("%d are left, %d asked, %d at once, in %v; want %d, %d, %d, %v",
						left, p.asked.Load(), p.most.Load(), time.Since(began), tc.left, tc.most, oidc.RevokersEach, tc.within)
				}
				if strings.Contains(log.String(), "token 0") {
					t.Error("the log has a token")
				}
			})
		})
	}
	t.Run("some fail", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, left, n := oidc.NewRevoker(slog.New(slog.DiscardHandler)), 0, 0
			every := revokes(func() error {
				if n++; n%2 == 0 {
					return errors.New("no")
				}
				return nil
			})
			r.Begin(t.Context(), every, refreshTokens(1), func(int, error) { t.Error("none was to fail") })
			synctest.Wait()
			r.Begin(t.Context(), every, refreshTokens(1), func(n int, _ error) { left = n })
			r.Wait(time.Hour)
			if left != 1 {
				t.Errorf("%d are left, want 1", left)
			}
		})
	})
	t.Run("of many requests", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := oidc.NewRevoker(slog.New(slog.DiscardHandler))
			provider := &slowProvider{takes: 10 * time.Millisecond}
			for range 50 {
				r.Begin(t.Context(), provider, refreshTokens(20), func(n int, err error) { t.Errorf("%d failed: %v", n, err) })
			}
			r.Wait(time.Hour)
			if provider.asked.Load() != 1000 || provider.most.Load() > oidc.RevokersMax {
				t.Errorf("%d asked, %d at once", provider.asked.Load(), provider.most.Load())
			}
		})
	})
}

type revokes func() error

func (f revokes) Revoke(context.Context, secret.Value, string) error { return f() }

// A stop waits for a provider that says nothing, but not for long, and then nothing
// begins.
func TestAStopWaitsForRevocationsNotForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := oidc.NewRevoker(slog.New(slog.DiscardHandler))
		silent := &slowProvider{takes: time.Hour}
		left, began := 0, time.Now()
		r.Begin(t.Context(), silent, refreshTokens(100), func(n int, _ error) { left = n })
		r.Wait(3 * time.Second)
		if took := time.Since(began); took != 3*time.Second || left != 100 {
			t.Errorf("%d are left after %v", left, took)
		}
		asked := silent.asked.Load()
		r.Begin(t.Context(), silent, refreshTokens(1), func(int, error) { t.Error("it began") })
		synctest.Wait()
		if silent.asked.Load() != asked {
			t.Error("the provider was asked after the stop")
		}
	})
	var none *oidc.Revoker
	none.Begin(t.Context(), &slowProvider{}, refreshTokens(1), nil) // nobody revokes
}
