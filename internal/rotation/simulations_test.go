package rotation

import (
	"cmp"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"keyway/internal/threat"
)

// broken are rules that a fleet of Runners is made to break, to see that it shows.
type broken struct {
	kind          simKind // only of this
	activateEarly bool    // without asking who holds the version
	retireEarly   bool    // without waiting for what was issued with it
	issueWhenLost bool    // although nobody has heard of us for long
	blindSwap     bool    // without compare-and-set
	refuseUnread  bool    // an unknown version, without reading again
	half          bool    // a crash leaves half a ring
	noCatchingUp  bool    // the journal is not brought up to what the ring shows
	askAgain      bool    // without saying which version one has seen
	onlyActive    bool    // the other live credentials are not tried
	noHold        bool    // neither back nor wait while the peer refuses
	noWayBack     bool    // retire within the guard window
	forgives      bool    // forget that a version is compromised
	noUrgency     bool    // a compromised version is replaced with overlap
	unproven      bool    // what was not proved counts as proved
	unpublished   bool    // a pending key is not published, and counts as proved
	forgets       bool    // retired versions are dropped
	deaf          bool    // go on with the ring of the start
}

// oneFleet simulates one, and says what went wrong.
func oneFleet(t *testing.T, seed uint64, b broken, telling bool) (story []string, err error) {
	t.Helper()
	synctest.Test(t, func(*testing.T) { story, err = simulateFleet(seed, b, telling) })
	return story, err
}

// Fleets of real Runners, with journals, proofs and counts, in a world that is
// against them: rotation.md's rules 1, 2, 3, 4, 6 and 8, that no id is used again,
// that nothing is signed with a key that the peer can't have, and that a
// compromised version is over when somebody was told so. A failing seed tells its
// story: go test -run TestFleetsOfRunners -seed N.
func TestFleetsOfRunners(t *testing.T) {
	for _, n := range []int{54, 57, 58, 62, 63} {
		threat.Covers(t, n)
	}
	fail := func(t *testing.T, seed uint64, err error) {
		t.Helper()
		story, _ := oneFleet(t, seed, broken{}, true)
		t.Fatalf("%v\n%s", err, strings.Join(story, "\n"))
	}
	if *seed != 0 {
		if _, err := oneFleet(t, *seed, broken{}, false); err != nil {
			fail(t, *seed, err)
		}
		return
	}
	fleets := cmp.Or(*seeds, fleetsByDefault)
	workers := runtime.GOMAXPROCS(0)
	for worker := range workers {
		t.Run(fmt.Sprint(worker), func(t *testing.T) {
			t.Parallel()
			for n := worker; n < fleets; n += workers {
				if _, err := oneFleet(t, uint64(n)+1, broken{}, false); err != nil {
					fail(t, uint64(n)+1, err)
				}
			}
		})
	}
}

// The simulation can fail: each rule that is broken is seen, and as what it is.
func TestBrokenRunnersShow(t *testing.T) {
	for name, c := range map[string]struct {
		b     broken
		shows string
	}{
		"1: activated before everybody holds it":       {broken{kind: issues, activateEarly: true}, "1: "},
		"1: retired while something lives":             {broken{kind: issues, retireEarly: true}, "1: "},
		"1: issued by a replica that is lost":          {broken{kind: issues, issueWhenLost: true}, "1: "},
		"2: refused without reading again":             {broken{kind: issues, refuseUnread: true}, "2: "},
		"3: half a ring after a crash":                 {broken{half: true}, "3: "},
		"3: the journal never catches up":              {broken{noCatchingUp: true}, "3: "},
		"4: written without compare-and-set":           {broken{blindSwap: true}, ""},
		"4: asked without saying what one has seen":    {broken{kind: issues, askAgain: true}, "4: "},
		"6: the other credential is not tried":         {broken{kind: presents, onlyActive: true}, "6: "},
		"6: retired although the peer needs it":        {broken{kind: presents, noHold: true}, "6: "},
		"6: a secret that the peer has not accepted":   {broken{kind: presents, unproven: true}, "6: "},
		"8: retired within the guard window":           {broken{kind: issues, noWayBack: true}, "8: "},
		"compromise: it is forgiven":                   {broken{kind: seals, forgives: true}, "compromise: "},
		"54: signed with what can't have been fetched": {broken{kind: signs, unproven: true}, "54: "},
		"54: not published while pending":              {broken{kind: signs, unproven: true, unpublished: true}, "54: "},
		"compromise: with overlap":                     {broken{kind: issues, noUrgency: true}, "compromise: "},
		"compromise: not remembered":                   {broken{kind: presents, noUrgency: true}, "compromise: "},
		"compromise: a replica does not follow":        {broken{kind: issues, deaf: true}, "compromise: "},
		"ids: forgotten":                               {broken{forgets: true}, "ids: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := range 400 {
				if _, err := oneFleet(t, uint64(n)+1, c.b, false); err != nil && strings.Contains(err.Error(), "): "+c.shows) {
					t.Log(err)
					return
				}
			}
			t.Error("400 fleets, and it did not show")
		})
	}
}
