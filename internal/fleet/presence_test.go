package fleet_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"keyway/internal/fleet"
	"keyway/internal/fleet/fleettest"
	"keyway/internal/keyring"
	"keyway/internal/rotation"
)

func reportAt(now time.Time) fleet.Report {
	return fleet.Report{
		ID: "r1", Host: "pod-7", Started: now.Add(-time.Hour), Seen: now, Until: now.Add(12 * time.Second),
		Secrets: map[string]fleet.Held{
			"session-key": {
				Holds:  map[string]time.Time{"a": now.Add(-time.Hour), "b": now.Add(-time.Minute)},
				Issues: "a", Since: now.Add(-time.Hour),
			},
			"csrf-key": {Holds: map[string]time.Time{}, HandedIn: "c", Trouble: "vanished"},
			"signing-key": {
				Holds: map[string]time.Time{"k": now.Add(-time.Hour)}, Issues: "k", Since: now.Add(-time.Minute),
				Fetched: now.Add(-time.Second), InGuard: 3, Before: 1,
			},
		},
	}
}

// A replica's clock may be hours off, and the store's, too: dates come out by the
// store's, and differences are kept.
func TestDatesAreByTheStoresClock(t *testing.T) {
	for name, skew := range map[string]time.Duration{"right": 0, "fast": 3 * time.Hour, "slow": -5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := fleettest.NewMemory()
				m.Step(42 * time.Minute)
				link := m.Link()
				link.Delay(time.Second)
				p := fleet.NewPresence(link, time.Hour)
				said := time.Now()
				if n, err := p.Say(t.Context(), reportAt(said.Add(skew))); n != 1 || err != nil {
					t.Fatalf("%d are live, %v", n, err)
				}
				roll := must[fleet.Roll](t)(p.All(t.Context()))
				heard := said.Add(time.Second + 42*time.Minute)
				want := fleet.Roll{Now: heard.Add(time.Second), Since: heard, Reports: []fleet.Report{reportAt(heard)}}
				want.Reports[0].Ahead = skew - 42*time.Minute - time.Second
				if diff := cmp.Diff(want, roll); diff != "" {
					t.Error(diff)
				}
				if r := roll.Reports[0]; !r.Live(roll.Now) || r.Live(heard.Add(12*time.Second)) {
					t.Error("is live at other times than it promised")
				}
			})
		})
	}
}

// What a date in the future says is that something is new.
func TestADateInTheFutureIsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fleet.NewPresence(fleettest.NewMemory().Link(), time.Hour)
		r := reportAt(time.Now())
		r.Started = r.Seen.Add(time.Hour)
		must[int](t)(p.Say(t.Context(), r))
		if got := must[fleet.Roll](t)(p.All(t.Context())).Reports[0]; !got.Started.Equal(got.Seen) {
			t.Errorf("started at %v, seen at %v", got.Started, got.Seen)
		}
	})
}

func TestReportsOfFoldersAreTheSame(t *testing.T) {
	p := fleet.NewPresence(openFolder(t, t.TempDir()+"/fleet"), time.Hour)
	must[int](t)(p.Say(t.Context(), reportAt(time.Now().Add(-77*time.Hour))))
	got := must[fleet.Roll](t)(p.All(t.Context())).Reports[0]
	want := reportAt(got.Seen)
	if want.Ahead = got.Ahead; got.Ahead > -77*time.Hour || got.Ahead < -78*time.Hour {
		t.Errorf("its clock is %v ahead", got.Ahead)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAReportThatCantBeReadIsAnError(t *testing.T) {
	link := fleettest.NewMemory().Link()
	p := fleet.NewPresence(link, time.Hour)
	must[int](t)(p.Say(t.Context(), reportAt(t0)))
	must[int](t)(link.Put(t.Context(), "r2", []byte(`{"secrets":[]}`), time.Minute, time.Minute))
	if roll, err := p.All(t.Context()); err == nil || !strings.Contains(err.Error(), `"r2"`) || len(roll.Reports) > 0 {
		t.Errorf("%+v, %v", roll, err)
	}
}

// A Redis that comes back without its data has forgotten who lives. It says since
// when it knows anything, so that silence is not taken for there being nobody.
func TestAStoreThatCameBackEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		p := fleet.NewPresence(m.Link(), time.Hour)
		must[int](t)(p.Say(t.Context(), reportAt(time.Now())))
		time.Sleep(time.Hour)
		m.Empty()
		if roll := must[fleet.Roll](t)(p.All(t.Context())); !roll.Since.IsZero() || len(roll.Reports) > 0 {
			t.Errorf("knows anything: %+v", roll)
		}
		must[int](t)(p.Say(t.Context(), reportAt(time.Now())))
		time.Sleep(time.Second)
		if roll := must[fleet.Roll](t)(p.All(t.Context())); roll.Now.Sub(roll.Since) != time.Second {
			t.Errorf("knows since %v, now it is %v", roll.Since, roll.Now)
		}
	})
}

