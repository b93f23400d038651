package sessiontest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/session"
)

// Stampede has 100 requests of one session come at once, half of them to each of
// two replicas, when its access token is over, the IdP takes delay for an answer
// and a refresh token works once. All must get the same new token, for one
// refresh, and the session must live.
func Stampede(t *testing.T, a, b *session.Manager, delay time.Duration) {
	t.Helper()
	const life = 20 * time.Second
	idp := NewIdP(life, delay)
	grant := idp.Grant("ada")
	grant.GrantedAt = time.Now().Add(-life)
	grant.AccessExpiry = time.Now() // over
	header, old := SignIn(t, a, grant)

	var wg sync.WaitGroup
	var failed atomic.Int32
	var mu sync.Mutex
	tokens := map[string]int{}
	for i := range 100 {
		m := a
		if i%2 == 1 {
			m = b
		}
		wg.Go(func() {
			s, err := m.Find(t.Context(), header, Home)
			if err == nil {
				s, err = m.Fresh(t.Context(), s, idp.Refresh)
			}
			if err != nil {
				if failed.Add(1) == 1 {
					t.Errorf("a request failed: %v", err)
				}
				return
			}
			mu.Lock()
			defer mu.Unlock()
			tokens[string(s.AccessToken().Reveal())]++
		})
	}
	wg.Wait()
	calls, reused := idp.Calls()
	if calls != 1 || reused != 0 {
		t.Errorf("%d refreshes, %d with a used token; want 1, 0", calls, reused)
	}
	if failed.Load() != 0 {
		t.Errorf("%d of 100 requests failed", failed.Load())
	}
	if len(tokens) != 1 || tokens[string(old.AccessToken().Reveal())] != 0 {
		t.Errorf("the requests got %d tokens, want one and the new one", len(tokens))
	}
	for _, m := range []*session.Manager{a, b} {
		if s, err := m.Find(t.Context(), header, Home); err != nil {
			t.Errorf("after the stampede: %v", err)
		} else if tokens[string(s.AccessToken().Reveal())] == 0 {
			t.Error("a replica still has the old token")
		}
	}
}
