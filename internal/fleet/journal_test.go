package fleet_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"keyway/internal/fleet"
	"keyway/internal/fleet/fleettest"
	"keyway/internal/rotation"
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
