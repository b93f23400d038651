package nqchar_test

import (
	"testing"

	"keyway/internal/nqchar"
)

// %x21 / %x23-5B / %x5D-7E, byte for byte.
func TestOnly(t *testing.T) {
	for b := range 256 {
		want := b == 0x21 || 0x23 <= b && b <= 0x5b || 0x5d <= b && b <= 0x7e
		for _, s := range []string{string([]byte{byte(b)}), "a" + string([]byte{byte(b)}), string([]byte{byte(b)}) + "a"} {
			if nqchar.Only(s) != want {
				t.Errorf("%q: %v, want %v", s, !want, want)
			}
		}
	}
	if !nqchar.Only("") || nqchar.Only("é") || nqchar.Only("a\u00a0b") {
		t.Error("nothing, or what is not ASCII")
	}
}
