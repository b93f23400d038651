package keyring

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keyway/internal/secret"
)

var began = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func value(id string) secret.Value { return secret.NewValue([]byte("value of " + id)) }

func ringOf(t *testing.T, versions ...Version) Ring {
	t.Helper()
	ring, err := New("k", versions...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// look is a ring as "id:state id:state", newest first.
func look(r Ring) string {
	var parts []string
	for v := range r.All() {
		s := v.ID + ":" + string(v.State)
		if v.Withdrawn {
			s += "(withdrawn)"
		}
		if v.Compromised {
			s += "(compromised)"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, " ")
}

// The stories that operators live.
func TestMoves(t *testing.T) {
	type step = func(Ring) (Ring, error)
	add := func(id string) step {
		return func(r Ring) (Ring, error) { return r.Add(Candidate{ID: id, Value: value(id)}, began) }
	}
	activate := func(id string) step {
		return func(r Ring) (Ring, error) { return r.Activate(id, began.Add(time.Hour)) }
	}
	reject := func(id string) step { return func(r Ring) (Ring, error) { return r.Reject(id) } }
	retire := func(id string) step { return func(r Ring) (Ring, error) { return r.Retire(id) } }
	rollBack := func(r Ring) (Ring, error) { return r.RollBack(began.Add(2 * time.Hour)) }
	compromise := func(id string) step {
		return func(r Ring) (Ring, error) { return r.Compromise(id, began.Add(time.Hour)) }
	}
	for name, c := range map[string]struct {
		steps []step
		want  string // the ring, or the refusal
	}{
		"a rotation":                    {[]step{add("b"), activate("b"), retire("a")}, "b:active a:retired"},
		"a rejection changes nothing":   {[]step{add("b"), reject("b")}, "b:rejected a:active"},
		"a rollback":                    {[]step{add("b"), activate("b"), rollBack}, "b:retiring(withdrawn) a:active"},
		"after a rollback, again":       {[]step{add("b"), activate("b"), rollBack, add("c"), activate("c")}, "c:active b:retiring(withdrawn) a:retiring"},
		"rollback skips the withdrawn":  {[]step{add("b"), activate("b"), rollBack, add("c"), activate("c"), rollBack}, "c:retiring(withdrawn) b:retiring(withdrawn) a:active"},
		"two overlaps at once":          {[]step{add("b"), activate("b"), add("c"), activate("c")}, "c:active b:retiring a:retiring"},
		"a compromise has no overlap":   {[]step{add("b"), activate("b"), add("c"), compromise("c")}, "c:active b:retired(compromised) a:retired(compromised)"},
		"an id is never used again":     {[]step{add("b"), reject("b"), add("b")}, "the ring has had it before"},
		"one pending at a time":         {[]step{add("b"), add("c")}, "b is pending already"},
		"activating what is not there":  {[]step{activate("b")}, "none of that id"},
		"activating the active":         {[]step{activate("a")}, "one that is active"},
		"activating the retiring":       {[]step{add("b"), activate("b"), activate("a")}, "one that is retiring"},
		"retiring the active":           {[]step{retire("a")}, "one that is active"},
		"retiring the pending":          {[]step{add("b"), retire("b")}, "one that is pending"},
		"rejecting the active":          {[]step{reject("a")}, "one that is active"},
		"rolling back to nothing":       {[]step{rollBack}, "no earlier version lives"},
		"rolling back to the retired":   {[]step{add("b"), activate("b"), retire("a"), rollBack}, "no earlier version lives"},
		"rolling back to a compromised": {[]step{add("b"), compromise("b"), rollBack}, "no earlier version lives"},
		"rolling back twice":            {[]step{add("b"), activate("b"), rollBack, rollBack}, "no earlier version lives"},
	} {
		t.Run(name, func(t *testing.T) {
			ring := ringOf(t, version("a", Active))
			var err error
			for _, s := range c.steps {
				before := look(ring)
				var next Ring
				if next, err = s(ring); err != nil {
					if look(ring) != before {
						t.Error("a refused move changed the ring")
					}
					break
				}
				ring = next
			}
			if err != nil {
				var refused *MoveError
				if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("refused with %q, want %q", err, c.want)
				}
				return
			}
			if got := look(ring); got != c.want {
				t.Errorf("ring is %s, want %s", got, c.want)
			}
		})
	}
}

// Whatever moves are made, in whatever order: one active version, no id twice, no
// value without a life, none erased that lives, and nothing comes back from the
// dead.
func TestMovesKeepWhatMustAlwaysHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ring, err := New("k", version("v0", Active))
		if err != nil {
			t.Fatal(err)
		}
		now := began
		ended := map[string]bool{}
		for i := range 40 {
			now = now.Add(time.Minute)
			id := fmt.Sprintf("v%d", rapid.IntRange(0, 12).Draw(t, "id"))
			var next Ring
			switch rapid.IntRange(0, 5).Draw(t, "move") {
			case 0:
				next, err = ring.Add(Candidate{ID: id, Value: value(id)}, now)
			case 1:
				next, err = ring.Activate(id, now)
			case 2:
				next, err = ring.Reject(id)
			case 3:
				next, err = ring.Retire(id)
			case 4:
				next, err = ring.RollBack(now)
			case 5:
				next, err = ring.Compromise(id, now)
			}
			if err != nil {
				continue
			}
			ring = next
			active := 0
			for v := range ring.All() {
				if v.State == Active {
					active++
				}
				if v.State.Live() == v.Value.IsZero() {
					t.Fatalf("after %d moves: %s is %s, value erased: %v", i, v.ID, v.State, v.Value.IsZero())
				}
				if v.State.Live() && ended[v.ID] {
					t.Fatalf("after %d moves: %s came back", i, v.ID)
				}
				ended[v.ID] = !v.State.Live()
			}
			if active != 1 {
				t.Fatalf("after %d moves: %d active versions in %s", i, active, look(ring))
			}
		}
	})
}

// A clock that was set back between two activations does not make a rollback skip
// the version that was active last.
func TestPreviousGoesByOrder(t *testing.T) {
	r := ringOf(t,
		Version{ID: "c", State: Active, ActivatedAt: began.Add(2 * time.Minute), Value: value("c")},
		Version{ID: "b", State: Retiring, ActivatedAt: began.Add(-time.Hour), Value: value("b")},
		Version{ID: "a", State: Retiring, ActivatedAt: began, Value: value("a")},
	)
	if v, ok := r.Previous(); !ok || v.ID != "b" {
		t.Errorf("a rollback would bring back %q, and b was active last", v.ID)
	}
}
