//go:build !race

package main

import (
	"net/http"
	"testing"

	"keyway/internal/session/memory"
)

// verifyAllocs is what a check of a session that was just used may allocate. What
// they are is in docs/reference/performance.md.
const verifyAllocs = 7

// The race detector allocates, too, so this runs without it: see the Makefile.
func TestSessionCheckAllocates(t *testing.T) {
	b := &bench{ctx: t.Context(), dir: t.TempDir()}
	k, err := makeKeys()
	if err != nil {
		t.Fatal(err)
	}
	store := memory.Open(memory.Options{})
	defer store.Close()
	r, err := b.replica(store, k, options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	cookie, _, err := r.signIn(b.ctx, record("ada"))
	if err != nil {
		t.Fatal(err)
	}
	request, w := browserRequest("GET", "/auth/verify", cookie), newWriter()
	found := testing.AllocsPerRun(2000, func() {
		w.reset()
		request.Body = http.NoBody
		r.gateway.ServeHTTP(w, request)
	})
	if w.status != http.StatusOK || found > verifyAllocs {
		t.Errorf("status %d, %v allocations; want 200 and at most %d", w.status, found, verifyAllocs)
	}
}
