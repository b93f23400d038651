package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/secret"
)

// slowRevoker is an IdP that takes its time.
type slowRevoker struct {
	takes            time.Duration
	fails            bool
	asked, now, most atomic.Int64
}

func (s *slowRevoker) Revoke(ctx context.Context, _ secret.Value, _ string) error {
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
	if s.fails {
		return errors.New("no")
	}
	return nil
}

func tokens(n int) []secret.Value {
	all := make([]secret.Value, n)
	for i := range all {
		all[i] = secret.NewValue(fmt.Appendf(nil, "token %d", i))
	}
	return all
}

// However many sessions somebody had, the IdP is asked a few at a time, and one that
// is away is soon left alone.
func TestRevocationsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Gateway{revokers: make(chan struct{}, revokersMax)}
		well := &slowRevoker{takes: 10 * time.Millisecond}
		if failed, _ := g.revokeEach(t.Context(), well, tokens(1000)); failed != 0 || well.asked.Load() != 1000 || well.most.Load() > revokersEach {
			t.Errorf("%d failed, %d asked, %d at once", failed, well.asked.Load(), well.most.Load())
		}
		refuses := &slowRevoker{fails: true}
		if failed, err := g.revokeEach(t.Context(), refuses, tokens(1000)); failed != 1000 || err == nil || refuses.asked.Load() > 2*revokersEach {
			t.Errorf("%d failed (%v), %d asked", failed, err, refuses.asked.Load())
		}
		hangs := &slowRevoker{takes: time.Hour}
		began := time.Now()
		if failed, err := g.revokeEach(t.Context(), hangs, tokens(1000)); failed != 1000 || err == nil || time.Since(began) > revokeAllWithin {
			t.Errorf("%d failed (%v) after %s", failed, err, time.Since(began))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		g := &Gateway{revokers: make(chan struct{}, revokersMax)}
		idp := &slowRevoker{takes: 10 * time.Millisecond}
		for range 50 {
			g.beside(func() { g.revokeEach(t.Context(), idp, tokens(20)) })
		}
		g.Wait()
		if idp.asked.Load() != 1000 || idp.most.Load() > revokersMax {
			t.Errorf("%d asked, %d at once", idp.asked.Load(), idp.most.Load())
		}
	})
}
