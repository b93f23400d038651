package seal

import (
	"errors"
	"slices"
	"testing"

	"keyway/internal/keyring"
)

// Who looks for what was hashed by anybody finds it under one of these, and a version
// that is over is none of them.
func TestVersionsOfAHasher(t *testing.T) {
	h, err := NewHasher(ring(t, "v5=pending", "v3=active", "v2=retiring", "v1=retiring", "v0=retired"), "session id")
	if err != nil {
		t.Fatal(err)
	}
	versions := h.Versions()
	if want := []string{"v3", "v1", "v2", "v5"}; !slices.Equal(versions, want) {
		t.Errorf("%v, want %v", versions, want)
	}
	for _, v := range versions {
		if _, err := h.Sum(v, []byte("x")); err != nil {
			t.Errorf("%s: %v", v, err)
		}
	}
	if _, err := h.Sum("v0", []byte("x")); !errors.Is(err, keyring.ErrRetired) {
		t.Errorf("the retired one: %v", err)
	}
}
