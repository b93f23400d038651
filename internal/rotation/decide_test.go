package rotation

import (
	"strings"
	"testing"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/secret"
)

var t0 = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return t0.Add(d) }

// version of a story: b@2h:active was activated at t0+2h.
func v(id string, state keyring.State, created, activated, retires time.Duration) keyring.Version {
	version := keyring.Version{ID: id, State: state, CreatedAt: at(created)}
	if state == keyring.Active || state == keyring.Retiring {
		version.ActivatedAt = at(activated)
	}
	if state == keyring.Retiring {
		version.RetiresAt = at(retires)
	}
	if state.Live() {
		version.Value = secret.NewValue([]byte(id))
	}
	return version
}

func ring(t *testing.T, versions ...keyring.Version) keyring.Ring {
	t.Helper()
	r, err := keyring.New("k", versions...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var inward = Policy{
	Kind: Inward, Every: 90 * 24 * time.Hour, Guard: 10 * time.Minute, Lifetime: time.Hour, Skew: time.Minute, Gone: 15 * time.Second, Limit: 3,
	Condemned: time.Minute,
}

var outward = Policy{
	Kind: Outward, Every: 90 * 24 * time.Hour, Guard: 10 * time.Minute, Lifetime: time.Minute, Skew: time.Minute,
	Published: 10 * time.Minute, Patience: 24 * time.Hour, Gone: 15 * time.Second, Limit: 3,
}

// provable is outward, of a peer that can be asked.
var provable = func() Policy { p := outward; p.Provable = true; return p }()

// replica says at seen that it holds these versions (since t0) and issues with one.
func replica(id string, seen time.Duration, issues string, since time.Duration, holds ...string) Replica {
	r := Replica{ID: id, Seen: at(seen), Issues: issues, Since: at(since), Holds: map[string]time.Time{}}
	for _, h := range holds {
		r.Holds[h] = at(0)
	}
	return r
}

func handedIn(v keyring.Version) keyring.Version  { v.HandedIn = true; return v }
func takesOver(v keyring.Version) keyring.Version { v.TakesOver = true; return v }

func TestDecide(t *testing.T) {
	young := v("a", keyring.Active, 0, 0, 0)
	pending := []keyring.Version{v("b", keyring.Pending, 0, 0, 0), young}
	lost := v("a", keyring.Retiring, 0, 0, 10*time.Minute)
	lost.Compromised = true
	condemned := []keyring.Version{v("b", keyring.Active, 0, 10*time.Minute, 0), lost}
	turned := []keyring.Version{v("b", keyring.Active, 0, 10*time.Minute, 0), v("a", keyring.Retiring, 0, 0, 10*time.Minute)}
	withdrawn := v("b", keyring.Retiring, 0, 0, 10*time.Minute)
	withdrawn.Withdrawn = true
	rolledBack := []keyring.Version{withdrawn, young}
	for name, c := range map[string]struct {
		versions []keyring.Version
		k        Knowledge
		p        Policy
		now      time.Duration
		move     Move
		version  string
		says     string
	}{
		"nothing to do":                       {[]keyring.Version{young}, Knowledge{}, inward, time.Hour, Wait, "", "until it is due by age"},
		"due by age":                          {[]keyring.Version{young}, Knowledge{}, inward, 90 * 24 * time.Hour, Make, "", "older than"},
		"handed in, so for others to replace": {[]keyring.Version{handedIn(young)}, Knowledge{}, inward, 900 * 24 * time.Hour, Wait, "", "nothing to do"},
		"takes over": {[]keyring.Version{takesOver(pending[0]), young}, Knowledge{Replicas: []Replica{replica("r1", 0, "a", 0, "a", "b")}}, inward, time.Second,
			TakeOver, "b", "every live replica"},
		"takes over, but one lags": {[]keyring.Version{takesOver(pending[0]), young}, Knowledge{Replicas: []Replica{replica("r1", 0, "a", 0, "a")}}, inward, time.Second,
			Wait, "b", "not yet held by r1"},
		"condemned, something still sealed": {condemned, Knowledge{Dependents: map[string]int{"a": 3}}, inward, 10*time.Minute + time.Second, Wait, "a", "sealed anew"},
		"condemned, sealed anew too soon":   {condemned, Knowledge{Dependents: map[string]int{"a": 0}}, inward, 10*time.Minute + time.Second, Wait, "a", "sealed anew"},
		"condemned, all sealed anew":        {condemned, Knowledge{Dependents: map[string]int{"a": 0}}, inward, 10*time.Minute + 15*time.Second, Retire, "a", "compromised"},
		"condemned, and not done in time":   {condemned, Knowledge{}, inward, 12 * time.Minute, Retire, "a", "over"},
		"condemned is no way back":          {condemned, Knowledge{Refusals: Refusals{InGuard: 400}, Dependents: map[string]int{"a": 1}}, inward, 10*time.Minute + time.Second, Wait, "a", "sealed anew"},
		"never by age":                      {[]keyring.Version{young}, Knowledge{}, Policy{Kind: Inward, Lifetime: time.Hour}, 9000 * time.Hour, Wait, "", "nothing to do"},
		"one at a time":                     {pending, Knowledge{Replicas: []Replica{replica("r1", 90*24*time.Hour, "a", 0)}}, inward, 90 * 24 * time.Hour, Wait, "b", "not yet held by r1"},
		"alone":                             {pending, Knowledge{}, inward, time.Second, Activate, "b", "every live replica"},
		"all hold it":                       {pending, Knowledge{Replicas: []Replica{replica("r1", 0, "a", 0, "a", "b"), replica("r2", 0, "a", 0, "a", "b")}}, inward, time.Second, Activate, "b", "every live replica"},
		"one lags, and is named": {pending, Knowledge{Replicas: []Replica{replica("r2", 0, "a", 0, "a"), replica("r1", 0, "a", 0, "a", "b")}}, inward, time.Second,
			Wait, "b", "not yet held by r2"},
		"one is gone": {pending, Knowledge{Replicas: []Replica{replica("r2", 0, "a", 0, "a"), replica("r1", 15*time.Second, "a", 0, "a", "b")}}, inward, 15 * time.Second,
			Activate, "b", "every live replica"},

		"proved":                    {pending, Knowledge{Proofs: map[string]Proof{"b": {Accepted: true, At: at(0)}}}, outward, time.Second, Activate, "b", "the peer accepts"},
		"proved, but one lags":      {pending, Knowledge{Replicas: []Replica{replica("r1", 0, "a", 0, "a")}, Proofs: map[string]Proof{"b": {Accepted: true}}}, outward, time.Second, Wait, "b", "not yet held"},
		"published, not yet proved": {pending, Knowledge{Replicas: []Replica{replica("r1", 10*time.Minute, "a", 0, "a", "b")}}, outward, 10 * time.Minute, Wait, "b", "may still go by"},
		"published long enough":     {pending, Knowledge{Replicas: []Replica{replica("r1", 11*time.Minute, "a", 0, "a", "b")}}, outward, 11 * time.Minute, Activate, "b", "longer than the peer may keep"},
		"not published, not proved": {pending, Knowledge{}, Policy{Kind: Outward, Lifetime: time.Minute, Gone: time.Minute}, 9000 * time.Hour, Wait, "b", "has not said"},
		"refused, the operator was first": {pending, Knowledge{Proofs: map[string]Proof{"b": {FirstRefused: at(0)}}}, outward, 23 * time.Hour,
			Wait, "b", "refuses it so far"},
		"refused beats published":                                  {pending, Knowledge{Proofs: map[string]Proof{"b": {FirstRefused: at(0)}}}, outward, time.Hour, Wait, "b", "refuses it so far"},
		"refused for too long":                                     {pending, Knowledge{Proofs: map[string]Proof{"b": {FirstRefused: at(0)}}}, outward, 24 * time.Hour, Reject, "b", "has refused it for"},
		"refused, and nobody's hurry":                              {pending, Knowledge{Proofs: map[string]Proof{"b": {FirstRefused: at(0)}}}, Policy{Kind: Outward, Lifetime: time.Minute}, 9000 * time.Hour, Wait, "b", "refuses it so far"},
		"refusals in the guard window":                             {turned, Knowledge{Refusals: Refusals{InGuard: 4}}, outward, 12 * time.Minute, RollBack, "a", "4 refusals"},
		"refusals within the limit":                                {turned, Knowledge{Refusals: Refusals{InGuard: 3}}, outward, 12 * time.Minute, Wait, "a", "way back"},
		"as many refusals as ever":                                 {turned, Knowledge{Refusals: Refusals{InGuard: 40, Before: 20}}, outward, 12 * time.Minute, Wait, "a", "way back"},
		"refusals after the window":                                {turned, Knowledge{Refusals: Refusals{InGuard: 3}}, outward, 25 * time.Minute, Retire, "a", "has expired"},
		"rolled back, and the peer may come round":                 {rolledBack, Knowledge{}, outward, 19 * time.Minute, Wait, "b", "come to accept it again"},
		"rolled back for long":                                     {rolledBack, Knowledge{}, outward, 20 * time.Minute, Retire, "b", "has expired"},
		"few were refused, and nobody knows what the peer accepts": {turned, Knowledge{Refusals: Refusals{InGuard: 1}}, provable, 25 * time.Hour, Wait, "a", "until the peer says"},
		"many were refused, and now the peer accepts it": {turned, Knowledge{Refusals: Refusals{InGuard: 400}, Proofs: map[string]Proof{"b": {Accepted: true}}}, provable, 25 * time.Hour,
			Retire, "a", "has expired"},
		"refused, and the old one may be what the peer accepts": {turned, Knowledge{Refusals: Refusals{InGuard: 4}}, outward, 25 * time.Hour, Wait, "a", "refused 4 times"},

		"the way back is kept": {turned, Knowledge{Dependents: map[string]int{"a": 0}}, inward, 19 * time.Minute, Wait, "a", "way back"},
		"drained":              {turned, Knowledge{Dependents: map[string]int{"a": 0}}, inward, 20 * time.Minute, Retire, "a", "nothing that lives"},
		"counted while a request from before may still issue": {turned, Knowledge{
			Replicas:   []Replica{replica("r1", 20*time.Minute+5*time.Second, "b", 20*time.Minute, "a", "b")},
			Dependents: map[string]int{"a": 0}, CountedAt: at(20 * time.Minute),
		}, inward, 20*time.Minute + 5*time.Second, Wait, "a", "may still live"},
		"counted before the last was issued": {turned, Knowledge{Dependents: map[string]int{"a": 0}, CountedAt: at(9 * time.Minute)}, inward, 20 * time.Minute, Wait, "a", "may still live"},
		"sessions still live":                {turned, Knowledge{Dependents: map[string]int{"a": 7}}, inward, 30 * time.Minute, Wait, "a", "7 still depend"},
		"not counted":                        {turned, Knowledge{}, inward, 30 * time.Minute, Wait, "a", "may still live"},
		"whatever lived expired":             {turned, Knowledge{}, inward, 71 * time.Minute, Retire, "a", "has expired"},
		"a replica still issues": {turned, Knowledge{Replicas: []Replica{replica("r1", 2*time.Hour, "a", 0, "a", "b")}, Dependents: map[string]int{"a": 0}}, inward, 2 * time.Hour,
			Wait, "a", "still issued with by r1"},
		"a replica switched late": {turned, Knowledge{Replicas: []Replica{replica("r1", time.Hour, "b", 30*time.Minute, "a", "b")}}, inward, 80 * time.Minute,
			Wait, "a", "may still live"},
		"a replica went silent while issuing": {turned, Knowledge{Replicas: []Replica{replica("r1", 40*time.Minute, "a", 0, "a")}}, inward, 80 * time.Minute,
			Wait, "a", "may still live"},
		"even what the silent one issued expired": {turned, Knowledge{Replicas: []Replica{replica("r1", 40*time.Minute, "a", 0, "a")}}, inward, 102 * time.Minute,
			Retire, "a", "has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.k.CountedAt.IsZero() {
				c.k.CountedAt = at(c.now)
			}
			d := Decide(ring(t, c.versions...), c.k, c.p, at(c.now))
			if d.Move != c.move || d.Version != c.version || !strings.Contains(d.Because, c.says) {
				t.Errorf("decided %s %q because %q; want %s %q because … %q …", d.Move, d.Version, d.Because, c.move, c.version, c.says)
			}
			if d.Move == Wait && !d.Again.IsZero() && !d.Again.After(at(c.now)) {
				t.Errorf("asks to be asked again at %v, which is not later", d.Again)
			}
		})
	}
}

// Asked again at the time that it named, a decision that waits for time alone
// has something to say.
func TestAgainIsWhenTheAnswerChanges(t *testing.T) {
	r := ring(t, v("b", keyring.Active, 0, 10*time.Minute, 0), v("a", keyring.Retiring, 0, 0, 10*time.Minute))
	now := at(12 * time.Minute)
	for range 10 {
		d := Decide(r, Knowledge{}, inward, now)
		if d.Move == Retire {
			if want := at(71 * time.Minute); !now.Equal(want) {
				t.Errorf("retired at %v, want %v", now, want)
			}
			return
		}
		if d.Again.IsZero() {
			t.Fatalf("waits for nothing: %+v", d)
		}
		now = d.Again
	}
	t.Error("never came to the end")
}
