package fleet_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"keyway/internal/fleet"
	"keyway/internal/fleet/fleettest"
	"keyway/internal/rotation"
	"keyway/internal/threat"
)

// Replicas that write the journal at once lose nothing of each other's.
func TestTheJournalLosesNothing(t *testing.T) {
	m := fleettest.NewMemory()
	var group sync.WaitGroup
	for w := range 4 {
		j := fleet.NewJournal(m.Link())
		group.Go(func() {
			for i := range 10 {
				_, err := j.Update(t.Context(), "k", func(h *rotation.History) bool {
					h.Rotations = append(h.Rotations, rotation.Rotation{ID: fmt.Sprint(w, "-", i), Secret: "k"})
					return true
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	h := must[rotation.History](t)(fleet.NewJournal(m.Link()).Load(t.Context(), "k"))
	if len(h.Rotations) != 40 {
		t.Errorf("%d of 40 are there", len(h.Rotations))
	}
	if h := must[rotation.History](t)(fleet.NewJournal(m.Link()).Load(t.Context(), "other")); len(h.Rotations) != 0 {
		t.Errorf("%+v", h)
	}
}

// A record that can't be read keeps nobody from turning a secret; a store that
// can't be asked does.
func TestAJournalThatCantBeRead(t *testing.T) {
	link := fleettest.NewMemory().Link()
	must[fleet.Revision](t)(link.CompareAndSet(t.Context(), fleet.JournalPrefix+"k", "", []byte("junk")))
	j := fleet.NewJournal(link)
	add := func(h *rotation.History) bool {
		h.Rotations = append(h.Rotations, rotation.Rotation{ID: "1"})
		return true
	}
	if h, err := j.Update(t.Context(), "k", add); err != nil || len(h.Rotations) != 1 {
		t.Errorf("%+v, %v", h, err)
	}
	if h, err := j.Update(t.Context(), "k", func(*rotation.History) bool { return false }); err != nil || len(h.Rotations) != 1 {
		t.Errorf("unchanged: %+v, %v", h, err)
	}
	link.Cut()
	if _, err := j.Update(t.Context(), "k", add); !errors.Is(err, fleettest.ErrCutOff) {
		t.Errorf("cut off: %v", err)
	}
}

// Somebody has filled the record up. It keeps nobody from turning a secret either.
func TestAJournalThatIsTooLarge(t *testing.T) {
	threat.Covers(t, 71)
	long := func(id string, n int) rotation.Rotation {
		return rotation.Rotation{ID: id, To: id, Waiting: strings.Repeat("x", n)}
	}
	for name, c := range map[string]struct {
		there []rotation.Rotation
		kept  int // of those that were there
	}{
		"one that fills it":          {[]rotation.Rotation{long("a", fleet.MaxValue-100)}, 0},
		"one that all but fills it":  {[]rotation.Rotation{long("a", fleet.MaxValue/2-100)}, 0},
		"many that all but fill it":  {[]rotation.Rotation{long("a", 1000), long("b", 1000), long("c", fleet.MaxValue/2-3000)}, 1},
		"ordinary ones, and a share": {[]rotation.Rotation{long("a", 1000), long("b", 1000)}, 2},
	} {
		link := fleettest.NewMemory().Link()
		content := must[[]byte](t)(json.Marshal(rotation.History{Rotations: c.there}))
		must[fleet.Revision](t)(link.CompareAndSet(t.Context(), fleet.JournalPrefix+"k", "", content))
		j := fleet.NewJournal(link)
		for _, id := range []string{"next", "after"} {
			_, err := j.Update(t.Context(), "k", func(h *rotation.History) bool {
				h.Rotations = slices.Insert(h.Rotations, 0, long(id, 1000))
				return true
			})
			if err != nil {
				t.Errorf("%s: %s: %v", name, id, err)
			}
		}
		h := must[rotation.History](t)(j.Load(t.Context(), "k"))
		if len(h.Rotations) != c.kept+2 || h.Rotations[0].ID != "after" || h.Rotations[1].ID != "next" {
			t.Errorf("%s: %d are left", name, len(h.Rotations))
		}
	}
}
