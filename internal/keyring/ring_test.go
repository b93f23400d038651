package keyring

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"keyway/internal/secret"
)

func version(id string, state State) Version {
	v := Version{ID: id, State: state}
	if state != Retired {
		v.Value = secret.NewValue([]byte("value of " + id))
	}
	return v
}

func TestNewRefusesWhatMustNotBe(t *testing.T) {
	noValue := version("a", Active)
	noValue.Value = secret.Value{}
	undead := version("b", Retired)
	undead.Value = secret.NewValue([]byte("x"))
	for _, c := range []struct {
		name     string
		versions []Version
		says     string
	}{
		{"empty", nil, "no version is active"},
		{"none active", []Version{version("a", Pending)}, "no version is active"},
		{"two active", []Version{version("a", Active), version("b", Active)}, "both active"},
		{"same id", []Version{version("a", Active), version("a", Retiring)}, "two versions"},
		{"dot in id", []Version{version("a.b", Active)}, "not of the form"},
		{"empty id", []Version{version("", Active)}, "not of the form"},
		{"unknown state", []Version{version("a", Active), {ID: "b", State: "odd"}}, "unknown state"},
		{"no value", []Version{noValue}, "no value"},
		{"retired with a value", []Version{version("a", Active), undead}, "still has a value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New("session-key", c.versions...)
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "session-key") {
				t.Errorf("error is %v, want one that says %q", err, c.says)
			}
		})
	}
}

func TestLookup(t *testing.T) {
	ring, err := New("k", version("new", Pending), version("now", Active), version("old", Retiring), version("gone", Retired))
	if err != nil {
		t.Fatal(err)
	}
	if ring.Active().ID != "now" {
		t.Errorf("active is %s", ring.Active().ID)
	}
	for id, want := range map[string]error{"new": nil, "now": nil, "old": nil, "gone": ErrRetired, "never": ErrUnknownVersion, "": ErrUnknownVersion} {
		v, err := ring.Lookup(id)
		if !errors.Is(err, want) || (want == nil && v.ID != id) {
			t.Errorf("Lookup(%q) = %s, %v; want %v", id, v.ID, err, want)
		}
	}
	var live []string
	for v := range ring.Live() {
		live = append(live, v.ID)
	}
	if !slices.Equal(live, []string{"now", "new", "old"}) {
		t.Errorf("live: %v", live)
	}
}

// The caller's slice is not the ring's.
func TestRingIsImmutable(t *testing.T) {
	versions := []Version{version("a", Active), version("b", Retiring)}
	ring, _ := New("k", versions...)
	versions[0].State, versions[0].ID = Retired, "changed"
	if ring.Active().ID != "a" || ring.Active().State != Active {
		t.Error("changing the slice changed the ring")
	}
}

func TestZeroRing(t *testing.T) {
	var ring Ring
	if !ring.IsZero() {
		t.Error("zero ring is not zero")
	}
	if _, err := ring.Lookup("x"); !errors.Is(err, ErrUnknownVersion) {
		t.Error(err)
	}
	for range ring.Live() {
		t.Error("zero ring has live versions")
	}
}
