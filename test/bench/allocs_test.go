//go:build !race

package main

import (
	"net/http"
	"testing"

	"keyway/internal/session/memory"
)

// What a check of a session that was just used, and a proxied call with it, may
// allocate, the latter with what net/http's transport does, some of which it reuses or
// not. What they are is in docs/reference/performance.md.
const (
	verifyAllocs  = 7
	proxiedAllocs = 70
)

// The race detector allocates, too, so this runs without it: see the Makefile.
func TestSessionCheckAllocates(t *testing.T) { allocates(t, "", "/auth/verify", verifyAllocs) }

func TestProxiedCallAllocates(t *testing.T) {
	h, err := startHelper(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	allocates(t, h.upstream, proxiedTarget, proxiedAllocs)
}

func allocates(t *testing.T, upstream, target string, most float64) {
	b := &bench{ctx: t.Context(), dir: t.TempDir()}
	k, err := makeKeys()
	if err != nil {
		t.Fatal(err)
	}
	store := memory.Open(memory.Options{})
	defer store.Close()
	r, err := b.replica(store, k, options{upstream: upstream})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	cookie, _, err := r.signIn(b.ctx, record("ada"))
	if err != nil {
		t.Fatal(err)
	}
	request, w := browserRequest("GET", target, cookie), newWriter()
	found := testing.AllocsPerRun(2000, func() {
		w.reset()
		request.Body = http.NoBody
		r.gateway.ServeHTTP(w, request)
	})
	if w.status != http.StatusOK || found > most {
		t.Errorf("status %d, %v allocations; want 200 and at most %v", w.status, found, most)
	}
}