func TestReplicaIDsAreRandom(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := fleet.NewReplicaID()
		if seen[id] || len(id) < 20 {
			t.Fatalf("%q", id)
		}
		seen[id] = true
	}
}

// What the decision makes of reports: each replica counts as live for as long as
// it promised, whatever the policy's Gone says, and one that left not at all.
func TestReportsForTheDecision(t *testing.T) {
	ring := must[keyring.Ring](t)(ringOf(t, "session-key", "a", "1").Add(keyring.Candidate{ID: "b", Value: value("2")}, t0))
	policy := rotation.Policy{Kind: rotation.Inward, Lifetime: time.Hour, Gone: 15 * time.Second}
	lagging := func(live time.Duration) fleet.Report {
		r := reportAt(t0)
		r.ID, r.Until = "r2", t0.Add(live)
		r.Secrets = map[string]fleet.Held{"session-key": {Holds: map[string]time.Time{"a": t0}, Issues: "a", Since: t0}}
		return r
	}
	holds := reportAt(t0)
	holds.Until = t0.Add(time.Hour)
	silent := lagging(time.Hour)
	silent.Secrets = nil
	for name, c := range map[string]struct {
		other fleet.Report
		after time.Duration
		want  rotation.Move
	}{
		"lags, and is live":            {lagging(504 * time.Second), 503 * time.Second, rotation.Wait},
		"lags, and is gone":            {lagging(504 * time.Second), 504 * time.Second, rotation.Activate},
		"lags, and left":               {lagging(0), 0, rotation.Activate},
		"does not speak of the secret": {silent, time.Minute, rotation.Wait},
	} {
		t.Run(name, func(t *testing.T) {
			var k rotation.Knowledge
			for _, r := range []fleet.Report{holds, c.other} {
				k.Replicas = append(k.Replicas, r.Replica("session-key", policy.Gone))
			}
			if d := rotation.Decide(ring, k, policy, t0.Add(c.after)); d.Move != c.want {
				t.Errorf("decided %+v", d)
			}
		})
	}
}

func TestWhoseClockIsRight(t *testing.T) {
	now := time.Now()
	report := func(id string, ahead, left time.Duration) fleet.Report {
		return fleet.Report{ID: id, Ahead: ahead, Until: now.Add(left)}
	}
	for name, c := range map[string]struct {
		others []fleet.Report
		right  bool
	}{
		"nobody else":        {nil, false},
		"right":              {[]fleet.Report{report("r2", -time.Minute, time.Second)}, true},
		"fast":               {[]fleet.Report{report("r2", time.Minute+time.Millisecond, time.Second)}, false},
		"slow":               {[]fleet.Report{report("r2", -time.Minute-time.Millisecond, time.Second)}, false},
		"right, and is gone": {[]fleet.Report{report("r2", 0, 0)}, false},
		"one of two":         {[]fleet.Report{report("r2", time.Hour, time.Second), report("r3", 0, time.Second)}, true},
	} {
		roll := fleet.Roll{Now: now, Reports: append(c.others, report("r1", 0, time.Hour))}
		if got := roll.OthersRight("r1", time.Minute); got != c.right {
			t.Errorf("%s: %v", name, got)
		}
	}
}
