package keyring

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// ids of a ring's versions, sorted.
func ids(r Ring) []string {
	var all []string
	for v := range r.All() {
		all = append(all, v.ID)
	}
	slices.Sort(all)
	return all
}

// However many values come and go, the ring does not grow; what lives is kept, and
// so is what was stolen, and what was in use.
func TestARingForgets(t *testing.T) {
	r := ringOf(t, Version{ID: "v0", State: Active, ActivatedAt: began, Value: value("v0")})
	next := func(r Ring, err error) Ring {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	now := began
	take := func(id string) {
		now = now.Add(time.Second)
		r = next(r.Add(Candidate{ID: id, Value: value(id), HandedIn: true}, now))
	}
	take("safe")
	r = next(r.Compromise("safe", now))
	take("used")
	r = next(r.Activate("used", now))
	r = next(r.Retire("safe"))
	take("lives")
	r = next(r.Supersede("lives", now))
	for n := range 1000 {
		id := fmt.Sprint("n", n)
		take(id)
		r = next(r.Reject(id))
		if got := len(ids(r)); got > 5+MaxEnded {
			t.Fatalf("%d versions after %d", got, n)
		}
	}
	for _, id := range []string{"v0", "safe", "used", "lives", "n999", "n990"} {
		if _, known := r.Find(id); !known {
			t.Errorf("%s is forgotten", id)
		}
	}
	if v := (Version{ID: "n5", State: Rejected, CreatedAt: began.Add(9 * time.Second)}); !r.Forgot(v) {
		t.Error("n5 is neither there nor forgotten")
	}
	if r.Forgot(Version{ID: "new", State: Rejected, CreatedAt: now.Add(time.Hour)}) {
		t.Error("what is newer than all is forgotten")
	}
	if r.Forgot(Version{ID: "other", State: Retired, ActivatedAt: began}) || r.Forgot(Version{ID: "other", State: Retiring, ActivatedAt: began}) {
		t.Error("what was in use is pushed out by what never was")
	}
	if r.Forgot(Version{ID: "used"}) {
		t.Error("what is there is forgotten")
	}
}

// Whoever learned of versions in whatever order, and has forgotten whatever in
// between, ends with the same.
func TestForgettingAgrees(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // to be repeated
	var all []Version
	for n := range 300 {
		v := Version{ID: fmt.Sprint("v", n), State: Retired, CreatedAt: began.Add(time.Duration(rng.IntN(100)) * time.Second)}
		switch rng.IntN(3) {
		case 0:
			v.Compromised = true
		case 1:
			v.ActivatedAt = v.CreatedAt.Add(time.Duration(rng.IntN(100)) * time.Second)
		}
		all = append(all, v)
	}
	active := version("a", Active)
	want := ids(ringOf(t, append([]Version{active}, all...)...).Prune())
	if len(want) != 1+3*MaxEnded {
		t.Fatalf("%d are kept", len(want))
	}
	for range 4 {
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		r := ringOf(t, active)
		for part := range slices.Chunk(all, 7) {
			r = ringOf(t, append(slices.Collect(r.All()), part...)...).Prune()
		}
		if got := ids(r); !slices.Equal(got, want) || r.Active().ID != "a" {
			t.Fatalf("%v, and %v", got, want)
		}
		for _, v := range all {
			if _, known := r.Find(v.ID); known == r.Forgot(v) {
				t.Errorf("%s is known: %v, forgotten: %v", v.ID, known, r.Forgot(v))
			}
		}
	}
}

// A ring takes only so many that live; never is it too full to end them.
func TestARingIsFull(t *testing.T) {
	versions := []Version{version("a", Active)}
	for n := range MaxLive - 1 {
		versions = append(versions, version(fmt.Sprint("r", n), Retiring))
	}
	r := ringOf(t, versions...)
	one := Candidate{ID: "b", Value: value("b")}
	var refused *MoveError
	if _, err := r.Add(one, began); !r.Full() || !errors.As(err, &refused) {
		t.Errorf("added: %v", err)
	}
	if _, err := r.Accept(one, began); !errors.As(err, &refused) {
		t.Errorf("accepted: %v", err)
	}
	exposed, err := r.Expose("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exposed.Add(one, began); err != nil {
		t.Errorf("the successor of a compromised version: %v", err)
	}
	one.TakesOver = true
	if r, err = r.Add(one, began); err != nil {
		t.Fatal(err)
	}
	if r, err = r.Compromise("b", began); err != nil || r.Full() {
		t.Errorf("%v", err)
	}
}
