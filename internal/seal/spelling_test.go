package seal

import (
	"strings"
	"testing"
	"time"

	"keyway/internal/threat"
)

// One token has one spelling: what a decoder would pass over is no part of it, and
// never a reason to end a request half-way.
func TestTextHasOneSpelling(t *testing.T) {
	threat.Covers(t, 25)
	tokens, err := NewTokens(ring(t, "v1=active"), "csrf", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := NewSealer(ring(t, "v1=active"), "x")
	if err != nil {
		t.Fatal(err)
	}
	token, sealed := tokens.Mint("a", now), sealer.SealText([]byte("x"), nil)
	for _, odd := range []string{"\n", "\r", "\r\n", "\n\n\n\n", " ", "=", "\t", "\x00"} {
		for _, at := range []int{4, 20, len(token) - 1, len(token)} {
			if longer := token[:at] + odd + token[at:]; tokens.Check(longer, "a", now) == nil {
				t.Errorf("a token with %q at %d passes", odd, at)
			}
			if at+len(odd) > len(token) {
				continue
			}
			if same := token[:at] + odd + token[at+len(odd):]; tokens.Check(same, "a", now) == nil {
				t.Errorf("a token with %q at %d passes", odd, at)
			}
		}
		if _, err := sealer.OpenText(sealed+odd, nil); err == nil {
			t.Errorf("a sealed text with %q behind it opens", odd)
		}
	}
	if tokens.Check("v1."+strings.Repeat("\n", len(token)-3), "a", now) == nil {
		t.Error("nothing but line breaks pass")
	}
}
