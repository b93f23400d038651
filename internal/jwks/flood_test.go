package jwks

import (
	"sync"
	"testing"
	"time"

	"keyway/internal/threat"
)

// Whoever saw that a fetch is under way must not start the next when it is over by the
// time that he joins it: that would be one beside the cool-down. The race is narrow, so
// this finds it in most runs only; what it finds is never wrong.
func TestRemoteAFloodJoinsTheFetchThatItSaw(t *testing.T) {
	threat.Covers(t, 8)
	known, stranger := newEC(t), newEC(t)
	unknown, err := Parse(sign(t, stranger, "made-up", ES256, claims), []string{ES256})
	if err != nil {
		t.Fatal(err)
	}
	for range 150 {
		idp := &issuer{body: document(t, known.Public()), delay: 300 * time.Microsecond}
		r := remoteOf(idp)
		if _, err := r.current(t.Context()); err != nil {
			t.Fatal(err)
		}
		var flood sync.WaitGroup
		for range 64 {
			flood.Go(func() {
				for range 10 {
					_, _ = r.Check(t.Context(), unknown)
				}
			})
		}
		flood.Wait()
		if got := idp.count() - 1; got > 1 {
			t.Fatalf("fetches: got %d, want 1 in a cool-down", got)
		}
	}
}
